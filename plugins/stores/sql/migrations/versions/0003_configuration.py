"""What was configured beside the file, and facts that the hub keeps for itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "configuration",
        text("kind"),
        text("name"),
        text("body"),
        text("sealed"),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_configuration"),
    )
    op.create_table(
        "configuration_changes",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_configuration_changes"),
    )
    op.create_table("facts", text("name"), text("text"), sa.PrimaryKeyConstraint("name", name="pk_facts"))


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
