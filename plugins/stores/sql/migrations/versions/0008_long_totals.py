"""What each caller used of each model, by 16 days: a year of it is then quick to read."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DAY, LONG = 86_400, 16 * 86_400
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
    op.execute(
        f"INSERT INTO usage_totals SELECT {LONG}, by, began - began % {LONG}, within, name, {sums} "  # noqa: S608
        f"FROM usage_totals WHERE span = {DAY} AND by = 'caller_model' GROUP BY 1, 2, 3, 4, 5"
    )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
