"""What each caller used by 16 days, and of each model by 64 days."""

from alembic import op
from llmhub_plugins.stores.sql.migrations import step

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

DAY = 86_400
SUMS = (
    "requests",
    "served",
    "failed",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "unpriced",
)


def upgrade() -> None:
    sums = ", ".join(f"sum({name})" for name in SUMS)
    for by, narrow, wide in (("caller", DAY, 16 * DAY), ("caller_model", 16 * DAY, 64 * DAY)):
        with step(f"adding up {wide // DAY} days at a time"):
            op.execute(
                f"INSERT INTO usage_totals SELECT {wide}, by, began - began % {wide}, within, name, {sums} "  # noqa: S608
                f"FROM usage_totals WHERE span = {narrow} AND by = '{by}' GROUP BY 1, 2, 3, 4, 5"
            )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
