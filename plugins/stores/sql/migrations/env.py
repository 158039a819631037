"""Run by Alembic: the migrations, on the connection and in the transaction of the caller."""

from alembic import context
from llmhub_plugins.stores.sql import alert_tables, configuration_tables, people_tables  # noqa: F401 — these add to the tables
from llmhub_plugins.stores.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making another
    transactional_ddl=True,  # the caller has begun the transaction, also on SQLite: all or nothing
)
with context.begin_transaction():
    context.run_migrations()
