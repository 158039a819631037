"""What differs between generations of models. An alias like ``gemini-flash-latest`` is taken for a model of today.

Facts are Google's (ai.google.dev/gemini-api/docs/thinking, …/docs/gemini-3, the developers' guides to 3.5 … 3.8
Flash, docs.cloud.google.com/gemini-enterprise-agent-platform) and, for penalties, Google's answers in its forum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmhub_core.contracts import BadRequest, Effort, Sampling

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NEWEST = re.compile(r"gemini-[a-z-]*latest")


def model_version(model: str) -> tuple[int, int] | None:
    """(2, 5) for ``gemini-2.5-flash``; None for names that carry no version (other families, tuned models)."""
    found = _VERSION.search(model)
    if found:
        return int(found[1]), int(found[2] or 0)
    return (3, 8) if _NEWEST.search(model) else None


def _from(model: str, *least: int) -> bool:
    version = model_version(model)
    return version is not None and version >= least


def _before(model: str, *least: int) -> bool:
    version = model_version(model)
    return version is not None and version < least


def resource(model: str) -> str:
    """The name with its collection: ``models/gemini-2.5-flash``."""
    if ".." in model.split("/"):
        raise BadRequest("The model's name must not have `..` in it.", code="invalid_value", param="model")
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def target(model: str, verb: str) -> str:
    """The path below the API's address: ``/v1beta/models/gemini-2.5-flash:generateContent``."""
    return f"/v1beta/{quote(resource(model), safe='/@')}:{verb}"


def wants_signatures(model: str) -> bool:
    """Whether calls of earlier turns must be signed."""
    return _from(model, 3)


def takes_media_in_results(model: str) -> bool:
    return _from(model, 3)


def takes_json_schema(model: str) -> bool:
    """Others know only the format's own schema language."""
    return not (_before(model, 2) or "gemma" in model)


def takes_format_with_tools(model: str) -> bool:
    """Before 3: "Function calling with a response mime type: 'application/json' is unsupported"."""
    return not _before(model, 3)


def takes_penalties(model: str) -> bool:
    """From 2.5 on: "Penalty is not enabled for this model"."""
    return not _from(model, 2, 5)


def takes_candidates(model: str) -> bool:
    return not _from(model, 3)


def validates_calls(model: str) -> bool:
    """Whether calls can be held to their schema while the model may also answer (mode VALIDATED)."""
    return _from(model, 2, 5)


# Thinking: levels (or budgets) from 3 on, budgets in 2.5, nothing before.

_BUDGETS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
}
"""Thinking tokens for models that take no level: the values of Google's own OpenAI compatibility layer."""

_LEVELS: Mapping[Effort, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
}


def thinking_config(sampling: Sampling, model: str, adapted: list[str]) -> dict[str, Any]:
    """`thinkingConfig` for a wish of another dialect: a budget or a level, never both."""
    budget, effort = sampling.reasoning_tokens, sampling.effort
    if budget is None and effort is None:
        return {}
    said = "effort" if budget is None else "reasoning_tokens"
    if _before(model, 2, 5) or "gemma" in model:
        adapted.append(f"{said}=dropped")
        return {}
    if _before(model, 3):
        return _budget(_BUDGETS[effort or "medium"] if budget is None else budget, said, model, adapted)
    if budget is None or budget == 0:
        return _level("none" if budget == 0 else effort or "medium", said, model, adapted)
    # Budgets are still taken (documented for compatibility), only never beside a level.
    return {"thinkingBudget": budget, "includeThoughts": True}


def _budget(tokens: int, said: str, model: str, adapted: list[str]) -> dict[str, Any]:
    """Within what the model takes; -1 (as much as it likes) and, where it can be, 0 (off) are always good."""
    if "pro" in model:
        low, high, off = 128, 32768, False
    else:
        low, high, off = (512 if "lite" in model else 1), 24576, True
    fit = tokens if tokens < 0 or (off and tokens == 0) else min(max(tokens, low), high)
    if fit != tokens:
        adapted.append(f"{said}=clamped")
    elif said == "effort":
        adapted.append("effort=renamed")
    return {"thinkingBudget": fit, **({"includeThoughts": True} if fit else {})}


def _level(effort: Effort, said: str, model: str, adapted: list[str]) -> dict[str, Any]:
    level = _LEVELS[effort]
    if level == "MINIMAL" and not _knows_minimal(model):
        level = "LOW"
    elif level == "MEDIUM" and "gemini-3-pro" in model:
        level = "HIGH"
    if level != effort.upper():
        adapted.append(f"{said}=clamped")
    return {"thinkingLevel": level, "includeThoughts": effort != "none"}


def _knows_minimal(model: str) -> bool:
    """Small models do, Pro models do not, and Flash does no longer from 3.7 on."""
    return "lite" in model or not ("pro" in model or _from(model, 3, 7))
