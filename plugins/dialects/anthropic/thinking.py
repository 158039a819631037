"""How deeply a model shall think, said so that its generation understands it.

Up to 4.5 `thinking` has a budget of tokens; from 4.6 on the model decides and `output_config.effort` leans on it, and
later generations refuse budgets. A forced tool, the beginning of an answer and, with a budget, a turn that called
tools without thinking exclude it: then it is left off and listed, so that the call succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.anthropic.models import Abilities
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import ChatRequest, ContentPart, Effort, Message, Reasoning, ToolCall

_BUDGETS: dict[Effort, int] = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
_LEAST_BUDGET = 1024


@dataclass(slots=True)
class Thinking:
    """What to write about thinking, the least `max_tokens` that leaves room for it, and what was lost.

    `on` is whether it was switched on here: temperature, top_k and forced tools are not allowed then. `off` is
    whether it was kept from thinking: then the turn to go on with may hold no thoughts.
    """

    on: bool = False
    off: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    budget: int = 0
    adapted: tuple[str, ...] = ()


def native_thinking(request: ChatRequest) -> Thinking:
    """Word for word what a caller of this format said; but a budget that would be refused, because another family
    served the turn to go on with, is left out."""
    tokens, effort = request.sampling.reasoning_tokens, request.sampling.effort
    written = Thinking()
    if tokens is not None and tokens > 0 and _in_tool_loop(request.messages):
        written.off, written.adapted = True, ("thinking=dropped",)
    elif tokens is not None:
        kinds = {0: {"type": "disabled"}, -1: {"type": "adaptive"}}
        written.fields["thinking"] = kinds.get(tokens, {"type": "enabled", "budget_tokens": tokens})
    if effort not in (None, "none"):
        written.fields["output_config"] = {"effort": "low" if effort == "minimal" else effort}
    return written


def foreign_thinking(request: ChatRequest, able: Abilities, forced: bool) -> Thinking:
    """The wish of another format's caller, in the words of the model's generation; `forced` is whether a tool will
    have to be called."""
    tokens, effort = request.sampling.reasoning_tokens, request.sampling.effort
    wish = "effort" if tokens is None else "reasoning_tokens"
    asked = tokens is not None or effort is not None
    if tokens == 0 or (tokens is None and effort == "none"):
        return _switched_off(able, (f"{wish}={'dropped' if able.off is None else 'clamped'}",))
    if forced:
        return _switched_off(able, (f"{wish}=dropped",) if asked else (), unasked=True)
    if not asked:
        return Thinking()
    if not able.thinks or _answer_begun(request.messages):
        return Thinking(off=True, adapted=(f"{wish}=dropped",))
    if able.adaptive:
        return _adaptive(tokens, effort, able)
    if _in_tool_loop(request.messages):
        return Thinking(off=True, adapted=(f"{wish}=dropped",))
    return _budgeted(tokens, effort)


def _switched_off(able: Abilities, lost: tuple[str, ...], unasked: bool = False) -> Thinking:
    """Without thinking; `lost` is what is listed where that is not all that was wished. `unasked`: nothing needs to
    be said to a model that does not think by itself."""
    if unasked:
        said = able.thinks_unasked and able.off == "disabled"
        return Thinking(off=True, fields={"thinking": {"type": "disabled"}} if said else {}, adapted=lost)
    if able.off is None:
        return Thinking(adapted=lost)
    fields = {"thinking": {"type": able.off}} if able.thinks else {}
    return Thinking(off=able.off == "disabled", fields=fields, adapted=() if able.off == "disabled" else lost)


def _adaptive(tokens: int | None, effort: Effort | None, able: Abilities) -> Thinking:
    adapted: tuple[str, ...] = ()
    if tokens is not None and tokens > 0:
        effort = next((word for word, budget in _BUDGETS.items() if tokens <= budget), "xhigh")
        adapted = ("reasoning_tokens=renamed",)
    if effort == "xhigh" and able.version < (4, 7):
        effort, adapted = "high", (*adapted, "effort=clamped")
    if effort == "minimal":
        effort, adapted = "low", adapted or ("effort=clamped",)
    # Without `display` the newer models hide their thoughts; other formats' callers expect them if there are any.
    fields: dict[str, Any] = {"thinking": {"type": "adaptive", "display": "summarized"}}
    if effort not in (None, "none"):
        fields["output_config"] = {"effort": effort}
    return Thinking(on=True, fields=fields, adapted=adapted)


def _budgeted(tokens: int | None, effort: Effort | None) -> Thinking:
    adapted: tuple[str, ...] = ()
    budget = _BUDGETS.get(effort or "medium", 4096)
    if tokens is not None and tokens < 0:
        adapted = ("reasoning_tokens=renamed",)
    elif tokens is not None:
        budget = max(tokens, _LEAST_BUDGET)
        adapted = ("reasoning_tokens=clamped",) if tokens < _LEAST_BUDGET else ()
    fields = {"thinking": {"type": "enabled", "budget_tokens": budget}}
    return Thinking(on=True, fields=fields, budget=budget, adapted=adapted)


def _answer_begun(messages: tuple[Message, ...]) -> bool:
    """Whether the caller put words into the model's mouth, which excludes thinking."""
    return bool(messages) and messages[-1].role == "assistant"


def _in_tool_loop(messages: tuple[Message, ...]) -> bool:
    """Whether the turn to go on with called tools and lacks the signed thoughts that a budget then demands. Words of
    the user behind the tools' results are part of the same turn here."""
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    if last is None or not any(isinstance(part, ToolCall) for part in last.content):
        return False
    return not any(is_own_thought(part) for part in last.content)


def is_own_thought(part: ContentPart) -> bool:
    """Whether this is what a Claude model thought, as it signed it."""
    return isinstance(part, Reasoning) and part.origin == NAME and bool(part.signature or part.redacted)
