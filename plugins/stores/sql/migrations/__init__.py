"""How an empty database, or an older one, comes to the schema of `tables`.

To change the schema: change `tables`, write the next file in `versions` (``llm-hub`` never edits an old one:
somebody's database was made by it), add its name to `REVISIONS`. The tests compare all three. An empty file to
begin with::

    from alembic.command import revision
    from llmhub_plugins.stores.sql.upgrade import alembic_config

    revision(alembic_config(), "say what it does", rev_id="0002")
"""

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""All that this version knows, oldest first; the last is what it needs. Here, and not only in the files, so that
a start that has nothing to migrate imports no Alembic."""
