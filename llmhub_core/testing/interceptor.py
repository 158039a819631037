"""The suite that every interceptor must pass.

    class TestMine(InterceptorSuite):
        @classmethod
        def make(cls):
            return Mine(Mine.Settings())

`an_exchange` wraps a request for tests of what is special about yours.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from llmhub_core.contracts import (
    Caller,
    ChatRequest,
    ChatResponse,
    Dialect,
    Event,
    Exchange,
    Failed,
    Finished,
    HubError,
    Image,
    Inline,
    Interceptor,
    Message,
    Opaque,
    PartDelta,
    PartEnded,
    PartStarted,
    Reasoning,
    RequestHead,
    Sight,
    Started,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    UpstreamUnreachable,
    Usage,
    Used,
    Where,
    fold,
)
from llmhub_core.testing.plugin import PluginSuite


def an_exchange(request: ChatRequest) -> Exchange:
    """An exchange as interceptors meet it, with `request` decoded already.

    Its dialect has a name and nothing else, for interceptors work on what every dialect has in common.
    """
    dialect = cast(Dialect, SimpleNamespace(name=request.dialect))
    exchange = Exchange("req-1", dialect, {}, Where({}, {}))
    exchange.caller = Caller("anyone")
    exchange.body = b"{}"
    exchange.head = RequestHead(request.model, request.stream, request.framing, request.sampling.max_output)
    exchange.request_ = request
    return exchange


def requests() -> list[ChatRequest]:
    """One plain request, and one with a part of every kind."""
    plain = ChatRequest("openai_chat", "fast", (Message("user", (Text("Say hello."),)),))
    call = ToolCall("call_1", "look_up", '{"name":"Ada"}')
    result = ToolResult("call_1", (Text("found"), Image(Inline("image/png", "iVBORw0KGgo="))), name="look_up")
    messages = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text(""), Image(Inline("image/png", "iVBORw0KGgo=")), Opaque("gemini", "video", {"a": 1}))),
        Message("assistant", (Reasoning("hm", signature="c2ln", origin="anthropic"), call)),
        Message("tool", (result,)),
    )
    tools = (Tool("look_up", "Looks up a name.", {"type": "object"}),)
    return [plain, ChatRequest("anthropic", "fast", messages, tools, stream=True, extras={"metadata": {"a": 1}})]


def answers() -> list[list[Event]]:
    """A text, a call of a tool, and an answer that broke off."""
    begun: list[Event] = [Started("a-1", "m", 1_764_000_000), PartStarted(0, "text"), PartDelta(0, "Hel")]
    text: list[Event] = [*begun, PartDelta(0, "lo!"), PartEnded(0), Used(Usage(11, 3)), Finished("stop")]
    call: list[Event] = [
        Started("a-2", "m"),
        PartStarted(0, "tool_call", "call_1", "look_up"),
        PartDelta(0, '{"name":"Ada"}'),
        PartEnded(0),
        Used(Usage(11, 9)),
        Finished("tool_calls"),
    ]
    return [text, call, [*begun, Failed(UpstreamUnreachable("The provider's answer broke off; try again."))]]


class InterceptorSuite(PluginSuite):
    """Subclass it, say how one is made, and pytest runs every test below against it.

    A HubError is a legal answer everywhere (it refuses the exchange); any other error fails the test.
    """

    @classmethod
    def make(cls) -> Interceptor:
        raise NotImplementedError

    @classmethod
    def plugin_class(cls) -> type[Interceptor]:
        return type(cls.make())

    @pytest.fixture
    async def interceptor(self) -> AsyncIterator[Interceptor]:
        interceptor = self.make()
        await interceptor.start()
        yield interceptor
        await interceptor.stop()

    def test_it_says_what_it_sees(self) -> None:
        cls = self.plugin_class()
        assert cls.sees, "what sees nothing is never called"
        assert cls.sees <= {*get_args(Sight)}
        written = {sight for sight in get_args(Sight) if getattr(cls, sight) is not getattr(Interceptor, sight)}
        assert written == cls.sees, "methods that `sees` does not name are never called, and the reverse is waste"

    @pytest.mark.parametrize("request_", requests(), ids=["plain", "every part"])
    async def test_it_bears_every_request(self, interceptor: Interceptor, request_: ChatRequest) -> None:
        before = copy.deepcopy(request_)
        said: object = None
        if "request" in interceptor.sees:
            try:
                said = await interceptor.request(an_exchange(request_))
            except HubError as refusal:
                assert refusal.message
        assert said is None or isinstance(said, ChatRequest | ChatResponse)
        assert said is None or said != before, "None leaves a request as it is, and the verbatim lane open"
        assert request_ == before, "a request is never changed in place"

    @pytest.mark.parametrize("events", answers(), ids=["text", "tool call", "broken"])
    async def test_it_leaves_events_in_order(self, interceptor: Interceptor, events: list[Event]) -> None:
        if "event" not in interceptor.sees:
            pytest.skip("it sees no events")
        exchange = an_exchange(requests()[0])
        passed: list[Event] = []
        try:
            for event in events:
                passed += interceptor.event(exchange, event)
        except HubError:
            return
        response = fold(passed)  # raises for a delta of a part that never began
        assert (response.failed is None) == (fold(events).failed is None), "a failure must not look like a success"

    @pytest.mark.parametrize("events", answers(), ids=["text", "tool call", "broken"])
    async def test_it_bears_every_answer(self, interceptor: Interceptor, events: list[Event]) -> None:
        if "response" not in interceptor.sees:
            pytest.skip("it sees no whole answers")
        said: Any
        try:
            said = await interceptor.response(an_exchange(requests()[0]), fold(events))
        except HubError:
            return
        assert isinstance(said, ChatResponse)
