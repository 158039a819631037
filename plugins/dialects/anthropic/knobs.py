"""How to answer: the Sampling of a ChatRequest, written as this format's top-level fields."""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.anthropic.models import Abilities
from llmhub_plugins.dialects.anthropic.structured import FormatPlan
from llmhub_plugins.dialects.anthropic.thinking import Thinking, foreign_thinking
from llmhub_plugins.dialects.anthropic.tools import is_forced, write_tool_choice

from llmhub_core.contracts import BadRequest, ChatRequest, Sampling

Json = dict[str, Any]


def write_native_knobs(request: ChatRequest, thinking: Thinking, adapted: list[str]) -> Json:
    """Settings of a caller of this format, as they were said; leftovers of objects join what was read from them."""
    sampling = request.sampling
    written: Json = {"max_tokens": sampling.max_output}
    written |= {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k")}
    written |= {"stop_sequences": list(sampling.stop) or None, "tool_choice": write_tool_choice(sampling) or None}
    written |= thinking.fields
    adapted += thinking.adapted
    wanted = sampling.answer_format
    if wanted is not None and wanted.kind == "json_schema":
        _add_format(written, {"type": "json_schema", "schema": dict(wanted.schema or {})})
    if sampling.user is not None:
        written["metadata"] = {"user_id": sampling.user}
    written = {name: value for name, value in written.items() if value is not None}
    for name, value in (_without_thinking(request.extras, adapted) if thinking.off else request.extras).items():
        both = isinstance(value, dict) and isinstance(written.get(name), dict)
        written[name] = {**written[name], **value} if both else value
    return written


def _without_thinking(extras: Any, adapted: list[str]) -> Json:
    """Extras without what the API takes only beside `thinking`: its display, and edits of earlier thoughts."""
    left = {name: value for name, value in extras.items() if name != "thinking"}
    management = left.get("context_management")
    if isinstance(management, dict) and isinstance(edits := management.get("edits"), list):
        kept = [edit for edit in edits if not (isinstance(edit, dict) and _is_about_thoughts(edit))]
        if len(kept) < len(edits):
            adapted.append("context_management=dropped")
            left["context_management"] = {**management, "edits": kept}
            if not kept:
                del left["context_management"]
    return left


def _is_about_thoughts(edit: Json) -> bool:
    return str(edit.get("type")).startswith("clear_thinking")


_UNKNOWN = {"seed": None, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "top_logprobs": 0}
"""Settings that this format lacks, with the value whose loss changes nothing."""

_HARMLESS: Json = {"store": (False,), "service_tier": ("auto", "default"), "modalities": (["text"],)}
"""Fields of other formats with the values that say what happens here anyway."""


def write_foreign_knobs(
    request: ChatRequest, able: Abilities, plan: FormatPlan, default_max: int, adapted: list[str]
) -> tuple[Json, Thinking]:
    """Settings of a caller of another format, as far as this one has them, and what became of thinking; the rest is
    listed in `adapted`."""
    sampling = request.sampling
    if sampling.n > 1:
        raise BadRequest(
            f"n={sampling.n} asks for several answers; Anthropic models give one. Ask n times, or leave n out.",
            code="unsupported_content",
            param="n",
        )
    choice = _choice(request, able, plan, adapted)
    thinking = foreign_thinking(request, able, forced=choice.get("type") in ("any", "tool"))
    most = default_max if sampling.max_output is None else sampling.max_output
    written: Json = {"max_tokens": most if most > thinking.budget else thinking.budget + most}
    written |= thinking.fields
    written |= _numbers(sampling, able, thinking.on, adapted)
    if stop := [text for text in sampling.stop if text.strip()]:
        written["stop_sequences"] = stop
    if len(stop) < len(sampling.stop):  # texts of white space only are refused
        adapted.append("stop=dropped")
    if choice:
        written["tool_choice"] = choice
    if plan.native is not None:
        _add_format(written, plan.native)
    if sampling.user is not None:
        written["metadata"] = {"user_id": sampling.user}
    adapted += thinking.adapted + plan.adapted
    for name, harmless in _UNKNOWN.items():
        if getattr(sampling, name) not in (None, harmless):
            adapted.append(f"{name}=dropped")
    adapted += [f"{name}=dropped" for name, value in request.extras.items() if not _says_nothing(name, value)]
    return written, thinking


def _says_nothing(name: str, value: Any) -> bool:
    return value in (None, {}, []) or value in _HARMLESS.get(name, ())


def _choice(request: ChatRequest, able: Abilities, plan: FormatPlan, adapted: list[str]) -> Json:
    """`tool_choice`, empty where there is nothing to choose from."""
    if plan.choice is not None:
        if request.sampling.parallel_tools is False:
            return {**plan.choice, "disable_parallel_tool_use": True}
        return plan.choice
    if not request.tools:
        return {}
    choice = write_tool_choice(request.sampling)
    if is_forced(request.sampling) and not able.forced_tools:
        adapted.append("tool_choice=dropped")
        return {"type": "auto"} | {name: value for name, value in choice.items() if name not in ("type", "name")}
    return choice


def _numbers(sampling: Sampling, able: Abilities, thinking: bool, adapted: list[str]) -> Json:
    """temperature, top_p and top_k, where the model takes them; defaults that it would refuse are no loss."""
    refuses = thinking or not able.sampling
    written: Json = {}
    temperature, top_p = sampling.temperature, sampling.top_p
    if temperature is not None:
        if not refuses:
            written["temperature"] = min(temperature, 1.0)
        if refuses and temperature != 1:
            adapted.append("temperature=dropped")
        elif temperature > 1:
            adapted.append("temperature=clamped")
    if top_p is not None and top_p != 1:
        if refuses or (temperature is not None and not able.both):
            adapted.append("top_p=dropped")
        else:
            written["top_p"] = top_p
    if sampling.top_k is not None:
        if refuses:
            adapted.append("top_k=dropped")
        else:
            written["top_k"] = sampling.top_k
    return written


def _add_format(written: Json, shape: Json) -> None:
    written["output_config"] = {**written.get("output_config", {}), "format": shape}
