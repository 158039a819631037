"""What OpenAI's models take, by their names. Names that are none of OpenAI's are taken for models that take what is
standard."""

from __future__ import annotations

import re
from typing import get_args

from llmhub_core.contracts import Effort, Sampling

_REASONING = re.compile(r"(?:^|/)(?:o[1-9](?:$|[-.:])|gpt-(?:[5-9]|\d\d)|codex)")
_NOT_REASONING = re.compile(r"(?:^|/)(?:gpt-[34]|chatgpt|gpt-audio)")
_O_MODEL = re.compile(r"(?:^|/)o[1-9](?:$|[-.:])")
_GPT = re.compile(r"(?:^|/)gpt-(\d+)(?:\.(\d+))?")


def is_reasoning_model(model: str) -> bool:
    """Whether OpenAI serves `model` as a reasoning model: it refuses `max_tokens`, `temperature` and their like."""
    return _REASONING.search(model) is not None


def never_reasons(model: str) -> bool:
    """Whether `model` is one of OpenAI's that refuse to be told how much to think."""
    return _NOT_REASONING.search(model) is not None


def is_openai_model(model: str) -> bool:
    """Whether `model` is one of OpenAI's own, by its name."""
    return is_reasoning_model(model) or never_reasons(model)


def calls_one_tool_at_a_time(model: str) -> bool:
    """Whether `model` refuses `parallel_tool_calls`."""
    return _O_MODEL.search(model) is not None


def takes_verbosity(model: str) -> bool:
    """Whether another `verbosity` than ``medium`` is taken: from gpt-5 on, by no gpt-5-chat, and in the codex line only
    from 5.3 on. Source: the error texts of the others ("Supported values are: 'medium'")."""
    version = _gpt_version(model)
    if version is None or version < (5, 0) or "gpt-5-chat" in model:
        return False
    return "codex" not in model or version >= (5, 3)


def _gpt_version(model: str) -> tuple[int, int] | None:
    found = _GPT.search(model)
    return None if found is None else (int(found[1]), int(found[2] or 0))


# Effort.


def foreign_effort(sampling: Sampling, model: str, adapted: list[str]) -> Effort | None:
    """How much `model` shall think, as another format's caller wishes it: an effort, or a budget in tokens, of which 0
    goes before all else. None: nothing is said of it. `adapted` gets what was changed or lost on the way.

    A budget becomes a word for models known to take one; a model known to think of nothing is asked nothing.
    """
    effort, budget = sampling.effort, sampling.reasoning_tokens
    if effort is None or budget == 0:
        return _of_budget(budget, model, adapted)
    if never_reasons(model):
        adapted.append("effort=dropped")
        return None
    taken = _taken(model, effort)
    if taken != effort:
        adapted.append("effort=clamped")
    return taken


def _of_budget(budget: int | None, model: str, adapted: list[str]) -> Effort | None:
    if budget is None or budget < 0:
        return None
    if is_reasoning_model(model):
        adapted.append("reasoning_tokens=renamed")
        return _taken(model, _word(budget))
    if budget > 0:
        adapted.append("reasoning_tokens=dropped")
    return None


def _word(budget: int) -> Effort:
    if budget == 0:
        return "none"
    return "low" if budget <= 2048 else "medium" if budget <= 16384 else "high"


_WORDS: tuple[Effort, ...] = get_args(Effort)


def _taken(model: str, effort: Effort) -> Effort:
    """The least effort that `model` takes and that is no less than asked; its most if there is none."""
    words = _words_of(model)
    if effort in words:
        return effort
    asked = _WORDS.index(effort)
    return next((word for word in words if _WORDS.index(word) > asked), words[-1])


def _words_of(model: str) -> tuple[Effort, ...]:
    """What `model` takes; others than OpenAI's own may take any word.

    Source: https://platform.openai.com/docs/guides/reasoning and the error texts of gpt-5.1 and later ("Supported
    values are: …").
    """
    if _O_MODEL.search(model):
        return ("low", "medium", "high")
    version = _gpt_version(model)
    if version is None or version < (5, 0):
        return _WORDS
    if "-pro" in model:
        return ("high",) if version == (5, 0) else ("medium", "high", "xhigh")
    if version == (5, 0):
        return ("low", "medium", "high") if "codex" in model else ("minimal", "low", "medium", "high")
    least: tuple[Effort, ...] = ("low",) if "codex" in model else ("none", "low")
    most: tuple[Effort, ...] = ("high",) if version == (5, 1) and "max" not in model else ("high", "xhigh")
    return (*least, "medium", *most)
