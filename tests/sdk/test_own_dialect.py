"""Recorded traffic through the dialect it was recorded in: byte for byte, and as the official SDKs read it."""

from __future__ import annotations

import gc
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from google.genai import errors as gemini_errors
from plain_answers import said_in
from plain_http import send
from recordings import CUT_EVERYWHERE, PROVIDERS, Case, recorded, those
from speaking import Speakers

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # Google's SDK warns of every word that it does not know yet.
    pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.* is not a valid:UserWarning"),
]

ANSWERS = those(lambda case: case.status == 200 and not case.breaks)
BROKEN = those(lambda case: case.status == 200 and case.breaks)
ERRORS = those(lambda case: case.status != 200)


@pytest.mark.parametrize("dialect", PROVIDERS)
async def test_there_is_enough_to_compare(traffic: Path, dialect: str) -> None:
    assert len(recorded(dialect)) >= 60, traffic


# As raw HTTP.


def frames_of(stream: bytes) -> list[bytes]:
    """The events of a stream, each with the blank line after it."""
    return re.findall(rb".+?(?:\r\n\r\n|\n\n|\Z)", stream, re.DOTALL)


def shown(case: Case) -> bytes:
    """The recording, as a caller who asked so has to get it: without the usage chunk of Chat unless asked for
    (the hub asks for itself), and with the end mark that is left out in some streams."""
    if case.dialect != "openai_chat" or not case.streamed:
        return case.body
    asked = (case.asked.get("stream_options") or {}).get("include_usage")
    frames = frames_of(case.body)
    kept = [frame for frame in frames if asked or not (b'"choices":[]' in frame and b'"usage":{' in frame)]
    if kept[-1].strip() != b"data: [DONE]":
        kept.append(b"data: [DONE]\n\n")
    return b"".join(kept)


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_answer_passes_byte_for_byte(raw: aiohttp.ClientSession, case: Case) -> None:
    answer = await send(raw, case, case.model)
    got = answer.body
    assert (answer.status, answer.ended) == (200, True), got
    if "stream_json_array" in case.features:
        assert said_in(case.dialect, got, streamed=False) == said_in(case.dialect, case.body, streamed=False)
    else:
        assert got == shown(case)
    assert answer.headers["x-llmhub-served-by"] == case.model


@pytest.mark.parametrize("case", BROKEN)
async def test_what_broke_off_ends_in_an_error(raw: aiohttp.ClientSession, case: Case) -> None:
    answer = await send(raw, case, case.model)
    if answer.status != 200:
        assert answer.status >= 500
        assert json.loads(answer.body)["error"]["message"]
        return
    assert not answer.ended
    *before, last = frames_of(answer.body)
    assert before
    assert case.body.startswith(b"".join(before))
    assert b'"error"' in last
    assert b"[DONE]" not in answer.body


STATUS = {401: 503, 403: 503, 500: 503, 502: 503, 529: 503}
"""What a caller is told where it is not what the provider said: a provider's refusal of the operator's key is
no mistake of the caller's, and any failure of a provider is a 503 here."""

REALLY = {b"API_KEY_INVALID": 503, b"credit balance is too low": 429}
"""Providers say 400 for what is no mistake in the request."""


@pytest.mark.parametrize("case", ERRORS)
async def test_an_error_keeps_its_class_and_speaks_the_dialect(
    raw: aiohttp.ClientSession, sdk: Speakers, case: Case
) -> None:
    model = f"{case.id}/case-{case.id}"
    answer = await send(raw, case, model)
    got = answer.body
    really = [status for words, status in REALLY.items() if words in case.body]
    status = really[0] if really else STATUS.get(case.status, case.status)
    assert (answer.status, answer.ended) == (status, True), got
    error = json.loads(got)["error"]
    assert error["message"]
    if case.dialect == "gemini":
        assert (error["code"], type(error["status"])) == (status, str)
    else:
        assert error["type"]
    assert answer.headers["content-type"].startswith("application/json")
    assert_hides(got)

    ask = sdk.stream if case.is_stream else sdk.ask
    with pytest.raises(SDK_ERRORS[case.dialect]) as raised:
        await ask(case.dialect, model, {**case.asked})
    caught: Any = raised.value
    if case.dialect == "gemini":
        assert caught.code // 100 == status // 100
        assert isinstance(caught, gemini_errors.ClientError if status < 500 else gemini_errors.ServerError)
    else:
        assert caught.status_code // 100 == status // 100
        kind = EXPECTED_CLASS.get(status, "InternalServerError" if status >= 500 else "APIStatusError")
        assert isinstance(caught, getattr(openai if case.dialect == "openai_chat" else anthropic, kind))


SDK_ERRORS: dict[str, type[Exception]] = {
    "openai_chat": openai.APIStatusError,
    "anthropic": anthropic.APIStatusError,
    "gemini": gemini_errors.APIError,
}
EXPECTED_CLASS: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "BadRequestError",
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.TOO_MANY_REQUESTS: "RateLimitError",
}


def assert_hides(body: bytes) -> None:
    """No provider's name of a key, nor its address, reaches a caller."""
    assert b"sk-x" not in body
    assert b"127.0.0.1" not in body


# Through the SDKs.


@pytest.mark.parametrize("case", ANSWERS)
async def test_the_sdk_reads_what_was_recorded(sdk: Speakers, straight: Speakers, case: Case) -> None:
    ask = sdk.stream if case.is_stream else sdk.ask
    if case.id in MALFORMED:
        expected = await straight.stream(case.dialect, f"case-{case.id}", case.asked)
    else:
        expected = said_in(case.dialect, case.body, case.streamed)
    assert await ask(case.dialect, case.model, case.asked) == expected


MALFORMED = {
    "anthropic-msg-55950562",  # begins a second time in the middle of a call
    "anthropic-msg-b685093a",  # ends within a call's arguments
}
"""Made by hand to confuse SDKs: through the hub they shall be as confused as without it."""


@pytest.mark.parametrize("case", BROKEN)
async def test_the_sdk_raises_where_an_answer_breaks(sdk: Speakers, case: Case) -> None:
    with pytest.raises(BREAKS):
        await sdk.stream(case.dialect, case.model, case.asked)
    gc.collect()  # Google's SDK leaves the broken connection to the garbage collector, which complains


BREAKS = (openai.APIError, anthropic.APIError, gemini_errors.APIError, aiohttp.ClientError)


@pytest.mark.parametrize("case", those(lambda case: case.id in CUT_EVERYWHERE[case.dialect]))
async def test_a_stream_cut_at_every_byte_is_the_same(raw: aiohttp.ClientSession, sdk: Speakers, case: Case) -> None:
    model = f"cut-{case.id}/m"
    answer = await send(raw, case, model)
    assert (answer.status, answer.ended, answer.body) == (200, True, shown(case))
    assert await sdk.stream(case.dialect, model, case.asked) == said_in(case.dialect, case.body, streamed=True)
