"""What every plugin object has: a name, a contract number, settings, a start and a stop."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

API = 1
"""The number of the contracts in this package; a plugin built for another one is not loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    """For plugins with nothing to set."""


class Plugin(ABC):
    """Life of a plugin object: constructed with its Settings (no I/O) → start → use → stop.

    `Settings` is a dataclass; the plugin's config table is read into it, its field defaults are the
    defaults, and `metadata={"help": "…"}` of a field is the sentence that the documentation shows.
    """

    api: ClassVar[int] = API
    name: ClassVar[str]
    Settings: ClassVar[type] = NoSettings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    async def start(self) -> None:
        """Open what is needed; called once, before the first use."""

    async def stop(self) -> None:
        """Close what start opened; called once, in reverse order of starting."""
