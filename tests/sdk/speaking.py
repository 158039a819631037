"""The official SDKs, asked in the same few words each, whole and streamed, through their own accumulators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import anthropic
import openai
from google import genai
from openai.lib.streaming.chat import ChatCompletionStreamState
from plain_answers import Said, chat_said, gemini_said, message_said

Json = Mapping[str, Any]


class Speakers:
    """One client of each SDK. `ask` and `stream` send a request body of that dialect and tell what the SDK
    understood; a body's fields go out as they are, whatever the SDK's own types say."""

    def __init__(self, url: str, key: str, retries: int) -> None:
        self._url, self._key, self._retries = url, key, retries

    # Made when they are needed, for each reads all the certificates of the machine.

    @cached_property
    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self._url + "/v1", api_key=self._key, max_retries=self._retries)

    @cached_property
    def anthropic(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self._url, api_key=self._key, max_retries=self._retries)

    @cached_property
    def gemini(self) -> genai.Client:
        options = genai.types.HttpOptions(base_url=self._url)
        if self._retries:
            options.retry_options = genai.types.HttpRetryOptions(attempts=self._retries + 1, initial_delay=0.1)
        return genai.Client(api_key=self._key, http_options=options)

    async def close(self) -> None:
        made = vars(self)
        if "openai" in made:
            await self.openai.close()
        if "anthropic" in made:
            await self.anthropic.close()
        if "gemini" in made:
            await self.gemini.aio.aclose()
            self.gemini.close()

    async def ask(self, dialect: str, model: str, body: Json) -> Said:
        rest = {name: value for name, value in body.items() if name not in ("model", "stream", "messages", "contents")}
        if dialect == "openai_chat":
            whole = await self.openai.chat.completions.create(model=model, messages=body["messages"], extra_body=rest)
            return chat_said([whole.model_dump()])
        if dialect == "anthropic":
            message = await self.anthropic.messages.create(
                model=model, messages=body["messages"], max_tokens=rest.pop("max_tokens"), extra_body=rest, timeout=60
            )
            return message_said(message.model_dump(warnings=False))
        answer = await self.gemini.aio.models.generate_content(
            model=model, contents="replaced", config=_with_body(rest, body)
        )
        return gemini_said([_plain(answer)])

    async def stream(self, dialect: str, model: str, body: Json) -> Said:
        rest = {name: value for name, value in body.items() if name not in ("model", "stream", "messages", "contents")}
        if dialect == "openai_chat":
            state = ChatCompletionStreamState[Any]()
            chunks = await self.openai.chat.completions.create(
                model=model, messages=body["messages"], extra_body=rest, stream=True
            )
            async for chunk in chunks:
                state.handle_chunk(chunk)
            return chat_said([state.current_completion_snapshot.model_dump(warnings=False)])
        if dialect == "anthropic":
            async with self.anthropic.messages.stream(
                model=model, messages=body["messages"], max_tokens=rest.pop("max_tokens"), extra_body=rest
            ) as stream:
                message = await stream.get_final_message()
            return message_said(message.model_dump(warnings=False))
        pieces = await self.gemini.aio.models.generate_content_stream(
            model=model, contents="replaced", config=_with_body(rest, body)
        )
        return gemini_said([_plain(piece) async for piece in pieces])


def _with_body(rest: Json, body: Json) -> genai.types.GenerateContentConfig:
    return genai.types.GenerateContentConfig(
        http_options=genai.types.HttpOptions(extra_body={**rest, "contents": body["contents"]})
    )


def _plain(answer: Any) -> dict[str, Any]:
    plain: dict[str, Any] = answer.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"sdk_http_response", "parsed"}, warnings=False
    )
    return plain


@asynccontextmanager
async def speakers(url: str, key: str = "test", retries: int = 0) -> AsyncIterator[Speakers]:
    """The SDKs before the hub at `url`."""
    made = Speakers(url, key, retries)
    try:
        yield made
    finally:
        await made.close()


def hello(dialect: str, text: str = "hello") -> dict[str, Any]:
    """The simplest request."""
    if dialect == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    return {**body, "max_tokens": 1000} if dialect == "anthropic" else body
