"""With each request, what its candidates were ordered by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # With a default, both databases add the column without touching a row.
    op.add_column("records", sa.Column("decisions", sa.Text(), nullable=False, server_default="[]"))


def downgrade() -> None:
    raise NotImplementedError("restore the copy that was made before the upgrade")
