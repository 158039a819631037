"""Answers bound to a schema: said natively where the model knows how, else emulated by a tool that must be called.

The tool has a name that no caller can give to one. That is all by which the answer's reader knows it, for it is
not told the request: a call of this tool is turned back into the text that the caller waits for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmhub_plugins.dialects.anthropic.models import Abilities
from llmhub_plugins.dialects.anthropic.schema import reduce_schema

from llmhub_core.contracts import AnswerFormat, BadRequest, ChatRequest, Tool, dump_json, load_json

Json = dict[str, Any]

StructuredOutput = Literal["auto", "tool", "refuse"]

ANSWER = "LLMhub_answer"
"""The tool whose arguments are the answer."""

WRAPPED_ANSWER = "LLMhub_wrapped_answer"
"""… whose arguments hold it as `answer`, for schemas of something else than an object."""

RESERVED = {ANSWER, WRAPPED_ANSWER}

_INSTRUCTION = "Give your final answer by calling the tool {name}, never as text."


@dataclass(frozen=True, slots=True)
class FormatPlan:
    """How the answer's format is said: natively by `native`, by `tool` (with `choice` to force it, or an
    `instruction` where the model cannot be forced), or not at all."""

    native: Json | None = None
    tool: Json | None = None
    choice: Json | None = None
    instruction: str = ""
    adapted: tuple[str, ...] = ()


NO_FORMAT = FormatPlan()


def plan_format(request: ChatRequest, able: Abilities, setting: StructuredOutput) -> FormatPlan:
    """The best way to say what another format's caller asks; BadRequest where the operator forbids to emulate it."""
    wanted = request.sampling.answer_format
    if wanted is None or wanted.kind == "text":
        return NO_FORMAT
    schema = wanted.schema if wanted.kind == "json_schema" else None
    if setting != "tool" and able.json_schema and schema and (reduced := reduce_schema(schema)):
        lost = ("response_format=reduced",) if reduced[1] else ()
        return FormatPlan(native={"type": "json_schema", "schema": reduced[0]}, adapted=lost)
    if setting == "refuse":
        raise BadRequest(
            "This model cannot be bound to the answer's format that you ask for; ask for a closed JSON schema of a "
            "model that can, or for text.",
            code="unsupported_content",
            param="response_format",
        )
    choice = request.sampling.tool_choice
    if request.tools and choice is not None and choice.mode in ("required", "named"):
        return FormatPlan(adapted=("response_format=dropped",))  # the answer will be a tool call
    return _emulated(request, able, wanted, schema)


def _emulated(
    request: ChatRequest, able: Abilities, wanted: AnswerFormat, schema: Mapping[str, Any] | None
) -> FormatPlan:
    name, parameters = _parameters(schema)
    tool: Json = {"name": name, "description": _description(wanted, schema), "input_schema": parameters}
    others = bool(request.tools) and (
        request.sampling.tool_choice is None or request.sampling.tool_choice.mode == "auto"
    )
    if not able.forced_tools:
        return FormatPlan(tool=tool, instruction=_INSTRUCTION.format(name=name), adapted=("response_format=emulated",))
    forced: Json = {"type": "any"} if others else {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    return FormatPlan(tool=tool, choice=forced, adapted=("response_format=emulated",))


def _parameters(schema: Mapping[str, Any] | None) -> tuple[str, Json]:
    """The tool's name and input, which has to be an object."""
    if schema is None:
        return ANSWER, {"type": "object"}
    if schema.get("type") == "object" and not {"anyOf", "oneOf", "allOf"} & schema.keys():
        return ANSWER, dict(schema)
    inner = dict(schema)
    shared: Json = {name: inner.pop(name) for name in ("$defs", "definitions") if name in inner}
    return WRAPPED_ANSWER, {"type": "object", "properties": {"answer": inner}, "required": ["answer"], **shared}


def _description(wanted: AnswerFormat, schema: Mapping[str, Any] | None) -> str:
    what = "Takes your whole answer" + ("." if schema else " as a JSON object with the members that were asked for.")
    return f"{what} {wanted.description}" if wanted.description else what


def unwrapped(arguments: str) -> str:
    """The answer out of the arguments of WRAPPED_ANSWER; as they are if they were cut off."""
    try:
        value = load_json(arguments)
    except ValueError:
        return arguments
    return dump_json(value["answer"]).decode() if isinstance(value, dict) and "answer" in value else arguments


def refuse_reserved(request: ChatRequest) -> None:
    """BadRequest for a caller's tool whose calls would be taken for answers."""
    for at, tool in enumerate(request.tools):
        if isinstance(tool, Tool) and tool.name in RESERVED:
            param = f"tools[{at}].name"
            raise BadRequest(f"{param} is reserved; name the tool otherwise.", code="invalid_value", param=param)
