"""Tokens by which scripts use the admin API, and what was answered to acts that may be sent again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def time(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Double(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "admin_tokens",
        *(text(name) for name in ("id", "name", "digest", "hint", "role", "user_id")),
        *(time(name) for name in ("created_at", "until", "used_at")),
        sa.PrimaryKeyConstraint("id", name="pk_admin_tokens"),
    )
    op.create_index("ix_admin_tokens_name", "admin_tokens", ["name"], unique=True)
    op.create_index("ix_admin_tokens_digest", "admin_tokens", ["digest"], unique=True)
    op.create_table(
        "kept_answers",
        text("digest"),
        text("request"),
        time("at"),
        text("answer"),
        sa.PrimaryKeyConstraint("digest", name="pk_kept_answers"),
    )
    op.create_index("ix_kept_answers_at", "kept_answers", ["at"])


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
