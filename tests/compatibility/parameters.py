"""The single things that a caller can ask for, each written in the formats that have words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A row of the table.

    said     what a caller of each dialect adds to a plain request
    tells    a value that stands in the provider's body if this is said there: one for all dialects, or one for each
    beside   what the plain request has besides
    tools    whether the plain request has a tool
    moot     dialects or models for which it asks for nothing but what happens there anyway
    """

    title: str
    said: Mapping[str, Json]
    tells: Any
    beside: Mapping[str, Json]
    tools: bool
    moot: tuple[str, ...]

    def told_to(self, dialect: str) -> Any:
        return self.tells.get(dialect) if isinstance(self.tells, dict) else self.tells


def _row(
    title: str,
    tells: Any,
    chat: Json | None = None,
    responses: Json | None = None,
    anthropic: Json | None = None,
    gemini: Json | None = None,
    config: Json | None = None,
    beside: Mapping[str, Json] | None = None,
    tools: bool = False,
    moot: tuple[str, ...] = (),
) -> Parameter:
    """`config` is Gemini's `generationConfig`."""
    gemini = gemini if config is None else {"generationConfig": config}
    said = {"openai_chat": chat, "openai_responses": responses, "anthropic": anthropic, "gemini": gemini}
    said = {name: body for name, body in said.items() if body is not None}
    return Parameter(title, said, tells, beside or {}, tools, moot)


def _both(body: Json) -> dict[str, Any]:
    """OpenAI's two formats call it the same."""
    return {"chat": body, "responses": body}


_ROOM = {"anthropic": {"max_tokens": 40000}, "gemini": {"generationConfig": {"maxOutputTokens": 40000}}}


def _budget(tokens: int) -> dict[str, Any]:
    thinking = {"type": "enabled", "budget_tokens": tokens} if tokens else {"type": "disabled"}
    return {
        "anthropic": {"thinking": thinking},
        "config": {"thinkingConfig": {"thinkingBudget": tokens}},
        "beside": _ROOM,
    }


def _effort(word: str) -> dict[str, Any]:
    return {"chat": {"reasoning_effort": word}, "responses": {"reasoning": {"effort": word}}}


CLOSED = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

SAMPLING = (
    _row(
        "token limit", 300,
        {"max_completion_tokens": 300}, {"max_output_tokens": 300}, {"max_tokens": 300},
        config={"maxOutputTokens": 300},
    ),
    _row(
        "token limit of 5", 5,
        {"max_completion_tokens": 5}, {"max_output_tokens": 5}, {"max_tokens": 5}, config={"maxOutputTokens": 5},
    ),
    _row(
        "temperature", 0.3,
        **_both({"temperature": 0.3}), anthropic={"temperature": 0.3}, config={"temperature": 0.3},
    ),
    _row("temperature above 1", 1.7, **_both({"temperature": 1.7}), config={"temperature": 1.7}),
    _row("top_p", 0.9, **_both({"top_p": 0.9}), anthropic={"top_p": 0.9}, config={"topP": 0.9}),
    _row(
        "temperature and top_p", 0.9,
        **_both({"temperature": 0.3, "top_p": 0.9}),
        anthropic={"temperature": 0.3, "top_p": 0.9},
        config={"temperature": 0.3, "topP": 0.9},
    ),
    _row("top_k", 40, anthropic={"top_k": 40}, config={"topK": 40}),
    _row("stop text", "END", {"stop": "END"}, None, {"stop_sequences": ["END"]}, config={"stopSequences": ["END"]}),
    _row(
        "six stop texts", "a",
        anthropic={"stop_sequences": ["a", "b", "c", "d", "e", "f"]},
        config={"stopSequences": ["a", "b", "c", "d", "e", "f"]},
    ),
    _row("seed", 7, {"seed": 7}, config={"seed": 7}),
    _row("presence penalty", 0.5, {"presence_penalty": 0.5}, config={"presencePenalty": 0.5}),
    _row("frequency penalty", 0.5, {"frequency_penalty": 0.5}, config={"frequencyPenalty": 0.5}),
    _row("two answers (n)", 2, {"n": 2}, config={"candidateCount": 2}),
    _row(
        "log probabilities", {"openai_chat": 3, "openai_responses": 3, "gemini": 3},
        {"logprobs": True, "top_logprobs": 3}, {"top_logprobs": 3}, config={"responseLogprobs": True, "logprobs": 3},
    ),
    _row(
        "end user", "u-17",
        {"user": "u-17"}, {"safety_identifier": "u-17"}, {"metadata": {"user_id": "u-17"}},
    ),
)  # fmt: skip

