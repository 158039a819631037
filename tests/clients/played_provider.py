"""A provider that plays scenes: it answers in the dialect of the path that it is asked on.

Which scene, the prompt says (``Scene: loop.``), so requests of any test may mix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wire_formats import WIRE_FORMATS, Asked, Call, Saying, Tokens

from llmhub_core.testing.upstream import Answer, ReceivedRequest, json_answer, sse_answer

TEXT = "Grüße aus Évora: 31 °C, 世界 🙂\nand a “second” line."
THOUGHTS = "The question is about Évora."
TOKENS = Tokens(input=40, cached=8, output=30, reasoning=12)
LISBON = Call("call_4f1Lq0vWkTz8yBn2xCd6aP", "get_weather", {"city": "Lisbon"})
PORTO = Call("call_9sJm3uRrEo5hXg7iKw1tQy", "get_weather", {"city": "Porto"})
COAT = Call("call_2bVn6cMz4aLk8jHg0fDs1p", "get_weather", {"city": "Évora", "unit": "celsius"})
WEATHER = {"city": "Évora", "celsius": 31}
VECTORS = [[0.5, -0.25, 0.125], [1.0, 0.0, -2.0]]

ERROR_KINDS = {
    400: ("invalid_request_error", "INVALID_ARGUMENT"),
    401: ("authentication_error", "UNAUTHENTICATED"),
    404: ("not_found_error", "NOT_FOUND"),
    429: ("rate_limit_error", "RESOURCE_EXHAUSTED"),
    500: ("api_error", "INTERNAL"),
    529: ("overloaded_error", "UNAVAILABLE"),
}
"""Anthropic's word for the error, and Google's."""


def plain(asked: Asked) -> Saying:
    return Saying(TEXT, tokens=TOKENS)


def thinking(asked: Asked) -> Saying:
    return Saying(TEXT, thoughts=THOUGHTS, tokens=TOKENS)


def length(asked: Asked) -> Saying:
    return Saying("Once upon a", finish="length", tokens=TOKENS)


def filtered(asked: Asked) -> Saying:
    return Saying("I had begun", finish="content_filter", tokens=TOKENS)


def call(asked: Asked) -> Saying:
    return Saying("", calls=(COAT,), finish="tool_calls", tokens=TOKENS)


def calls(asked: Asked) -> Saying:
    return Saying("I look at both.", calls=(LISBON, PORTO), finish="tool_calls", tokens=TOKENS)


def loop(asked: Asked) -> Saying:
    """Two calls at once; and when their results have come, these, each with the town of its call."""
    if not asked.results:
        return calls(asked)
    return Saying("; ".join(f"{arguments['city']} {result}" for arguments, result in asked.results), tokens=TOKENS)


def signed(asked: Asked) -> Saying:
    """A loop of a model that thinks before it calls."""
    if not asked.results:
        return Saying("", thoughts=THOUGHTS, calls=(LISBON, PORTO), finish="tool_calls", tokens=TOKENS)
    return loop(asked)


def weather(asked: Asked) -> Saying:
    """An object in the way that it was asked for: by a tool that must be called, else as text. A model that was not
    told of its members does not guess them."""
    if "celsius" not in asked.text:
        return Saying("It is warm.", tokens=TOKENS)
    if asked.must_call:
        return Saying("", calls=(Call(COAT.id, asked.must_call, WEATHER),), finish="tool_calls", tokens=TOKENS)
    return Saying(json.dumps(WEATHER, ensure_ascii=False), tokens=TOKENS)


SCENES: dict[str, Callable[[Asked], Saying]] = {
    scene.__name__: scene for scene in (plain, thinking, length, filtered, call, calls, loop, signed, weather)
}

_SCENE = re.compile(r"Scene: (\w+)")


class PlayedProvider:
    """Answers requests, for `FakeUpstream.on`.

    Its memory is that of Anthropic's message threads, over which that SDK's tool runner loops unless it is refused:
    the scene `loop` keeps them, the scene `signed` refuses them.
    """

    def __init__(self) -> None:
        self._threads: dict[str, list[Any]] = {}
        self._answers = 0

    def __call__(self, request: ReceivedRequest) -> Answer:
        """What cannot be read is refused, so that the test reads what was wrong with it."""
        try:
            return self._play(request)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return json_answer({"error": {"message": f"{error!r} in {request.body!r}", "code": 400}}, status=400)

    def _play(self, request: ReceivedRequest) -> Answer:
        if request.method == "GET":  # the list of models, which not every provider has
            return error(404)
        if "mbed" in request.path:
            return json_answer(embedding(request))
        wire_format = next(each for each in WIRE_FORMATS.values() if each.path.search(request.path))
        body = request.json
        thread = body.pop("thread", None)
        if thread and thread["type"] == "continue":
            body["messages"] = self._threads[thread["previous_message_id"]] + body["messages"]
        scene = scene_of(body)
        if thread and scene == "signed":
            return thread_refused()
        if scene.startswith("error"):
            return error(int(scene.removeprefix("error")))
        self._answers += 1
        asked = replace(wire_format.read(body), text=json.dumps(body))
        saying = SCENES["plain" if scene.startswith("cut") else scene](asked)
        saying = replace(saying, number=self._answers, request=body)
        if thread:
            whole = wire_format.whole(saying)
            self._threads[whole["id"]] = [*body["messages"], {"role": "assistant", "content": whole["content"]}]
        if ":streamGenerateContent" in request.path or body.get("stream"):
            return streamed([frame.encode() for frame in wire_format.stream(saying)], scene)
        text = json.dumps(wire_format.whole(saying), ensure_ascii=False).encode()
        cut = len(text) // 2 if scene.startswith("cut") else None
        return Answer(200, {"Content-Type": "application/json"}, text, cut_after=cut)


def scene_of(body: Any) -> str:
    found = _SCENE.search(json.dumps(body))
    if not found:
        raise ValueError("no scene")
    return found[1]


def streamed(frames: list[bytes], scene: str) -> Answer:
    if scene == "cut_closed":  # as some proxies end it: nothing in HTTP tells
        return sse_answer(frames[: len(frames) // 2], close_delimited=True)
    return sse_answer(frames, cut_after=sum(map(len, frames)) // 2 if scene == "cut_reset" else None)


def error(status: int) -> Answer:
    """Has the members of each format's errors, which do not collide."""
    kind, google = ERROR_KINDS[status]
    told = {"type": kind, "message": "The provider says no.", "param": None, "code": status, "status": google}
    return json_answer({"type": "error", "error": told}, status=status)


def thread_refused() -> Answer:
    """As Anthropic's SDK knows it; then it sends the whole talk with every turn."""
    details = {"error_code": "thread_unsupported_request", "unsupported": ["tools"]}
    told = {"type": "invalid_request_error", "message": "Not in a thread.", "details": details}
    return json_answer({"type": "error", "error": told}, status=400)


def embedding(request: ReceivedRequest) -> dict[str, Any]:
    """Numbers, whatever encoding was asked for, as many providers answer."""
    if "/models/" in request.path:
        if "batch" in request.path:
            return {"embeddings": [{"values": vector} for vector in VECTORS]}
        return {"embedding": {"values": VECTORS[0]}}
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(VECTORS)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "data": data, "model": request.json["model"], "usage": usage}
