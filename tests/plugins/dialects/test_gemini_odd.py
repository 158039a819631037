"""The wire format ``gemini`` before recorded traffic in which one value was exchanged for an odd one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import register_dialects as anthropic
from llmhub_plugins.dialects.openai_chat import register_dialects as openai_chat
from speaking_gemini import ANSWERS, CASES, answer_of, dialect, named, where, with_traffic

from llmhub_core.contracts import BadRequest, ChatRequest, Event, Failed, Finished, RequestHead

ODD = [None, 3, -1, 1.5, "x", "", [], {}, [3], {"a": 1}, True, "\u2028", 2**70, [None], [[]], {"text": None}]
DIALECTS = [dialect, *(kind(kind.Settings()) for kinds in (anthropic, openai_chat) for kind in kinds())]
DRAWS = 25


def _ends(events: list[Event]) -> list[Finished]:
    return [event for event in events if isinstance(event, Finished)]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*above, key))


def disturbed(value: Any, draw: random.Random) -> Any:
    """A copy of `value` with one value in it, or itself, exchanged."""
    *way, last = (None, *draw.choice(list(places(value))))
    box = {None: json.loads(json.dumps(value))}
    place: Any = box
    for key in way:
        place = place[key]
    place[last] = draw.choice(ODD)
    return box[None]


@with_traffic
@pytest.mark.parametrize("case", CASES, ids=named)
def test_an_odd_request_is_refused_or_written_and_never_our_fault(case: dict[str, Any]) -> None:
    draw = random.Random(case["id"])
    for _ in range(DRAWS):
        body = json.dumps(disturbed(case["request"]["body"], draw)).encode()
        try:
            request = dialect.decode_request(body, dialect.read_head(body, where()), where())
        except BadRequest as error:
            assert error.param or error.code == "invalid_body"
            continue
        for other in DIALECTS:
            for model in ("gemini-3-pro", "gemini-1.5-pro"):  # the old one takes reduced schemas only
                try:
                    other.encode_request(request, model)
                except BadRequest as error:
                    assert error.param


@with_traffic
@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_odd_answer_is_read_and_written_or_said_to_be_garbled(case: dict[str, Any]) -> None:
    draw = random.Random(case["id"])
    raw, _ = answer_of(case)
    frames = [
        frame.removeprefix("data:") for frame in raw.decode().replace("\r\n", "\n").split("\n\n") if frame.strip()
    ]
    try:
        chunks = [json.loads(frame) for frame in frames]
    except ValueError:
        pytest.skip("recorded garbled as it is")
    for number in range(DRAWS):
        stream = number % 2 == 1
        if stream:
            odd = disturbed(chunks, draw)
            told = odd if isinstance(odd, list) else [odd]
            data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in told)
        else:
            data = json.dumps(disturbed(chunks[0], draw)).encode()
        decoder = dialect.response_decoder(stream)
        events = [*decoder.feed(data), *decoder.close()]
        assert events, "an answer always ends"
        for other in DIALECTS:
            for framing in ("json", "sse"):
                encoder = other.response_encoder(ChatRequest(other.name, "m", (), stream=stream, framing=framing))  # type: ignore[arg-type]
                written = b"".join([*(encoder.write(event) for event in events), encoder.close()])
                # Some dialects have one choice only, and are silent about others.
                assert written or isinstance(events[-1], Failed) or all(event.choice for event in _ends(events))
        for frame in chunks:
            try:
                dialect.inspect_frame(json.dumps(disturbed(frame, draw)).encode(), RequestHead("m", True))
            except ValueError:
                continue
