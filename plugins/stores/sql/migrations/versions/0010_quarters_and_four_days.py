"""What each caller used of each model, by four days and, of the latest two months, by a quarter of a day."""

import time

from alembic import op
from llmhub_plugins.stores.sql.migrations import step

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

QUARTER, DAY = 21_600, 86_400
FOUR, KEPT = 4 * DAY, 64 * DAY
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
    with step("adding up four days at a time"):
        op.execute(
            f"INSERT INTO usage_totals SELECT {FOUR}, by, began - began % {FOUR}, within, name, {sums} "  # noqa: S608
            f"FROM usage_totals WHERE span = {DAY} AND by = 'caller_model' GROUP BY 1, 2, 3, 4, 5"
        )
    since = int(time.time() - KEPT) // QUARTER * QUARTER
    with step("adding up the quarters of the latest days"):
        op.execute(
            f"INSERT INTO usage_totals SELECT {QUARTER}, 'caller_model', hour - hour % {QUARTER}, caller, "  # noqa: S608
            f"model, {sums} FROM usage_hours WHERE hour >= {since} GROUP BY 1, 2, 3, 4, 5"
        )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
