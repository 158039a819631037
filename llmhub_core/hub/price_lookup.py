"""Asks the table of prices, in a process that lives no longer than that (`hub/price_table.py`)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

import msgspec

from llmhub_core.hub.tariff import Tariff

PATIENCE = 30.0
"""Seconds that an answer may take: a third of one where nobody else wants the processor."""

_PROGRAM = Path(__file__).with_name("price_table.py")
_decode = msgspec.json.Decoder(list[Tariff | None]).decode

Name = tuple[str, str]
"""A provider by the table's name for it, and a model by any."""


class NoAnswer(Exception):
    """Why the table could not be asked, in a sentence."""


async def look_up(names: Sequence[Name]) -> list[Tariff | None]:
    """What the table says of each, None where it knows no price. NoAnswer."""
    process = await _start()
    try:
        async with asyncio.timeout(PATIENCE):
            answer, complaint = await process.communicate(json.dumps(names).encode())
        if process.returncode:
            last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise NoAnswer(f"its process ended with status {process.returncode}: {last[:300]}")
        tariffs = _decode(answer)
        if len(tariffs) != len(names):
            raise NoAnswer(f"{len(tariffs)} answers came to {len(names)} questions")
    except TimeoutError:
        raise NoAnswer(f"it did not answer within {PATIENCE:.0f} s") from None
    except (OSError, msgspec.DecodeError) as error:
        raise NoAnswer(f"its answer could not be read ({type(error).__name__})") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return tariffs


async def _start() -> asyncio.subprocess.Process:
    # It needs no secret of the environment, and ctrl-C at a terminal is not for it: it ends by itself.
    environ = {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LD_"))}
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", _PROGRAM, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ, start_new_session=True
        )
    except OSError as error:
        raise NoAnswer(f"its process does not start: {error.strerror or error}") from error
