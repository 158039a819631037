"""The cheap look at every request: checked by one typed decode, read as far as the chain has to know it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from llmhub_plugins.dialects.openai.checks import (
    Penalty,
    Steered,
    Stop,
    StreamOptions,
    check_model,
    check_steering,
    check_user,
    parse,
)
from llmhub_plugins.dialects.openai_completions.words import DEFAULT_LIMIT
from msgspec import Meta

from llmhub_core.contracts import RequestHead, Where


class _Body(Steered, kw_only=True):
    model: str
    prompt: str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=1_000_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    stop: Stop = None
    seed: int | None = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    user: Annotated[str, Meta(max_length=1024)] | None = None


_decode = msgspec.json.Decoder(_Body).decode


def read_head(body: bytes, where: Where) -> RequestHead:
    """Check `body` and read its head; BadRequest with `param` for what cannot be used. Every prompt is answered `n`
    times, so that the head's `n` is the number of choices."""
    asked = parse(body, _decode)
    check_model(asked.model)
    check_steering(asked)
    check_user(asked.user)
    stream = asked.stream or False
    options = asked.stream_options
    return RequestHead(
        model=asked.model,
        stream=stream,
        framing="sse" if stream else "json",
        max_output=DEFAULT_LIMIT if asked.max_tokens is None else asked.max_tokens,
        asked_usage=not stream or (options is not None and options.include_usage is True),
        n=(asked.n or 1) * prompts_in(asked.prompt),
    )


def prompts_in(prompt: str | list[str | int | list[int]]) -> int:
    """How many prompts: a list of numbers is one, said in tokens."""
    return 1 if isinstance(prompt, str) or isinstance(prompt[0], int) else len(prompt)
