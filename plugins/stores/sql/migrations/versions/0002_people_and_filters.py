"""Users, sessions, failures to sign in, the audit; indexes for the list of requests."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def time(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Double(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "users",
        text("id"),
        text("name"),
        text("role"),
        text("verifier"),
        time("created_at"),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
    )
    op.create_index("ix_users_name", "users", ["name"], unique=True)
    op.create_table(
        "setup_links", text("digest"), time("until"), sa.PrimaryKeyConstraint("digest", name="pk_setup_links")
    )
    op.create_table(
        "sessions",
        text("digest"),
        text("user_id"),
        text("data"),
        time("created_at"),
        time("seen_at"),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "sign_in_failures",
        text("subject"),
        sa.Column("count", sa.Integer(), nullable=False),
        time("last_at"),
        sa.PrimaryKeyConstraint("subject", name="pk_sign_in_failures"),
    )
    op.create_index("ix_sign_in_failures_last_at", "sign_in_failures", ["last_at"])
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        time("at"),
        *(
            text(name)
            for name in ("actor", "address", "action", "subject", "result", "before", "after", "previous", "digest")
        ),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    for name in ("caller", "model", "provider"):
        op.create_index(f"ix_records_{name}_arrived_at", "records", [name, "arrived_at"])
    unusual = sa.text("outcome <> 'served'")
    op.create_index(
        "ix_records_unusual_arrived_at",
        "records",
        ["outcome", "arrived_at"],
        sqlite_where=unusual,
        postgresql_where=unusual,
    )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
