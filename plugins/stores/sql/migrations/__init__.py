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
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
"""All that this version knows, oldest first; the last is what it needs. Here, and not only in the files, so that
a start that has nothing to migrate imports no Alembic."""

log = logging.getLogger("llmhub.migrate")


TELL_EVERY = 5.0
"""Seconds between two words about how far a step is."""


@contextmanager
def step(what: str) -> Iterator[Callable[[float], None]]:
    """Tells whoever waits for a migration what it does now and how long that took: a large database takes minutes. A
    step that knows how far it is, from 0 to 1, may say so as often as it likes."""
    log.info("%s …", what)
    began = told = time.monotonic()

    def progress(share: float) -> None:
        nonlocal told
        if time.monotonic() >= told + TELL_EVERY:
            told = time.monotonic()
            log.info("%s: %.0f %%", what, 100 * share)

    yield progress
    log.info("%s: done in %.1f s", what, time.monotonic() - began)
