"""What each generation of Claude models takes, read off a model's name.

From Anthropic's pages "Thinking", "Effort", "Structured outputs", "What's new in Claude Opus 5.5 / Sonnet 5.5 /
Haiku 5.5" and the errors that the API answers: each generation refuses some settings of the one before with a 400.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_NAME = re.compile(r"claude-(?P<family>[a-z]+)-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)")
_OLD_NAME = re.compile(r"claude-(?P<major>\d)(?:[-.](?P<minor>\d))?-(?P<family>[a-z]+)")
_ALWAYS_THINKING = re.compile(r"claude-(?:fable|mythos)")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model takes. A name that is no Claude model's is taken for an old one's: places that imitate this API
    imitate what it could do first.

    known            whether the name is a Claude model's
    version          (major, minor); (0, 0) for other names
    thinks           whether it can think at all
    adaptive         thinking is `adaptive` with an effort; else it has a budget
    thinks_unasked   a request that says nothing about thinking thinks
    off              the word that switches thinking off; None where nothing does
    forced_tools     tool_choice `any` and `tool` are taken
    json_schema      output_config.format and strict tools are taken
    sampling         temperature, top_p and top_k are taken
    both             temperature and top_p are taken together
    prefill          the conversation may end with the beginning of the answer
    """

    known: bool
    version: tuple[int, int]
    thinks: bool
    adaptive: bool
    thinks_unasked: bool
    off: str | None
    forced_tools: bool
    json_schema: bool
    sampling: bool
    both: bool
    prefill: bool


@lru_cache(maxsize=1024)
def abilities(model: str) -> Abilities:
    """Of the model with this name, however a place spells it (``us.anthropic.claude-opus-4-6-v1:0``)."""
    found = _NAME.search(model) or _OLD_NAME.search(model)
    always = _ALWAYS_THINKING.search(model) is not None
    family = found["family"] if found else ""
    version = (int(found["major"]), int(found["minor"] or 0)) if found else ((5, 0) if always else (0, 0))
    newest = version >= (5, 5) or (always and version >= (5, 1))
    return Abilities(
        known=version > (0, 0),
        version=version,
        thinks=version == (0, 0) or version >= (3, 7),
        adaptive=version >= (4, 6),
        thinks_unasked=always or version >= (5, 0),
        off=_off(family, always, version),
        forced_tools=not (newest and family != "haiku"),
        json_schema=version >= (4, 5),
        sampling=version < (4, 7),
        both=version < (4, 1),
        prefill=version < (4, 6),
    )


def _off(family: str, always: bool, version: tuple[int, int]) -> str | None:
    if always or (family == "opus" and version >= (5, 5)):
        return None
    return "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"
