"""How to answer: Sampling as the fields of a Chat body, for the models that take them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llmhub_plugins.dialects.openai_chat.words import FUNCTION, NAME

from llmhub_core.contracts import AnswerFormat, ChatRequest, Sampling, Tool, ToolChoice

_REASONING = re.compile(r"(?:^|/)(?:o[1-9](?:$|[-.:])|gpt-(?:[5-9]|\d\d))")
_NOT_REASONING = re.compile(r"(?:^|/)(?:gpt-[34]|chatgpt|gpt-audio)")
_MOST_STOPS = 4
_DROPPED_BY_REASONING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
_FIELDS = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("logprobs", "logprobs"),
    ("top_logprobs", "top_logprobs"),
    ("user", "user"),
)


def is_reasoning_model(model: str) -> bool:
    """Whether OpenAI serves `model` as a reasoning model: it refuses `max_tokens`, `temperature` and their like."""
    return _REASONING.search(model) is not None


def write_settings(body: dict[str, Any], request: ChatRequest, model: str, adapted: list[str]) -> None:
    """Put the request's settings and extras into `body`, list in `adapted` what it cannot hold."""
    own, sampling = request.dialect == NAME, request.sampling
    reasoning = is_reasoning_model(model)
    # Only a caller of this dialect knows what the model takes; other callers' clients set these without asking.
    left_out = _DROPPED_BY_REASONING if reasoning and not own else ()
    for attribute, field in _FIELDS:
        value = getattr(sampling, attribute)
        if value is not None:
            if attribute in left_out:
                adapted.append(f"{attribute}=dropped")
            else:
                body[field] = value
    if sampling.max_output is not None:
        body["max_completion_tokens" if reasoning else "max_tokens"] = sampling.max_output
    if sampling.n != 1:
        body["n"] = sampling.n
    if sampling.answer_format is not None:
        body["response_format"] = _answer_format(sampling.answer_format)
    _write_top_k_and_stop(body, sampling, own, reasoning, adapted)
    _write_effort(body, sampling, own, model, adapted)
    _write_tool_choice(body, request)
    if request.stream:
        options = request.extras.get("stream_options", {}) if own else {}
        # The hub always wants the usage; whether the caller does is the answer's writer's business.
        body["stream"] = True
        body["stream_options"] = {**options, "include_usage": True}
    if own:
        body.update((name, value) for name, value in request.extras.items() if name != "stream_options")
    else:
        adapted += [f"{name}=dropped" for name in request.extras]


def _write_top_k_and_stop(
    body: dict[str, Any], sampling: Sampling, own: bool, reasoning: bool, adapted: list[str]
) -> None:
    if sampling.top_k is not None:
        if own:
            body["top_k"] = sampling.top_k
        else:
            adapted.append("top_k=dropped")  # OpenAI refuses it
    stop = sampling.stop
    if own or not stop:
        wanted = stop
    elif reasoning:
        wanted = ()
        adapted.append("stop=dropped")
    else:
        wanted = stop[:_MOST_STOPS]
        if len(stop) > _MOST_STOPS:
            adapted.append("stop=clamped")
    if wanted:
        body["stop"] = list(wanted)


def _write_effort(body: dict[str, Any], sampling: Sampling, own: bool, model: str, adapted: list[str]) -> None:
    """A budget becomes a word for models known to take one; a model known to think of nothing is asked nothing."""
    effort, budget = sampling.effort, sampling.reasoning_tokens
    if effort is not None:
        if own or _NOT_REASONING.search(model) is None:
            body["reasoning_effort"] = effort
        else:
            adapted.append("effort=dropped")
    elif budget is not None and budget >= 0:
        if is_reasoning_model(model):
            body["reasoning_effort"] = "low" if budget <= 2048 else "medium" if budget <= 16384 else "high"
            adapted.append("reasoning_tokens=renamed")
        elif budget > 0:
            adapted.append("reasoning_tokens=dropped")


def _write_tool_choice(body: dict[str, Any], request: ChatRequest) -> None:
    sampling = request.sampling
    if "functions" in body and "tools" not in body:
        if sampling.tool_choice is not None:
            body["function_call"] = _choice(sampling.tool_choice, lambda name: {"name": name})
        return
    # OpenAI refuses both where there are no tools.
    if "tools" in body or request.dialect == NAME:
        if sampling.tool_choice is not None:
            body["tool_choice"] = _choice(
                sampling.tool_choice, lambda name: {"type": "function", "function": {"name": name}}
            )
        if sampling.parallel_tools is not None:
            body["parallel_tool_calls"] = sampling.parallel_tools


def _choice(choice: ToolChoice, named: Callable[[str], dict[str, Any]]) -> Any:
    return named(choice.name or "") if choice.mode == "named" else choice.mode


def _answer_format(format: AnswerFormat) -> dict[str, Any]:
    if format.kind != "json_schema":
        return {"type": format.kind}
    schema: dict[str, Any] = {"name": format.name or "answer"}
    for name in ("description", "schema", "strict"):
        value = getattr(format, name)
        if value is not None:
            schema[name] = value
    return {"type": "json_schema", "json_schema": schema}


def is_old_way(request: ChatRequest) -> bool:
    """Whether the caller declared `functions` and so waits for a `function_call`."""
    return any(isinstance(tool, Tool) and tool.extras == FUNCTION for tool in request.tools)
