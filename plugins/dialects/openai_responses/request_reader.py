"""A caller's body as a ChatRequest. Called only where somebody else than a provider of this dialect has to read it."""

from __future__ import annotations

from typing import Any, cast, get_args

from llmhub_plugins.dialects.openai_responses.input_reader import read_input
from llmhub_plugins.dialects.openai_responses.words import ENCRYPTED, LOGPROBS, NAME, Json, Own, kept

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    Effort,
    Message,
    OpaqueTool,
    RequestHead,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    load_json,
)

_EFFORTS = frozenset(get_args(Effort))
_FORMATS = frozenset({"text", "json_object", "json_schema"})

_STATEFUL = ("previous_response_id", "conversation", "prompt", "background")
"""What lives in the memory of a provider that speaks this dialect."""

_HARMLESS = {"truncation": ("disabled",), "service_tier": ("auto", "default"), "store": (False,)}
"""Settings that ask for nothing but what happens anyway."""


def decode_request(body: bytes, head: RequestHead, dialect: str = NAME) -> ChatRequest:
    """The whole request; BadRequest with `param` for what is malformed."""
    try:
        fields: Json = load_json(body)
    except ValueError:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    # Each reader takes out of `fields` what it understood; the rest are extras. null means: not said.
    fields = {name: value for name, value in fields.items() if value is not None}
    needs = _needs(fields)
    quiet: Json = {}
    for name in ("model", "stream", "max_output_tokens"):
        fields.pop(name, None)
    messages = read_input(fields.pop("input", ()))
    instructions = fields.pop("instructions", None)
    if instructions is not None:
        quiet["instructions"] = True
        messages = (Message("system", (Text(instructions),)), *messages)
    tools = tuple(_tool(tool) for tool in fields.pop("tools", ()))
    sampling = _sampling(fields, head, quiet)
    _quieten(fields, quiet)
    return ChatRequest(
        dialect=dialect,
        model=head.model,
        messages=messages,
        tools=tools,
        sampling=sampling,
        stream=head.stream,
        framing=head.framing,
        extras=Own(fields, quiet),
        needs=needs,
    )


def _needs(fields: Json) -> tuple[str, ...]:
    """What only a provider of this dialect can look up in its memory."""
    items = fields.get("input", ())
    stored = [
        f"input[{place}]"
        for place, item in enumerate(() if isinstance(items, str) else items)
        if item.get("type") == "item_reference"
    ]
    return (*(name for name in _STATEFUL if fields.get(name)), *stored)


def _quieten(fields: Json, quiet: Json) -> None:
    """Move what no other dialect has to report as lost. `metadata` is for the caller alone, who gets it back."""
    for name in ("metadata", "stream_options"):
        if name in fields:
            quiet[name] = fields.pop(name)
    for name in _STATEFUL:
        if name in fields and not fields[name]:
            quiet[name] = fields.pop(name)
    for name, values in _HARMLESS.items():
        if fields.get(name) in values:
            quiet[name] = fields.pop(name)


# Tools.

_TOOL_FIELDS = ("type", "name", "description", "parameters", "strict")
FREE_TEXT: Json = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The input of the tool, as free text."}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The parameters of the function that stands for a custom tool where there are none."""


def _tool(raw: Json) -> Tool | OpaqueTool:
    raw = {name: value for name, value in raw.items() if value is not None}
    if raw["type"] == "function":
        rest = {name: value for name, value in raw.items() if name not in _TOOL_FIELDS}
        return Tool(
            raw["name"],
            description=raw.get("description"),
            parameters=raw.get("parameters"),
            strict=raw.get("strict"),
            extras=kept(rest, {}),
        )
    if raw["type"] == "custom":
        # What others lose is the grammar, if there is one, and that the text comes free of JSON.
        return Tool(raw["name"], raw.get("description"), FREE_TEXT, extras=kept({"custom": raw}, {}))
    return OpaqueTool(NAME, raw["type"], raw)


# Settings.


def _sampling(fields: Json, head: RequestHead, quiet: Json) -> Sampling:
    include = fields.get("include", ())
    if set(include) <= {ENCRYPTED, LOGPROBS} and "include" in fields:
        # Encrypted reasoning comes anyhow, and probabilities have a setting of their own.
        quiet["include"] = fields.pop("include")
    top_logprobs = fields.pop("top_logprobs", None)
    return Sampling(
        max_output=head.max_output,
        temperature=fields.pop("temperature", None),
        top_p=fields.pop("top_p", None),
        logprobs=True if LOGPROBS in include or top_logprobs else None,
        top_logprobs=top_logprobs,
        effort=_reasoning(fields, quiet),
        answer_format=_text(fields),
        tool_choice=_tool_choice(fields),
        parallel_tools=fields.pop("parallel_tool_calls", None),
        user=_user(fields, quiet),
    )


def _user(fields: Json, quiet: Json) -> str | None:
    user: str | None = fields.pop("user", None)
    if user is None and "safety_identifier" in fields:
        quiet["user"] = "safety_identifier"  # the newer name of the same
        user = fields.pop("safety_identifier")
    return user


def _reasoning(fields: Json, quiet: Json) -> Effort | None:
    raw = dict(fields.pop("reasoning", ()))
    said = raw.get("effort")
    effort = cast(Effort, raw.pop("effort")) if said in _EFFORTS else None
    # How thoughts are summed up is nobody's loss: others show them as they are.
    summed = {name: raw.pop(name) for name in ("summary", "generate_summary") if name in raw}
    if summed:
        quiet["reasoning"] = summed
    fields.update((f"reasoning.{name}", value) for name, value in raw.items() if value is not None)
    return effort


def _text(fields: Json) -> AnswerFormat | None:
    raw = dict(fields.pop("text", ()))
    format = raw.pop("format", None)
    found: AnswerFormat | None = None
    if format is not None and format["type"] in _FORMATS:
        found = AnswerFormat(
            format["type"],
            schema=format.get("schema"),
            name=format.get("name"),
            description=format.get("description"),
            strict=format.get("strict"),
        )
    elif format is not None:
        fields["text.format"] = format
    fields.update((f"text.{name}", value) for name, value in raw.items() if value is not None)
    return found


def _tool_choice(fields: Json) -> ToolChoice | None:
    """What other dialects cannot say as exactly (a subset of the tools) also stays an extra."""
    raw: Any = fields.get("tool_choice")
    if raw is None:
        return None
    if isinstance(raw, str):
        del fields["tool_choice"]
        return ToolChoice(cast(Any, raw))
    if raw["type"] in ("function", "custom"):
        del fields["tool_choice"]
        return ToolChoice("named", raw["name"])
    if raw["type"] == "allowed_tools":
        return ToolChoice("required" if raw.get("mode") == "required" else "auto")
    return None
