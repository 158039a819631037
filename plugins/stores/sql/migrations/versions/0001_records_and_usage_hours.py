"""Records, and their sums by the hour."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT as POSTGRES_TEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def number(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.Text().with_variant(POSTGRES_TEXT(collation="C"), "postgresql"), nullable=False),
        sa.Column("arrived_at", sa.Double(), nullable=False),
        text("caller"),
        text("dialect"),
        text("operation"),
        text("model"),
        sa.Column("stream", sa.Boolean(), nullable=False),
        text("route"),
        text("outcome"),
        sa.Column("status", sa.Integer(), nullable=False),
        text("code"),
        text("source"),
        text("provider"),
        text("served_model"),
        text("key"),
        text("lane"),
        text("finish"),
        sa.Column("first_byte_ms", sa.Double()),
        sa.Column("total_ms", sa.Double(), nullable=False),
        number("input_tokens"),
        number("output_tokens"),
        number("cached_tokens"),
        number("cache_write_tokens"),
        number("cache_write_1h_tokens"),
        number("reasoning_tokens"),
        number("audio_input_tokens"),
        number("audio_output_tokens"),
        number("server_tool_calls"),
        sa.Column("usage_estimated", sa.Boolean(), nullable=False),
        sa.Column("cost", sa.BigInteger()),
        text("client_request_id"),
        text("attempts"),
        text("left_out"),
        text("adapted"),
        text("tags"),
        sa.PrimaryKeyConstraint("id", name="pk_records"),
    )
    op.create_index("ix_records_arrived_at_id", "records", ["arrived_at", "id"])
    op.create_table(
        "usage_hours",
        sa.Column("hour", sa.BigInteger(), nullable=False, autoincrement=False),
        text("caller"),
        text("model"),
        text("provider"),
        text("served_model"),
        text("key"),
        number("requests"),
        number("served"),
        number("failed"),
        number("input_tokens"),
        number("output_tokens"),
        number("cached_tokens"),
        number("reasoning_tokens"),
        number("cost"),
        number("unpriced"),
        sa.PrimaryKeyConstraint("hour", "caller", "model", "provider", "served_model", "key", name="pk_usage_hours"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
