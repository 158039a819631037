"""What was used under each value of each tag, by the hour and by the day, as far as records are kept."""

from alembic import op
from llmhub_plugins.stores.sql.migrations import step

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

HOUR, DAY = 3600, 86_400
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
    if op.get_bind().dialect.name == "sqlite":
        hour, each = f"CAST(arrived_at AS INTEGER) / {HOUR} * {HOUR}", "json_each(records.tags)"
    else:  # which knows no character 0, not even as JSON writes it
        hour = f"CAST(floor(arrived_at) AS BIGINT) / {HOUR} * {HOUR}"
        each = r"json_each_text(replace(records.tags, '\u0000', '\ufffd')::json)"
    with step("adding up tags by the hour"):
        op.execute(
            f"INSERT INTO usage_totals SELECT {HOUR}, 'tag', {hour}, each_tag.key, each_tag.value, count(*), "  # noqa: S608
            "sum(CASE WHEN outcome = 'served' THEN 1 ELSE 0 END), sum(CASE WHEN outcome = 'failed' THEN 1 ELSE 0 END), "
            "sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(reasoning_tokens), sum(coalesce(cost, 0)), "
            "sum(CASE WHEN outcome = 'served' AND cost IS NULL THEN 1 ELSE 0 END) "
            f"FROM records, {each} AS each_tag WHERE tags <> '{{}}' AND each_tag.value <> '' GROUP BY 1, 2, 3, 4, 5"
        )
    with step("adding up tags by the day"):
        op.execute(
            f"INSERT INTO usage_totals SELECT {DAY}, by, began - began % {DAY}, within, name, {sums} "  # noqa: S608
            f"FROM usage_totals WHERE span = {HOUR} AND by = 'tag' GROUP BY 1, 2, 3, 4, 5"
        )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
