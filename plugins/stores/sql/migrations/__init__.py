"""How an empty database, or an older one, comes to the schema of `tables`.

To change the schema: change `tables`, write the next file in `versions` (``llm-hub`` never edits an old one:
somebody's database was made by it), add its name to `REVISIONS`. The tests compare all three. An empty file to
begin with::

    from alembic.command import revision
    from llmhub_plugins.stores.sql.upgrade import alembic_config

    revision(alembic_config(), "say what it does", rev_id="0002")
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""All that this version knows, oldest first; the last is what it needs. Here, and not only in the files, so that
a start that has nothing to migrate imports no Alembic."""

log = logging.getLogger("llmhub.migrate")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tells whoever waits for a migration what it does now and how long that took: a large database takes minutes."""
    log.info("%s …", what)
    began = time.monotonic()
    yield
    log.info("%s: done in %.1f s", what, time.monotonic() - began)
