"""The official SDKs before the hub: each asked with its own arguments, its streams read by its own accumulator."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors as gemini_errors
from openai.lib.streaming.chat import ChatCompletionStreamState
from talks import Fault, Json, Talk

ADAPTED = "x-llmhub-adapted"


@dataclass
class Heard:
    """What an SDK hands out. `finish` is in the dialect's words, `usage` in its arithmetic with names of its own."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str | None = None
    usage: dict[str, int] = field(default_factory=dict)


class Front(ABC):
    """An SDK. `adapted` is the header of the last answer; errors are told as (class, status, code)."""

    title: str
    dialect: str
    finishes: Mapping[str, str]
    adapted = ""

    @abstractmethod
    async def ask(self, model: str, body: Json, streamed: bool) -> Heard: ...

    @abstractmethod
    def usage_of(self, truth: Json) -> dict[str, int]:
        """The totals of `truth` in the dialect's arithmetic."""

    @abstractmethod
    def error_told(self, error: Exception) -> tuple[str, int, str]: ...

    @staticmethod
    @abstractmethod
    def raised(fault: Fault) -> str:
        """The name of the SDK's class."""

    def error_expected(self, fault: Fault) -> tuple[str, int, str]:
        return self.raised(fault), fault.told, fault.code

    @abstractmethod
    async def close(self) -> None: ...

    def expected(self, talk: Talk, truth: Json, same: bool) -> Heard:
        """What is to be heard. Only Anthropic has a word for an end at a stop text, read only from itself."""
        ends = "stop" if talk.ends == "stop_text" and not same else talk.ends
        return Heard(truth["text"], truth["thoughts"], truth["calls"], self.finishes[ends], self.usage_of(truth))

    async def note(self, response: Any) -> None:
        """A hook of the SDK's HTTP client."""
        self.adapted = response.headers.get(ADAPTED, "")


class OpenAIFront(Front):
    """What both of OpenAI's dialects share."""

    def __init__(self, url: str) -> None:
        hooks = {"response": [self.note]}
        self._client = openai.AsyncOpenAI(
            base_url=url + "/v1",
            api_key="test",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks=hooks),
        )

    def error_told(self, error: Exception) -> tuple[str, int, str]:
        assert isinstance(error, openai.APIStatusError), repr(error)
        return type(error).__name__, error.status_code, str(error.code)

    @staticmethod
    def raised(fault: Fault) -> str:
        return fault.raised[0]

    async def close(self) -> None:
        await self._client.close()


class Chat(OpenAIFront):
    title = "OpenAI SDK, Chat Completions"
    dialect = "openai_chat"
    finishes: Mapping[str, str] = {
        "stop": "stop",
        "stop_text": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "blocked": "content_filter",
    }

    async def ask(self, model: str, body: Json, streamed: bool) -> Heard:
        body = {**body, "model": model}
        create: Any = self._client.chat.completions.create
        if streamed:
            state = ChatCompletionStreamState[Any]()
            async for chunk in await create(**body, stream=True, stream_options={"include_usage": True}):
                state.handle_chunk(chunk)
            answer: Any = state.current_completion_snapshot
        else:
            answer = await create(**body)
        (choice,), usage = answer.choices, answer.usage
        message = choice.message
        return Heard(
            message.content or "",
            getattr(message, "reasoning_content", None) or "",
            [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()],
            choice.finish_reason,
            {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.prompt_tokens_details.cached_tokens or 0,
                "completion_tokens": usage.completion_tokens,
                "reasoning_tokens": usage.completion_tokens_details.reasoning_tokens or 0,
                "total_tokens": usage.total_tokens,
            },
        )

    def usage_of(self, truth: Json) -> dict[str, int]:
        return {
            "prompt_tokens": truth["input"],
            "cached_tokens": truth["cached"],
            "completion_tokens": truth["output"],
            "reasoning_tokens": truth["reasoning"],
            "total_tokens": truth["input"] + truth["output"],
        }


class Responses(OpenAIFront):
    title = "OpenAI SDK, Responses"
    dialect = "openai_responses"
    finishes: Mapping[str, str] = {
        "stop": "completed",
        "stop_text": "completed",
        "length": "incomplete: max_output_tokens",
        "tool_calls": "completed",
        "blocked": "incomplete: content_filter",
    }

    async def ask(self, model: str, body: Json, streamed: bool) -> Heard:
        arguments: Any = {**body, "model": model}
        if streamed:
            async with self._client.responses.stream(**arguments) as stream:
                answer: Any = None
                async for event in stream:
                    if event.type in ("response.completed", "response.incomplete"):
                        answer = event.response
        else:
            answer = await self._client.responses.create(**arguments)
        why, usage, output = answer.incomplete_details, answer.usage, answer.output
        return Heard(
            answer.output_text,
            "".join(part.text for item in output if item.type == "reasoning" for part in item.summary),
            [(item.name, json.loads(item.arguments)) for item in output if item.type == "function_call"],
            f"{answer.status}: {why.reason}" if why else answer.status,
            {
                "input_tokens": usage.input_tokens,
                "cached_tokens": usage.input_tokens_details.cached_tokens,
                "output_tokens": usage.output_tokens,
                "reasoning_tokens": usage.output_tokens_details.reasoning_tokens,
                "total_tokens": usage.total_tokens,
            },
        )

    def usage_of(self, truth: Json) -> dict[str, int]:
        return {
            "input_tokens": truth["input"],
            "cached_tokens": truth["cached"],
            "output_tokens": truth["output"],
            "reasoning_tokens": truth["reasoning"],
            "total_tokens": truth["input"] + truth["output"],
        }


