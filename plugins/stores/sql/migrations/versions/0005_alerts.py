"""What is or was not well, and what nobody wants to hear of for a time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def time(name: str, nullable: bool = False) -> "sa.Column[float]":
    return sa.Column(name, sa.Double(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "alerts",
        *(text(name) for name in ("id", "rule", "subject", "severity", "what", "advice", "page")),
        time("opened_at"),
        time("recovered_at", nullable=True),
        text("told"),
        time("told_at"),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_opened_at_id", "alerts", ["opened_at", "id"])
    op.create_index("ix_alerts_recovered_at", "alerts", ["recovered_at"])
    op.create_table(
        "alert_mutes",
        *(text(name) for name in ("id", "rule", "subject")),
        time("until"),
        text("by"),
        sa.PrimaryKeyConstraint("id", name="pk_alert_mutes"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
