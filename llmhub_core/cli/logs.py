"""Log lines for people or for machines."""

from __future__ import annotations

import json
import logging
import sys
import time


class _Json(logging.Formatter):
    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._worker,
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The text of an exception may hold what a caller or a provider sent: its kind has to do.
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


class _Text(logging.Formatter):
    def __init__(self, worker: int) -> None:
        who = f"[{worker}] " if worker else ""
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {who}%(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatException(self, ei: object) -> str:  # noqa: N802 — logging's name
        kind = ei[0] if isinstance(ei, tuple) else None
        return kind.__name__ if isinstance(kind, type) else "error"


def set_up_logs(level: str, style: str, worker: int = 0) -> None:
    """To stderr, one line an event, with the number of the worker that writes it if there are several."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(worker) if style == "json" else _Text(worker))
    # The drivers' own debugging has every row and parameter in it, credentials too: it is never switched on with ours.
    others = max(logging.INFO, logging.getLevelNamesMapping()[level.upper()])
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.getLogger("llmhub").setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