class Messages(Front):
    title = "Anthropic SDK"
    dialect = "anthropic"
    finishes: Mapping[str, str] = {
        "stop": "end_turn",
        "stop_text": "stop_sequence",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "blocked": "refusal",
    }

    def __init__(self, url: str) -> None:
        hooks = {"response": [self.note]}
        self._client = anthropic.AsyncAnthropic(
            base_url=url,
            api_key="test",
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(event_hooks=hooks),
        )

    async def ask(self, model: str, body: Json, streamed: bool) -> Heard:
        arguments: Any = {**body, "model": model}
        if streamed:
            async with self._client.messages.stream(**arguments) as stream:
                answer: Any = await stream.get_final_message()
        else:
            answer = await self._client.messages.create(**arguments)
        usage, details = answer.usage, getattr(answer.usage, "output_tokens_details", None)
        return Heard(
            "".join(block.text for block in answer.content if block.type == "text"),
            "".join(block.thinking for block in answer.content if block.type == "thinking"),
            [(block.name, block.input) for block in answer.content if block.type == "tool_use"],
            answer.stop_reason,
            {
                "input_tokens": usage.input_tokens,
                "cache_read_input_tokens": usage.cache_read_input_tokens or 0,
                "cache_creation_input_tokens": usage.cache_creation_input_tokens or 0,
                "output_tokens": usage.output_tokens,
                "thinking_tokens": (details and details.thinking_tokens) or 0,
            },
        )

    def usage_of(self, truth: Json) -> dict[str, int]:
        written = truth.get("written", 0)
        return {
            "input_tokens": truth["input"] - truth["cached"] - written,
            "cache_read_input_tokens": truth["cached"],
            "cache_creation_input_tokens": written,
            "output_tokens": truth["output"],
            "thinking_tokens": truth["reasoning"],
        }

    def error_told(self, error: Exception) -> tuple[str, int, str]:
        assert isinstance(error, anthropic.APIStatusError), repr(error)
        body: Any = error.body
        return type(error).__name__, error.status_code, body["error"]["code"]

    @staticmethod
    def raised(fault: Fault) -> str:
        return fault.raised[1]

    async def close(self) -> None:
        await self._client.close()


class Gemini(Front):
    title = "Google Gen AI SDK"
    dialect = "gemini"
    finishes: Mapping[str, str] = {
        "stop": "STOP",
        "stop_text": "STOP",
        "length": "MAX_TOKENS",
        "tool_calls": "STOP",
        "blocked": "SAFETY",
    }

    def __init__(self, url: str) -> None:
        self._client = genai.Client(api_key="test", http_options=genai.types.HttpOptions(base_url=url))

    async def ask(self, model: str, body: Json, streamed: bool) -> Heard:
        beside = {name: value for name, value in body.items() if name not in ("contents", "generationConfig")}
        config = genai.types.GenerateContentConfig.model_validate({**body.get("generationConfig", {}), **beside})
        models = self._client.aio.models
        if streamed:
            pieces = [
                piece
                async for piece in await models.generate_content_stream(
                    model=model, contents=body["contents"], config=config
                )
            ]
        else:
            pieces = [await models.generate_content(model=model, contents=body["contents"], config=config)]
        heard = Heard()
        for piece in pieces:
            self._hear(heard, piece)
        return heard

    def _hear(self, heard: Heard, piece: Any) -> None:
        headers = piece.sdk_http_response.headers
        self.adapted = next((value for name, value in headers.items() if name.lower() == ADAPTED), "")
        for candidate in piece.candidates or ():
            for part in (candidate.content and candidate.content.parts) or ():
                if part.function_call:
                    heard.calls.append((part.function_call.name, part.function_call.args))
                elif part.thought:
                    heard.thoughts += part.text or ""
                else:
                    heard.text += part.text or ""
            heard.finish = candidate.finish_reason.value if candidate.finish_reason else heard.finish
        if usage := piece.usage_metadata:
            heard.usage = {
                "prompt_token_count": usage.prompt_token_count or 0,
                "cached_content_token_count": usage.cached_content_token_count or 0,
                "candidates_token_count": usage.candidates_token_count or 0,
                "thoughts_token_count": usage.thoughts_token_count or 0,
                "total_token_count": usage.total_token_count or 0,
            }

    def usage_of(self, truth: Json) -> dict[str, int]:
        return {
            "prompt_token_count": truth["input"],
            "cached_content_token_count": truth["cached"],
            "candidates_token_count": truth["output"] - truth["reasoning"],
            "thoughts_token_count": truth["reasoning"],
            "total_token_count": truth["input"] + truth["output"],
        }

    def error_told(self, error: Exception) -> tuple[str, int, str]:
        assert isinstance(error, gemini_errors.APIError), repr(error)
        details: Any = error.details
        reasons = [each["reason"] for each in details["error"]["details"] if "reason" in each]
        return type(error).__name__, error.code, reasons[0].lower()

    @staticmethod
    def raised(fault: Fault) -> str:
        return fault.raised[2]

    async def close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()


FRONTS: tuple[type[Chat | Responses | Messages | Gemini], ...] = (Chat, Responses, Messages, Gemini)
