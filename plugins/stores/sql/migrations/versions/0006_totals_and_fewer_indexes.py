"""Totals that are quick to read, by the minute, the hour and the day; fewer indexes of records."""

import time

import sqlalchemy as sa
from alembic import op
from llmhub_plugins.stores.sql.migrations import step

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MINUTE, HOUR, DAY = 60, 3600, 86_400
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
ADDED_UP = ", ".join(f"sum({name})" for name in SUMS)


def text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def number(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "usage_totals",
        sa.Column("span", sa.Integer(), nullable=False, autoincrement=False),
        text("by"),
        sa.Column("began", sa.BigInteger(), nullable=False, autoincrement=False),
        text("within"),
        text("name"),
        *map(number, SUMS),
        sa.PrimaryKeyConstraint("span", "by", "began", "within", "name", name="pk_usage_totals"),
        sqlite_with_rowid=False,
    )
    for by, within, name in (("model", "provider", "model"), ("key", "provider", '"key"'), ("caller", "''", "caller")):
        with step(f"adding up each {by}"):
            _add_up(HOUR, by, "hour", within, name, "usage_hours")
            _add_up(
                DAY, by, _DAY.format("began"), "within", "name", f"usage_totals WHERE span = {HOUR} AND by = '{by}'"
            )
    with step("adding up the models of each caller"):
        _add_up(DAY, "caller_model", _DAY.format("hour"), "caller", "model", "usage_hours")
    with step("adding up the latest minutes"):
        _add_up_minutes()
    for name in ("provider_arrived_at", "model_arrived_at", "caller_arrived_at", "unusual_arrived_at", "arrived_at_id"):
        op.drop_index(f"ix_records_{name}", "records")
    filters = ("caller", "model", "provider")
    with step("indexing records by time"):
        op.create_index("ix_records_arrived_at", "records", ["arrived_at", "id", *filters])
    with step("indexing records by caller"):
        op.create_index("ix_records_caller", "records", ["caller", "arrived_at", "id", "model", "provider"])
    unusual = sa.text("outcome <> 'served'")
    with step("indexing what was not served"):
        op.create_index(
            "ix_records_unusual",
            "records",
            ["outcome", "arrived_at", "id", *filters],
            sqlite_where=unusual,
            postgresql_where=unusual,
        )


_DAY = "{0} - {0} % 86400"


def _add_up(span: int, by: str, began: str, within: str, name: str, source: str) -> None:
    op.execute(
        f"INSERT INTO usage_totals SELECT {span}, '{by}', {began}, {within}, {name}, {ADDED_UP} "  # noqa: S608
        f"FROM {source} GROUP BY 1, 2, 3, 4, 5"
    )


def _add_up_minutes() -> None:
    whole = "CAST(arrived_at AS INTEGER)"
    if op.get_context().dialect.name == "postgresql":
        whole = "CAST(floor(arrived_at) AS BIGINT)"
    op.execute(
        f"INSERT INTO usage_totals SELECT {MINUTE}, 'model', {whole} - {whole} % {MINUTE}, provider, model, "  # noqa: S608
        "count(*), sum(CASE WHEN outcome = 'served' THEN 1 ELSE 0 END), "
        "sum(CASE WHEN outcome = 'failed' THEN 1 ELSE 0 END), "
        "sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(reasoning_tokens), sum(coalesce(cost, 0)), "
        "sum(CASE WHEN outcome = 'served' AND cost IS NULL THEN 1 ELSE 0 END) "
        f"FROM records WHERE arrived_at >= {int(time.time() - 2 * DAY) // MINUTE * MINUTE} GROUP BY 3, 4, 5"
    )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
