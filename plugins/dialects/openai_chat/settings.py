"""How to answer: Sampling as the fields of a Chat body, for the models that take them."""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.openai.carried import RESPONSES, VERBOSITY, carried
from llmhub_plugins.dialects.openai.models import (
    calls_one_tool_at_a_time,
    foreign_effort,
    is_openai_model,
    is_reasoning_model,
)
from llmhub_plugins.dialects.openai.schema import foreign_format
from llmhub_plugins.dialects.openai_chat.tools import custom_tools, with_others, write_choice
from llmhub_plugins.dialects.openai_chat.words import FUNCTION, NAME

from llmhub_core.contracts import AnswerFormat, ChatRequest, Sampling, Text, Tool

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
    _write_answer_format(body, request, adapted)
    _write_top_k_and_stop(body, sampling, own, reasoning, adapted)
    _write_effort(body, sampling, own, model, adapted)
    _write_tool_choice(body, request, adapted)
    if request.stream:
        options = request.extras.get("stream_options", {}) if own else {}
        # The hub always wants the usage; whether the caller does is the answer's writer's business.
        body["stream"] = True
        body["stream_options"] = {**options, "include_usage": True}
    if own:
        _write_extras(body, request)
    else:
        _write_carried(body, request, model, adapted)


def _write_carried(body: dict[str, Any], request: ChatRequest, model: str, adapted: list[str]) -> None:
    """Of another format's extras what this one has as well."""
    said = carried(request, model)
    adapted += [f"{name}=dropped" for name in request.extras if name not in said]
    if said.get("store") is not True:
        said.pop("metadata", None)  # OpenAI takes it with what it stores only; the caller gets it back all the same
    names = {VERBOSITY[RESPONSES]: "verbosity"}
    body.update((names.get(name, name), value) for name, value in said.items())
    if getattr(request.extras, "quiet", {}).get("user") == "safety_identifier" and is_openai_model(model):
        body["safety_identifier"] = body.pop("user")


def _write_extras(body: dict[str, Any], request: ChatRequest) -> None:
    extras = {name: value for name, value in request.extras.items() if name != "stream_options"}
    choice = extras.get("tool_choice")
    if isinstance(choice, dict) and "others" in choice:
        extras["tool_choice"], body["tools"] = with_others(choice, body.get("tools", []))
    body.update(extras)


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


# Effort.


def _write_effort(body: dict[str, Any], sampling: Sampling, own: bool, model: str, adapted: list[str]) -> None:
    effort = sampling.effort if own else foreign_effort(sampling, model, adapted)
    if effort is not None:
        body["reasoning_effort"] = effort


# Tools.


def _write_tool_choice(body: dict[str, Any], request: ChatRequest, adapted: list[str]) -> None:
    sampling = request.sampling
    custom = custom_tools(request)
    if "functions" in body and "tools" not in body:
        if sampling.tool_choice is not None:
            body["function_call"] = write_choice(sampling.tool_choice, custom, old_way=True)
        return
    # OpenAI refuses both where there are no tools.
    if "tools" in body or request.dialect == NAME:
        if sampling.tool_choice is not None:
            body["tool_choice"] = write_choice(sampling.tool_choice, custom, old_way=False)
        if sampling.parallel_tools is not None:
            if request.dialect != NAME and calls_one_tool_at_a_time(body["model"]):
                adapted.append("parallel_tools=dropped")  # which call one tool at a time, and refuse the word
            else:
                body["parallel_tool_calls"] = sampling.parallel_tools


def is_old_way(request: ChatRequest) -> bool:
    """Whether the caller declared `functions` and so waits for a `function_call`."""
    return any(isinstance(tool, Tool) and tool.extras == FUNCTION for tool in request.tools)


# The form of the answer.


def _write_answer_format(body: dict[str, Any], request: ChatRequest, adapted: list[str]) -> None:
    format, own = request.sampling.answer_format, request.dialect == NAME
    if format is None:
        return
    if format.kind == "json_schema" and (own or format.schema is not None):
        body["response_format"] = {"type": "json_schema", "json_schema": _json_schema(format, own, adapted)}
        return
    kind = "text" if format.kind == "text" else "json_object"
    body["response_format"] = {"type": kind}
    if kind == "json_object" and not own and not _speaks_of_json(request):
        # OpenAI refuses this format where no message speaks of JSON.
        body["messages"].insert(0, {"role": "system", "content": "Answer in JSON."})
        adapted.append("answer_format=emulated")


def _json_schema(format: AnswerFormat, own: bool, adapted: list[str]) -> dict[str, Any]:
    format = format if own else foreign_format(format, adapted)
    said = {"description": format.description, "schema": format.schema, "strict": format.strict}
    return {"name": format.name or "answer", **{key: value for key, value in said.items() if value is not None}}


def _speaks_of_json(request: ChatRequest) -> bool:
    texts = (part.text for message in request.messages for part in message.content if isinstance(part, Text))
    return any("json" in text.lower() for text in texts)
