"""How deeply a model shall think, said so that its generation understands it.

Claude models know two ways, and each generation refuses the other's with a 400 (Anthropic's and AWS's pages on
adaptive thinking): up to 4.5 `thinking` has a budget of tokens; from 4.6 on the model decides and
`output_config.effort` leans on it. From 4.7 on temperature, top_p and top_k are refused as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import ChatRequest, Effort, Message, Reasoning, ToolCall

_VERSION = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_ALWAYS_THINKING = re.compile(r"claude-(?:fable|mythos)")

_BUDGETS: dict[Effort, int] = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
_LEAST_BUDGET = 1024


def generation(model: str) -> tuple[int, int]:
    """(major, minor) of a Claude model's name; (0, 0) for every other name, which is taken for an old one."""
    if _ALWAYS_THINKING.search(model):
        return (5, 0)
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


@dataclass(slots=True)
class Thinking:
    """What to write about thinking, the least `max_tokens` that leaves room for it, and what was lost.

    `on` is whether it was switched on here: temperature, top_k and forced tools are not allowed then.
    """

    on: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    budget: int = 0
    adapted: tuple[str, ...] = ()


def native_thinking(request: ChatRequest) -> Thinking:
    """Word for word what a caller of this format said."""
    tokens, effort = request.sampling.reasoning_tokens, request.sampling.effort
    written = Thinking()
    if tokens is not None:
        kinds = {0: {"type": "disabled"}, -1: {"type": "adaptive"}}
        written.fields["thinking"] = kinds.get(tokens, {"type": "enabled", "budget_tokens": tokens})
    if effort not in (None, "none"):
        written.fields["output_config"] = {"effort": "low" if effort == "minimal" else effort}
    return written


def foreign_thinking(request: ChatRequest, model: str) -> Thinking:
    """The wish of another format's caller, in the words of `model`'s generation."""
    tokens, effort = request.sampling.reasoning_tokens, request.sampling.effort
    if tokens is None and effort is None:
        return Thinking()
    wish = "effort" if tokens is None else "reasoning_tokens"
    if tokens == 0 or (tokens is None and effort == "none"):
        if _ALWAYS_THINKING.search(model):
            return Thinking(adapted=(f"{wish}=dropped",))
        return Thinking(fields={"thinking": {"type": "disabled"}})
    adaptive = generation(model) >= (4, 6)
    if _tools_forced(request) or _answer_begun(request.messages) or (not adaptive and _in_tool_loop(request.messages)):
        return Thinking(adapted=(f"{wish}=dropped",))
    return _adaptive(tokens, effort, model) if adaptive else _budgeted(tokens, effort)


def _adaptive(tokens: int | None, effort: Effort | None, model: str) -> Thinking:
    adapted: tuple[str, ...] = ()
    if tokens is not None and tokens > 0:
        effort = next((word for word, budget in _BUDGETS.items() if tokens <= budget), "xhigh")
        adapted = ("reasoning_tokens=renamed",)
    if effort == "xhigh" and generation(model) < (4, 7):
        effort, adapted = "high", (*adapted, "effort=clamped")
    if effort == "minimal":
        effort = "low"
    # Without `display` the newer models hide their thoughts; other formats' callers expect them if there are any.
    fields: dict[str, Any] = {"thinking": {"type": "adaptive", "display": "summarized"}}
    if effort not in (None, "none"):
        fields["output_config"] = {"effort": effort}
    return Thinking(True, fields, 0, adapted)


def _budgeted(tokens: int | None, effort: Effort | None) -> Thinking:
    adapted: tuple[str, ...] = ()
    budget = _BUDGETS.get(effort or "medium", 4096)
    if tokens is not None and tokens < 0:
        adapted = ("reasoning_tokens=renamed",)
    elif tokens is not None:
        budget = max(tokens, _LEAST_BUDGET)
        adapted = ("reasoning_tokens=clamped",) if tokens < _LEAST_BUDGET else ()
    return Thinking(True, {"thinking": {"type": "enabled", "budget_tokens": budget}}, budget, adapted)


def _tools_forced(request: ChatRequest) -> bool:
    choice = request.sampling.tool_choice
    return choice is not None and choice.mode in ("required", "named")


def _answer_begun(messages: tuple[Message, ...]) -> bool:
    """Whether the caller put words into the model's mouth, which excludes thinking."""
    return bool(messages) and messages[-1].role == "assistant"


def _in_tool_loop(messages: tuple[Message, ...]) -> bool:
    """Whether the turn to go on with called tools and lacks the signed thoughts that a budget then demands."""
    for message in reversed(messages):
        if message.role == "user":
            return False
        if message.role == "assistant":
            signed = any(
                isinstance(part, Reasoning) and part.origin == NAME and (part.signature or part.redacted)
                for part in message.content
            )
            return not signed and any(isinstance(part, ToolCall) for part in message.content)
    return False
