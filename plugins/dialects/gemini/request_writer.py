"""The neutral request as a request in the format."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from llmhub_plugins.dialects.gemini.models import takes_media_in_results, wants_signatures
from llmhub_plugins.dialects.gemini.part_writer import PartWriter, unsupported
from llmhub_plugins.dialects.gemini.sampling import write_config
from llmhub_plugins.dialects.gemini.signatures import SIGNATURE, SKIP_VALIDATION
from llmhub_plugins.dialects.gemini.tools import write_tool_config, write_tools
from llmhub_plugins.dialects.gemini.words import NAME, RESPONSE_ORDER, SAME_TURN, foreign_extras, put_back

from llmhub_core.contracts import ChatRequest, EncodedRequest, Message, Text, dump_json


def write_request(request: ChatRequest, model: str) -> EncodedRequest:
    """A body for `model`. Raises BadRequest (`unsupported_content`) for content that the format cannot say."""
    adapted: list[str] = []
    body = request_body(request, model, adapted)
    return EncodedRequest(dump_json(body), tuple(adapted))


def request_body(request: ChatRequest, model: str, adapted: list[str]) -> dict[str, Any]:
    """The members of a body for `model`; notes in `adapted` what could not be said as it was asked."""
    native = request.dialect == NAME
    body: dict[str, Any] = {}
    contents = _Contents(request, model, native, adapted)
    if contents.system:
        body["systemInstruction"] = {"parts": contents.system}
    body["contents"] = contents.written
    tools = write_tools(request.tools, model, adapted)
    if tools:
        body["tools"] = tools
    rest = dict(request.extras) if native else {}
    adapted += [] if native else [f"{name}=dropped" for name in request.extras]
    ordered = rest.pop(RESPONSE_ORDER, None)
    tool_config = write_tool_config(request, model)
    if tool_config:
        body["toolConfig"] = tool_config
    config = write_config(request, ordered, model, adapted)
    if config:
        body["generationConfig"] = config
    return put_back(body, rest)


class _Contents:
    """The messages as contents: `written`, and apart from them `system`, the parts of the system instruction."""

    def __init__(self, request: ChatRequest, model: str, native: bool, adapted: list[str]) -> None:
        nested_media = native or takes_media_in_results(model)
        self._parts = PartWriter(native=native, nested_media=nested_media, adapted=adapted)
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
        if wants_signatures(model):
            self._sign_calls()

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

    def _sign_calls(self) -> None:
        """The first call of each turn, where another model made it."""
        for content in self.written:
            first = next((part for part in content["parts"] if "functionCall" in part), None)
            if first is not None:
                first.setdefault(SIGNATURE, SKIP_VALIDATION)
