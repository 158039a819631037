"""Talks to test dialects with, and what reads, writes and compares them.

A folder of conversations holds a folder a talk, and in it for every dialect `<dialect>.request.json`,
`<dialect>.answer.json` (the whole answer) and `<dialect>.stream.txt` (the same answer, streamed).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmhub_core.contracts import (
    ChatRequest,
    ChatResponse,
    Event,
    Failed,
    Finished,
    FrameSplitter,
    Message,
    PartDelta,
    PartEnded,
    PartStarted,
    ResponseDecoder,
    ResponseEncoder,
    ResponsePart,
    Started,
    ToolCall,
    ToolResult,
    dump_json,
    load_json,
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One talk in one dialect: the request, the whole answer, and the answer as a stream."""

    name: str
    request: bytes
    answer: bytes
    stream: bytes


def load_conversations(folder: Path, dialect: str) -> list[Conversation]:
    """Every talk below `folder` that is written in `dialect`, by name."""
    return [
        Conversation(
            path.parent.name,
            path.read_bytes(),
            (path.parent / f"{dialect}.answer.json").read_bytes(),
            (path.parent / f"{dialect}.stream.txt").read_bytes(),
        )
        for path in sorted(folder.glob(f"*/{dialect}.request.json"))
    ]


def pieces(data: bytes, size: int | random.Random) -> Iterator[bytes]:
    """`data` in pieces of `size` bytes, or of 1 to 64 bytes at random."""
    at = 0
    while at < len(data):
        step = size if isinstance(size, int) else size.randint(1, 64)
        yield data[at : at + step]
        at += step


def frames_of(stream: bytes) -> list[bytes]:
    splitter = FrameSplitter()
    return [frame for frame in (*splitter.feed(stream), splitter.rest()) if frame]


def decode(decoder: ResponseDecoder, data: bytes, size: int | random.Random = 1 << 30) -> list[Event]:
    """The events of `data`, read in pieces; their order is checked."""
    events: list[Event] = []
    for piece in pieces(data, size):
        events += decoder.feed(piece)
    events += decoder.close()
    check_order(events)
    return events


def encode(encoder: ResponseEncoder, events: Iterable[Event]) -> bytes:
    return b"".join([*(encoder.write(event) for event in events), encoder.close()])


def check_order(events: list[Event]) -> None:
    """Started first and once; parts numbered from 0 and, within a choice, one after the other; Failed last."""
    open_parts: dict[int, int] = {}  # choice → part
    choice_of: list[int] = []
    for position, event in enumerate(events):
        if isinstance(event, Started):
            assert position == 0, "Started is the first event, once"
        elif isinstance(event, PartStarted):
            assert event.index == len(choice_of), "parts are numbered in order"
            assert event.choice not in open_parts, "parts of one choice do not overlap"
            assert event.kind != "tool_call" or (event.id and event.name), "a call has an id and a name"
            choice_of.append(event.choice)
            open_parts[event.choice] = event.index
        elif isinstance(event, PartDelta):
            assert event.index in open_parts.values(), "text goes to an open part"
        elif isinstance(event, PartEnded):
            assert open_parts.pop(choice_of[event.index], None) == event.index, "a part ends once"
        elif isinstance(event, Finished):
            assert event.choice not in open_parts, "a choice finishes after its last part"
        elif isinstance(event, Failed):
            assert position == len(events) - 1, "nothing comes after Failed"
    if events and not isinstance(events[-1], Failed):
        assert isinstance(events[0], Started)
        assert not open_parts, "every part ends"


# Ids that a decoder invents differ from one reading to the next: compared by order of appearance.

_INVENTED = re.compile(r"call_[0-9a-f]{24}")


class _Ids(dict[str, str]):
    def __missing__(self, found: str) -> str:
        self[found] = f"invented {len(self)}" if _INVENTED.fullmatch(found) else found
        return self[found]


def comparable(response: ChatResponse, extras: bool = True) -> ChatResponse:
    """The answer with invented ids numbered and arguments in one spelling, whether extras came with a part's beginning
    or its end.

    Extras of the answer itself are left out, for a stream begins before the provider knows them all. Without `extras`
    those of parts and ends are taken away, and with them empty texts and the borders that only they made.
    """
    ids = _Ids()
    parts: list[ResponsePart] = []
    for found in response.parts:
        text = _spelled(found.text) if found.kind == "tool_call" else found.text
        part = replace(found, id=ids[found.id], text=text, extras=found.extras if extras else {}, ended={})
        if extras or found.kind not in ("text", "reasoning"):
            parts.append(part)
        elif parts and replace(parts[-1], text="") == replace(part, text=""):
            parts[-1].text += part.text
        elif part != ResponsePart("text", choice=part.choice):
            parts.append(part)
    if not extras:
        finished = {choice: replace(end, extras={}) for choice, end in response.finished.items()}
        response = replace(response, finished=finished)
    return replace(response, parts=parts, extras={})


def _spelled(arguments: str) -> str:
    try:
        return dump_json(load_json(arguments)).decode()
    except ValueError:
        return arguments


def comparable_request(request: ChatRequest) -> ChatRequest:
    """The request with invented ids numbered."""
    ids = _Ids()

    def part(found: Any) -> Any:
        if isinstance(found, ToolCall):
            return replace(found, id=ids[found.id])
        return replace(found, call_id=ids[found.call_id]) if isinstance(found, ToolResult) else found

    def message(found: Message) -> Message:
        return replace(found, content=tuple(part(piece) for piece in found.content))

    return replace(request, messages=tuple(message(found) for found in request.messages))
