"""The providers behind the hub, all played by one socket: how they answer, and what they were asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llmhub_plugins.providers.openai import OpenAI
from plain_reading import ANSWERED, ASKED
from talks import Fault, Json, Talk

from llmhub_core.contracts import Provider, hookimpl
from llmhub_core.testing.upstream import Answer, json_answer, sse_answer

# OpenAI speaks both of its dialects and would be asked in the caller's: here it is asked in each of them alone.


class ChatAlone(OpenAI):
    """OpenAI without Responses."""

    name = "openai_chat"
    speaks: Any = ("openai_chat",)


class ResponsesAlone(OpenAI):
    """OpenAI without Chat Completions."""

    name = "openai_responses"
    speaks: Any = ("openai_responses",)


class OneDialectEach:
    """The plugin that brings them."""

    @hookimpl
    def register_providers(self) -> Iterable[type[Provider]]:
        return (ChatAlone, ResponsesAlone)


@dataclass(frozen=True)
class Back:
    """A column: a provider of `kind`. `thinker` is the model that is asked to think, `model` any other time."""

    title: str
    kind: str
    dialect: str
    model: str
    thinker: str

    def asks_for(self, row: Talk | Fault) -> str:
        return self.thinker if isinstance(row, Talk) and row.thinks else self.model

    def config(self, url: str) -> str:
        """The provider's table; its addresses begin with its name, so that one socket can play all of them."""
        base = f"{url}/{self.kind}" + ("" if self.kind in ("anthropic", "gemini") else "/v1")
        return (
            f'[[providers]]\nname = "{self.kind}"\nkind = "{self.kind}"\nbase_url = "{base}"\n'
            '[[providers.keys]]\nname = "k"\nsecret = "sk-k"\n'
        )

    def answer(self, row: Talk | Fault, streamed: bool) -> Answer:
        if isinstance(row, Fault):
            return json_answer(self._error(row.status), status=row.status)
        if streamed:
            return sse_answer(row.streamed(self.dialect), piece=997)
        return json_answer(row.answered(self.dialect))

    def _error(self, status: int) -> Json:
        """In the dialect's form; only a missing model is told apart by its text or code."""
        missing = status == 404
        if self.dialect == "gemini":
            text = (
                f"models/{self.model} is not found for API version v1beta, or is not supported." if missing else "No."
            )
            return {"error": {"code": status, "message": text, "status": _GOOGLE[status]}}
        if self.dialect == "anthropic":
            text = f"model: {self.model}" if missing else "No."
            return {"type": "error", "error": {"type": _ANTHROPIC[status], "message": text}}
        code = "model_not_found" if missing else None
        return {"error": {"message": "No.", "type": _ANTHROPIC[status], "param": None, "code": code}}

    def truth(self, talk: Talk) -> Json:
        """What its answer says, read without the product."""
        answer = talk.answered(self.dialect)
        return {**ANSWERED[self.dialect](answer), "reasoning": _reasoning_tokens(answer)}

    def asked(self, body: Json) -> Json:
        """What a request says, read without the product."""
        return {**ASKED[self.dialect](_as_read(body)), "schema": _schema(body), "searches": _searches(body)}


_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    529: "UNAVAILABLE",
}

BACKS = (
    Back("OpenAI, Chat", "openai_chat", "openai_chat", "gpt-4.1", "gpt-5.1"),
    Back("OpenAI, Responses", "openai_responses", "openai_responses", "gpt-4.1", "gpt-5.1"),
    Back("Anthropic", "anthropic", "anthropic", "claude-sonnet-4-6", "claude-sonnet-4-6"),
    Back("Gemini", "gemini", "gemini", "gemini-3-flash", "gemini-3-flash"),
    Back("OpenAI-compatible", "openai_compatible", "openai_chat", "llama-4-maverick", "deepseek-reasoner"),
)


def asked_in(dialect: str, body: Json) -> Json:
    """What a request says in any dialect, read without the product."""
    return next(back for back in BACKS if back.dialect == dialect).asked(body)


def _reasoning_tokens(value: Any) -> int:
    """Wherever the answer counts them."""
    if not isinstance(value, dict):
        return 0
    own = sum(value.get(name) or 0 for name in ("reasoning_tokens", "thinking_tokens", "thoughtsTokenCount"))
    return own + sum(_reasoning_tokens(inner) for inner in value.values())


def _as_read(value: Any) -> Any:
    """A body as `plain_reading` expects it: documents like images, for it knows these with their media types, and
    names that Google's SDK writes in snake_case in the way of the reference."""
    if isinstance(value, list):
        return [_as_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind == "file" and "file" in value:
        return {"type": "image_url", "image_url": {"url": value["file"].get("file_data") or value["file"]["file_id"]}}
    if kind == "input_file":
        return {"type": "input_image", "image_url": value.get("file_data") or value["file_id"]}
    if kind == "input_audio":
        sound = value["input_audio"]
        return {"type": "image_url", "image_url": {"url": f"data:audio/{sound['format']};base64,{sound['data']}"}}
    if kind == "document":
        source = value["source"]
        return {"type": "image", "source": {"type": "url", "url": source["file_id"]} if "file_id" in source else source}
    if kind is not None and kind.startswith("web_search"):
        return {"name": "web_search", "input_schema": None}
    read = {_CAMEL_CASE.get(name, name): _as_read(inner) for name, inner in value.items()}
    if "mimeType" in read and "data" in read:  # bytes that Google's SDK writes in the URL-safe alphabet
        read["data"] = read["data"].replace("-", "+").replace("_", "/")
    return read


_CAMEL_CASE = {
    "mime_type": "mimeType",
    "file_uri": "fileUri",
    "parameters_json_schema": "parametersJsonSchema",
}


def _searches(body: Json) -> bool:
    """Whether the provider's own search is asked for: a tool without parameters, or a setting."""
    kinds = [str(tool.get("type")) for tool in body.get("tools", ())]
    named = any(kind.startswith("web_search") for kind in kinds)
    return named or "web_search_options" in body or any("googleSearch" in tool for tool in body.get("tools", ()))


def _schema(body: Json) -> Any:
    """The JSON Schema that the answer shall have."""
    told = [
        (body.get("response_format") or {}).get("json_schema"),
        (body.get("text") or {}).get("format"),
        (body.get("output_config") or {}).get("format"),
    ]
    config = body.get("generationConfig") or {}
    schemas = [each["schema"] for each in told if each and "schema" in each]
    schemas += [config[name] for name in ("responseJsonSchema", "responseSchema") if name in config]
    return json.loads(json.dumps(schemas[0])) if schemas else None
