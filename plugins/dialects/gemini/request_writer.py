"""The neutral request as a request in the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from llmhub_plugins.dialects.gemini.part_writer import PartWriter, unsupported
from llmhub_plugins.dialects.gemini.sampling import write_config, write_tool_config
from llmhub_plugins.dialects.gemini.schema import json_schema
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    PARAMETERS_ORDER,
    RESPONSE_ORDER,
    SAME_TURN,
    SIGNATURE,
    model_version,
    own_extras,
    put_back,
)

from llmhub_core.contracts import (
    ChatRequest,
    EncodedRequest,
    Extras,
    Message,
    OpaqueTool,
    Text,
    Tool,
    dump_json,
)

_SKIP_VALIDATION = "skip_thought_signature_validator"
"""What Google documents for calls that another model made (ai.google.dev/gemini-api/docs/thought-signatures):
models from 3 on refuse a turn whose first call has no signature, and accept this one."""


def write_request(request: ChatRequest, model: str) -> EncodedRequest:
    """A body for `model`. Raises BadRequest (`unsupported_content`) for content that the format cannot say."""
    adapted: list[str] = []
    native = request.dialect == NAME
    body: dict[str, Any] = {}
    contents = _Contents(request, model, native, adapted)
    if contents.system:
        body["systemInstruction"] = {"parts": contents.system}
    body["contents"] = contents.written
    tools = _write_tools(request.tools, adapted)
    if tools:
        body["tools"] = tools
    rest = dict(request.extras) if native else {}
    adapted += [] if native else [f"{name}=dropped" for name in request.extras]
    ordered = rest.pop(RESPONSE_ORDER, None)
    callable_tools = any(isinstance(tool, Tool) for tool in request.tools)
    tool_config = write_tool_config(request.sampling.tool_choice, native, callable_tools)
    if tool_config:
        body["toolConfig"] = tool_config
    config = write_config(request.sampling, ordered, model, native, adapted)
    if config:
        body["generationConfig"] = config
    return EncodedRequest(dump_json(put_back(body, rest)), tuple(adapted))


class _Contents:
    """The messages as contents: `written`, and apart from them `system`, the parts of the system instruction."""

    def __init__(self, request: ChatRequest, model: str, native: bool, adapted: list[str]) -> None:
        version = model_version(model)
        self._parts = PartWriter(native=native, nested_media=native or (version or (0, 0)) >= (3, 0), adapted=adapted)
        self._native = native
        self._adapted = adapted
        self.system: list[dict[str, Any]] = []
        self.written: list[dict[str, Any]] = []
        for number, message in enumerate(request.messages):
            self._take(message, f"messages[{number}]")
        if not self.written and self.system and not native:
            # The API refuses a request without a turn; a lone system prompt is the turn then.
            self.written.append({"role": "user", "parts": self.system})
            self.system = []
            adapted.append("messages[0].role=user")
        if not native:
            self._order_results()
            if version is not None and version >= (3, 0):
                self._mark_foreign_calls()

    def _take(self, message: Message, where: str) -> None:
        self._adapted += foreign_extras(message.extras, where)
        if message.name is not None:
            self._adapted.append(f"{where}.name=dropped")
        if message.role in ("system", "developer"):
            self._take_system(message, where)
            return
        parts: list[dict[str, Any]] = []
        for number, part in enumerate(message.content):
            parts += self._parts.write(part, f"{where}.content[{number}]")
        if not self._native:
            # Empty texts mean nothing and are refused; one is kept where a user's turn is nothing else.
            told = [part for part in parts if part != {"text": ""}]
            parts = told or (parts[:1] if message.role == "user" else [])
            if not parts:
                return
        self._append("model" if message.role == "assistant" else "user", parts, message)

    def _take_system(self, message: Message, where: str) -> None:
        if self.written:
            self._adapted.append(f"{where}.role=hoisted")
        for number, part in enumerate(message.content):
            if not (isinstance(part, Text) or self._native):
                raise unsupported(f"{where}.content[{number}]", "Gemini takes text only as a system prompt; send text")
            if part != Text("") or self._native:
                self.system += self._parts.write(part, f"{where}.content[{number}]")

    def _append(self, role: str, parts: list[dict[str, Any]], message: Message) -> None:
        """Foreign turns of one role are one turn: all results of parallel calls must stand together."""
        last = self.written[-1] if self.written else None
        together = message.extras == SAME_TURN or not self._native
        if last is not None and last["role"] == role and together:
            last["parts"] += parts
        else:
            self.written.append({"role": role, "parts": parts})

    def _order_results(self) -> None:
        """Results in the order of their calls, where calls have no ids: nothing else tells them apart then."""
        for before, content in pairwise(self.written):
            if all("id" in part["functionCall"] for part in before["parts"] if "functionCall" in part):
                continue
            places = self._parts.places
            results = sorted(
                (part for part in content["parts"] if "functionResponse" in part),
                key=lambda part: places.get(id(part), 0),
            )
            following = iter(results)
            content["parts"] = [next(following) if "functionResponse" in part else part for part in content["parts"]]

    def _mark_foreign_calls(self) -> None:
        for content in self.written:
            first = next((part for part in content["parts"] if "functionCall" in part), None)
            if first is not None:
                first.setdefault(SIGNATURE, _SKIP_VALIDATION)


def foreign_extras(extras: Extras, where: str) -> list[str]:
    """What other dialects left in `extras`, as losses."""
    return [
        f"{where}.{name}=dropped"
        for owner, fields in extras.items()
        if owner != NAME and isinstance(fields, Mapping)
        for name in fields
    ]


def _write_tools(tools: Sequence[Tool | OpaqueTool], adapted: list[str]) -> list[dict[str, Any]]:
    declarations: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if isinstance(tool, Tool):
            adapted += foreign_extras(tool.extras, where)
            if tool.strict:
                adapted.append(f"{where}.strict=dropped")
            declarations.append(_declaration(tool))
            if len(declarations) == 1:
                written.append({"functionDeclarations": declarations})
        elif tool.origin == NAME:
            written.append(dict(tool.body))
        else:
            raise unsupported(where, f"Gemini has no tool `{tool.kind}`; leave it out or ask a model that has it")
    return written


def _declaration(tool: Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    rest = dict(own_extras(tool.extras))
    ordered = rest.pop(PARAMETERS_ORDER, None)
    if isinstance(ordered, dict) and json_schema(ordered) == tool.parameters:
        declaration["parameters"] = ordered
    elif tool.parameters is not None:
        declaration["parametersJsonSchema"] = tool.parameters
    return {**declaration, **rest}