_MINIMAL = {"openai_chat": "minimal", "openai_responses": "minimal", "gemini": "MINIMAL"}
_LOW = {"openai_chat": "low", "openai_responses": "low", "anthropic": "low", "gemini": "LOW"}
_HIGH = {"openai_chat": "high", "openai_responses": "high", "anthropic": "high", "gemini": "HIGH"}
_OFF = {"openai_chat": "none", "openai_responses": "none", "anthropic": "disabled", "gemini": 0}

REASONING = (
    _row("effort none", _OFF, **_effort("none")),
    _row("effort minimal", _MINIMAL, **_effort("minimal")),
    _row("effort low", _LOW, **_effort("low")),
    _row("effort high", _HIGH, **_effort("high")),
    _row("effort xhigh", "xhigh", **_effort("xhigh")),
    _row("budget of 4096 tokens", 4096, **_budget(4096)),
    _row("budget of 0 tokens", _OFF, **_budget(0), moot=("gpt-4.1", "llama-4-maverick")),
    _row(
        "thoughts shown",
        {"gemini": True, "openai_responses": "auto"},
        config={"thinkingConfig": {"includeThoughts": True}},
    ),
)

_PLAIN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
_BOUNDS = {
    "type": "object",
    "properties": {"a": {"type": "string", "minLength": 3}, "b": {"type": "integer", "exclusiveMinimum": 0}},
    "required": ["a"],
}


def _json_schema(schema: Json, strict: bool | None = None) -> dict[str, Any]:
    named = {"name": "n", "schema": schema, **({} if strict is None else {"strict": strict})}
    return {
        "chat": {"response_format": {"type": "json_schema", "json_schema": named}},
        "responses": {"text": {"format": {"type": "json_schema", **named}}},
    }


