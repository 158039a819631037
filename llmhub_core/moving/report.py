"""What became of each thing that was to be carried here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MOST_NAMED = 100
"""Things of one part that are told by name; beyond that they are counted."""


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not taken. conflict: another of that name is here, and stays; refused: it cannot be used."""

    name: str
    result: Literal["conflict", "refused"]
    why: str


@dataclass(slots=True)
class PartReport:
    """`needs` names what was taken and works only when its secret has been given again, and how."""

    part: str
    added: int = 0
    same: int = 0
    conflicts: int = 0
    refused: int = 0
    left: list[Left] = field(default_factory=list)
    needs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def conflict(self, name: str, why: str) -> None:
        self.conflicts += 1
        self._leave(Left(name, "conflict", why))

    def refuse(self, name: str, why: str, count: int = 1) -> None:
        self.refused += count
        self._leave(Left(name, "refused", why))

    def _leave(self, left: Left) -> None:
        if len(self.left) < MOST_NAMED:
            self.left.append(left)

    @property
    def complete(self) -> bool:
        return not self.conflicts and not self.refused
