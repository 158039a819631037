"""What is the same for every answer to one request, and how its members are named."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from llmhub_plugins.dialects.openai.finish import finish_word
from llmhub_plugins.dialects.openai_chat.settings import is_old_way
from llmhub_plugins.dialects.openai_chat.signatures import with_signature
from llmhub_plugins.dialects.openai_chat.tools import custom_tools, free_text, own
from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    ChatRequest,
    FinishReason,
    PartEnded,
    PartStarted,
    Started,
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's name in case the provider says none, whether the usage was asked for, whether the caller knows
    `function_call` only, and which of its tools take free text (`custom`)."""

    model: str
    asked_usage: bool
    old_way: bool
    custom: frozenset[str]

    @classmethod
    def of(cls, request: ChatRequest) -> Shape:
        return cls(request.model, request.asked_usage, is_old_way(request), custom_tools(request))

    def header(self, started: Started | None, kind: str) -> Json:
        """The members of an answer that say which it is."""
        said = started or Started("", "")
        extras = own(said.extras)
        return {
            "id": said.id or "chatcmpl-" + secrets.token_hex(12),
            "object": kind,
            "created": said.created or int(time.time()),
            "model": said.model or self.model,
            **{name: extras[name] for name in ("service_tier", "system_fingerprint") if name in extras},
        }

    def finish(self, reason: FinishReason) -> str:
        word = finish_word(reason)
        return "function_call" if self.old_way and word == "tool_calls" else word

    def call(self, part: PartStarted, id: str, arguments: str, ended: PartEnded) -> Json:
        """A whole call; clients parse the arguments, and nothing is no JSON."""
        if part.name in self.custom:
            return {"id": id, "type": "custom", "custom": {"name": part.name, "input": free_text(arguments)}}
        function = {"name": part.name, "arguments": arguments or "{}"}
        return {"id": id, "type": "function", "function": function, **beside(part, ended)}


def beside(part: PartStarted, ended: PartEnded) -> Json:
    """The `extra_content` of a call that came from a server of this dialect."""
    if part.origin not in ("", NAME):
        return {}
    said = own(ended.extras) or own(part.extras)
    extra = with_signature(said.get("extra_content", {}), ended.signature)
    return {"extra_content": extra} if extra else {}


def thought_name(part: PartStarted) -> str:
    """The member that holds the text of a thought: as the provider named it, DeepSeek's name for all others."""
    field = own(part.extras).get("field")
    return "reasoning" if field == "reasoning" else "reasoning_content"