FORMATS = (
    _row(
        "text", {"openai_chat": "text", "openai_responses": "text", "gemini": "text/plain"},
        {"response_format": {"type": "text"}}, {"text": {"format": {"type": "text"}}},
        config={"responseMimeType": "text/plain"}, moot=("anthropic", "gemini"),
    ),
    _row(
        "JSON object", {"openai_chat": "json_object", "openai_responses": "json_object", "gemini": "application/json"},
        {"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}},
        config={"responseMimeType": "application/json"},
    ),
    _row(
        "JSON Schema", "a", **_json_schema(_PLAIN, True),
        anthropic={"output_config": {"format": {"type": "json_schema", "schema": _PLAIN}}},
        config={"responseMimeType": "application/json", "responseJsonSchema": _PLAIN},
    ),
    _row(
        "JSON Schema with bounds and a choice to leave out", "a", **_json_schema(_BOUNDS),
        anthropic={"output_config": {"format": {"type": "json_schema", "schema": _BOUNDS}}},
        config={"responseMimeType": "application/json", "responseJsonSchema": _BOUNDS},
    ),
)  # fmt: skip


def _mode(word: str, *names: str) -> Json:
    return {
        "toolConfig": {"functionCallingConfig": {"mode": word, **({"allowedFunctionNames": names} if names else {})}}
    }


_NAME = "get_weather"
_TOOL = {"name": _NAME}

TOOLS = (
    _row(
        "tool_choice auto", {"openai_chat": "auto", "openai_responses": "auto", "anthropic": "auto", "gemini": "AUTO"},
        **_both({"tool_choice": "auto"}), anthropic={"tool_choice": {"type": "auto"}}, gemini=_mode("AUTO"),
        tools=True,
    ),
    _row(
        "tool_choice none", {"openai_chat": "none", "openai_responses": "none", "anthropic": "none", "gemini": "NONE"},
        **_both({"tool_choice": "none"}), anthropic={"tool_choice": {"type": "none"}}, gemini=_mode("NONE"),
        tools=True,
    ),
    _row(
        "tool_choice required",
        {"openai_chat": "required", "openai_responses": "required", "anthropic": "any", "gemini": "ANY"},
        **_both({"tool_choice": "required"}), anthropic={"tool_choice": {"type": "any"}}, gemini=_mode("ANY"),
        tools=True,
    ),
    _row(
        "one tool by name", _NAME,
        {"tool_choice": {"type": "function", "function": {"name": _NAME}}},
        {"tool_choice": {"type": "function", "name": _NAME}},
        {"tool_choice": {"type": "tool", "name": _NAME}}, _mode("ANY", _NAME), tools=True,
    ),
    _row(
        "one call at a time", {"openai_chat": False, "openai_responses": False, "anthropic": True},
        **_both({"parallel_tool_calls": False}), anthropic={"tool_choice": {"disable_parallel_tool_use": True}},
        beside={"anthropic": {"tool_choice": {"type": "auto"}}}, tools=True,
    ),
    _row(
        "strict", {"openai_chat": True, "openai_responses": True, "anthropic": True, "gemini": "VALIDATED"},
        {"tools": [{"type": "function", "function": {**_TOOL, "parameters": CLOSED, "strict": True}}]},
        {"tools": [{"type": "function", **_TOOL, "parameters": CLOSED, "strict": True}]},
        {"tools": [{**_TOOL, "input_schema": CLOSED, "strict": True}]}, tools=True,
    ),
)  # fmt: skip

_HELLO = {"type": "text", "text": "Say hello."}
_CACHE = {"cache_control": {"type": "ephemeral"}}


def _chat_turn(part: Json) -> Json:
    """Anthropic's turns are written the same."""
    return {"messages": [{"role": "user", "content": [part]}]}


def _responses_turn(part: Json) -> Json:
    return {"input": [{"role": "user", "content": [part]}]}


_PNG = "data:image/png;base64,iVBORw0KGgo="
_OTHERS = ("openai_chat", "anthropic", "gemini")

EXTRAS = (
    _row("cache_control (of a block)", "ephemeral", anthropic=_chat_turn({**_HELLO, **_CACHE})),
    _row("cache_control (of the whole request)", "ephemeral", anthropic=_CACHE),
    _row("prompt_cache_key", "k", **_both({"prompt_cache_key": "k"})),
    _row("logit_bias", 5, {"logit_bias": {"1734": 5}}),
    _row("service_tier", "flex", **_both({"service_tier": "flex"})),
    _row("service_tier (Anthropic)", "standard_only", anthropic={"service_tier": "standard_only"}),
    # A caller of Responses gets it back; callers of Chat send it for the provider's dashboard.
    _row("metadata (Chat)", "blue", {"metadata": {"team": "blue"}}),
    _row("metadata (Responses)", "blue", responses={"metadata": {"team": "blue"}}, moot=_OTHERS),
    _row("store", True, **_both({"store": True})),
    _row("prediction", "Hello.", {"prediction": {"type": "content", "content": "Hello."}}),
    _row("verbosity", "low", {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    _row("web_search_options", "low", {"web_search_options": {"search_context_size": "low"}}),
    _row(
        "modalities with sound", "audio",
        {"modalities": ["text", "audio"], "audio": {"voice": "coral", "format": "wav"}},
    ),
    _row("truncation", "auto", responses={"truncation": "auto"}),
    _row("previous_response_id", "resp_1", responses={"previous_response_id": "resp_1"}),
    _row("background", True, responses={"background": True}),
    _row("summary of the thoughts", "detailed", responses={"reasoning": {"summary": "detailed"}}, moot=_OTHERS),
    _row(
        "context_management", "clear_tool_uses_20250919",
        anthropic={"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    ),
    _row("container", "c_1", anthropic={"container": "c_1"}),
    _row(
        "mcp_servers", "https://mcp.example",
        anthropic={"mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "m"}]},
    ),
    _row(
        "safetySettings", "BLOCK_NONE",
        gemini={"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
    ),
    _row("cachedContent", "cachedContents/1", gemini={"cachedContent": "cachedContents/1"}),
    _row("responseModalities with images", "IMAGE", config={"responseModalities": ["TEXT", "IMAGE"]}),
    _row("mediaResolution", "MEDIA_RESOLUTION_LOW", config={"mediaResolution": "MEDIA_RESOLUTION_LOW"}),
    _row(
        "detail of an image", "low",
        _chat_turn({"type": "image_url", "image_url": {"url": _PNG, "detail": "low"}}),
        _responses_turn({"type": "input_image", "image_url": _PNG, "detail": "low"}),
        beside={
            "openai_chat": _chat_turn({"type": "image_url", "image_url": {"url": _PNG}}),
            "openai_responses": _responses_turn({"type": "input_image", "image_url": _PNG}),
        },
    ),
    _row("name of a speaker", "ann", {"messages": [{"role": "user", "content": "Say hello.", "name": "ann"}]}),
)  # fmt: skip

SECTIONS: Mapping[str, tuple[Parameter, ...]] = {
    "Sampling": SAMPLING,
    "Reasoning": REASONING,
    "Format of the answer": FORMATS,
    "Tools": TOOLS,
    "What single formats have beside these": EXTRAS,
}
