"""The suite that every dialect must pass.

    class TestMine(DialectSuite):
        dialect = Mine(Mine.Settings())
        conversations = Path(__file__).parent / "conversations"

`conversations` is a folder as `llmhub_core.testing.conversations` describes it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    Dialect,
    Event,
    Failed,
    Finished,
    FrameInfo,
    HubError,
    ModelCard,
    PartDelta,
    PartStarted,
    RequestHead,
    Started,
    UpstreamError,
    UpstreamGarbled,
    UpstreamOverloaded,
    Usage,
    Used,
    Where,
    dump_json,
    fold,
    is_json,
    load_json,
    read_frame,
    set_value,
    unfold,
)
from llmhub_core.testing.conversations import (
    Conversation,
    comparable,
    comparable_request,
    decode,
    encode,
    frames_of,
    load_conversations,
)

_SECRET = "sk-proj-abcdefghijklmnop0123456789"
_FUTURE = {"fromTheFuture": {"a": [1, None, "x"]}}
_UNKNOWN_FRAME = b'event: from_the_future\ndata: {"type":"from_the_future","fromTheFuture":{"a":1}}\n\n'


def hub_errors(root: type[HubError] = HubError) -> Iterator[HubError]:
    """One of every class of error in the contracts, with a source, a field and a wait."""
    error = root.__new__(root)  # some ask for more than a message, and none of it is said on the wire
    HubError.__init__(error, f"What {root.__name__} says, with “quotes”.", param="messages[0].role", retry_after=2.5)
    yield error
    for child in root.__subclasses__():
        if child.__module__.startswith("llmhub_core.contracts."):
            yield from hub_errors(child)


def _with_unknown_members(value: Any, opaque: frozenset[str]) -> Any:
    if isinstance(value, dict):
        found = {k: v if k in opaque else _with_unknown_members(v, opaque) for k, v in value.items()}
        return {**found, **_FUTURE}
    return [_with_unknown_members(item, opaque) for item in value] if isinstance(value, list) else value


class DialectSuite:
    """Subclass it, name the dialect and the conversations, and pytest runs every test below against it.

    messages_field  the field of the body that holds the turns
    model_field     … the model; None if that stands in the path
    stream_field    … the wish for a stream; None if that stands in the path
    opaque_fields   members of answers whose objects are the caller's own (arguments of functions)
    malformed       further bodies that must be refused, each with the `param` that is named
    """

    dialect: ClassVar[Dialect]
    conversations: ClassVar[Path]
    messages_field: ClassVar[str] = "messages"
    model_field: ClassVar[str | None] = "model"
    stream_field: ClassVar[str | None] = "stream"
    opaque_fields: ClassVar[frozenset[str]] = frozenset({"args", "input"})
    malformed: ClassVar[list[tuple[Mapping[str, Any], str]]] = []

    @classmethod
    def where(cls, stream: bool) -> Where:
        """Where a request arrives; overridden where path or query carry the model or the wish for a stream."""
        return Where({}, {})

    @classmethod
    def talks(cls) -> list[Conversation]:
        return load_conversations(cls.conversations, cls.dialect.name)

    @classmethod
    def body(cls, talk: Conversation, stream: bool = False) -> bytes:
        return set_value(talk.request, cls.stream_field, b"true") if stream and cls.stream_field else talk.request

    @classmethod
    def head(cls, talk: Conversation, stream: bool = False) -> RequestHead:
        return cls.dialect.read_head(cls.body(talk, stream), cls.where(stream))

    @classmethod
    def request(cls, talk: Conversation, stream: bool = False) -> ChatRequest:
        """The talk's request, decoded; a stream is asked for with its usage."""
        body, where = cls.body(talk, stream), cls.where(stream)
        request = cls.dialect.decode_request(body, cls.dialect.read_head(body, where), where)
        return replace(request, asked_usage=True)

    @classmethod
    def answer_events(cls, talk: Conversation, stream: bool, size: int | random.Random = 1 << 30) -> list[Event]:
        data = talk.stream if stream else talk.answer
        return decode(cls.dialect.response_decoder(stream), data, size)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "talk" in metafunc.fixturenames:
            talks = self.talks()
            assert talks, f"no conversations in {self.dialect.name} below {self.conversations}"
            metafunc.parametrize("talk", talks, ids=[talk.name for talk in talks])
        if "stream" in metafunc.fixturenames:
            metafunc.parametrize("stream", [False, True], ids=["whole", "stream"])

    # requests

    def test_the_head_agrees_with_the_request(self, talk: Conversation, stream: bool) -> None:
        head, request = self.head(talk, stream), self.request(talk, stream)
        assert (request.model, request.stream, request.framing) == (head.model, head.stream, head.framing)
        assert head.stream is stream
        assert head.max_output == request.sampling.max_output
        assert head.n == request.sampling.n
        assert request.dialect == self.dialect.name
        assert self.dialect.path(head, "some-model").startswith("/")

    def test_a_request_written_back_is_the_same_request(self, talk: Conversation, stream: bool) -> None:
        request = self.request(talk, stream)
        encoded = self.dialect.encode_request(request, request.model)
        assert encoded.adapted == ()
        again = self.request(replace(talk, request=encoded.body), stream)
        assert comparable_request(again) == comparable_request(request)

    def test_unknown_fields_of_a_request_are_carried(self, talk: Conversation) -> None:
        body = set_value(talk.request, "xFromTheFuture", b'{"a":[1,2.5,null]}')
        request = self.request(replace(talk, request=body))
        assert request.extras["xFromTheFuture"] == {"a": [1, 2.5, None]}
        encoded = self.dialect.encode_request(request, request.model)
        assert load_json(encoded.body)["xFromTheFuture"] == {"a": [1, 2.5, None]}

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'"text"', b"null", b"17", b"\xff\xfe", b'{"a":1}}', b"[" * 5000]
    )
    def test_what_is_no_json_object_is_refused(self, body: bytes) -> None:
        with pytest.raises(BadRequest):
            self.dialect.read_head(body, self.where(False))

    def test_a_malformed_body_is_refused_by_the_name_of_its_field(self) -> None:
        good, where = load_json(self.talks()[0].request), self.where(False)
        wrong = [({**good, **changes}, param) for changes, param in self.malformed]
        wrong.append(({**good, self.messages_field: "text"}, self.messages_field))
        for field in filter(None, (self.messages_field, self.model_field)):
            wrong.append(({name: value for name, value in good.items() if name != field}, field))
            wrong += [({**good, field: value}, field) for value in (None, [], [1], 5, True)]
        for fields, param in wrong:
            body = dump_json(fields)
            with pytest.raises(BadRequest) as refused:
                self.dialect.decode_request(body, self.dialect.read_head(body, where), where)
            assert (refused.value.param or "").startswith(param), (fields, refused.value.param)
            assert refused.value.message
            assert refused.value.status == 400

    # answers

    def test_whole_and_streamed_are_the_same_answer(self, talk: Conversation) -> None:
        whole, streamed = (fold(self.answer_events(talk, stream)) for stream in (False, True))
        assert whole.failed is streamed.failed is None
        assert comparable(streamed) == comparable(whole)
        assert whole.usage is not None
        assert whole.finished

    @pytest.mark.parametrize("size", [1, 7, 4096, "random"])
    def test_an_answer_may_be_cut_anywhere(self, talk: Conversation, stream: bool, size: int | str) -> None:
        cut = size if isinstance(size, int) else random.Random(talk.name)  # noqa: S311
        at_once = fold(self.answer_events(talk, stream))
        assert comparable(fold(self.answer_events(talk, stream, cut))) == comparable(at_once)

    def test_what_is_written_is_read_back(self, talk: Conversation, stream: bool) -> None:
        events = self.answer_events(talk, stream=False)
        written = encode(self.dialect.response_encoder(self.request(talk, stream)), events)
        again = fold(decode(self.dialect.response_decoder(stream), written, 7))
        assert again.failed is None
        assert comparable(again) == comparable(fold(events))

    def test_an_answer_that_was_held_back_is_written_as_one_that_was_not(
        self, talk: Conversation, stream: bool
    ) -> None:
        events = self.answer_events(talk, stream)
        held = fold(events)
        assert fold(unfold(held)) == held
        written = encode(self.dialect.response_encoder(self.request(talk, stream)), unfold(held))
        again = fold(decode(self.dialect.response_decoder(stream), written))
        assert comparable(again) == comparable(held)

    def test_a_written_stream_is_framed_as_the_provider_frames_it(self, talk: Conversation) -> None:
        encoder = self.dialect.response_encoder(self.request(talk, stream=True))
        assert encoder.content_type.startswith("text/event-stream")
        written = frames_of(encode(encoder, self.answer_events(talk, stream=True)))
        assert all(frame.endswith((b"\n\n", b"\r\n\r\n")) for frame in written)
        sent = [read_frame(frame) for frame in frames_of(talk.stream)]
        said = [read_frame(frame) for frame in written]
        assert all(is_json(data) for _, data in said if data.startswith(b"{"))
        for here, there in ((said[0], sent[0]), (said[-1], sent[-1])):
            assert here[0] == there[0]
            assert here[1].startswith(b"{") or here[1] == there[1]
            assert here[1].startswith(b"{") is there[1].startswith(b"{")
        assert {event for event, _ in said} <= {event for event, _ in sent}

    def test_a_whole_answer_is_json_at_its_end(self, talk: Conversation) -> None:
        encoder = self.dialect.response_encoder(self.request(talk))
        assert encoder.content_type.startswith("application/json")
        assert b"".join(encoder.write(event) for event in self.answer_events(talk, stream=True)) == b""
        assert isinstance(load_json(encoder.close()), dict)

    def test_an_empty_answer_is_an_answer(self, stream: bool) -> None:
        talk = self.talks()[0]
        events: list[Event] = [Started("id-1", "m", 1), Used(Usage(3, 0)), Finished("stop")]
        written = encode(self.dialect.response_encoder(self.request(talk, stream)), events)
        again = fold(decode(self.dialect.response_decoder(stream), written))
        assert again.failed is None
        assert again.text == ""
        assert again.tool_calls == []
        assert again.usage == Usage(3, 0)

    def test_unknown_members_and_events_are_passed_over(self, talk: Conversation, stream: bool) -> None:
        plain = fold(self.answer_events(talk, stream))
        if stream:
            first, *rest = [self._with_unknown(frame) for frame in frames_of(talk.stream)]
            data = first + _UNKNOWN_FRAME + b": a comment\n\n" + b"".join(frame + _UNKNOWN_FRAME for frame in rest)
        else:
            data = dump_json(_with_unknown_members(load_json(talk.answer), self.opaque_fields))
        again = fold(decode(self.dialect.response_decoder(stream), data))
        assert comparable(again, extras=False) == comparable(plain, extras=False)

    def _with_unknown(self, frame: bytes) -> bytes:
        event, data = read_frame(frame)
        if not data.startswith(b"{"):
            return frame
        changed = dump_json(_with_unknown_members(load_json(data), self.opaque_fields))
        return (b"event: " + event.encode() + b"\n" if event else b"") + b"data: " + changed + b"\n\n"

    def test_an_unknown_finish_is_a_stop(self, stream: bool) -> None:
        talk = self.talks()[0]
        native = fold(self.answer_events(talk, stream)).finished[0].native
        data = (talk.stream if stream else talk.answer).replace(f'"{native}"'.encode(), b'"from_the_future"')
        finished = fold(decode(self.dialect.response_decoder(stream), data)).finished[0]
        assert (finished.reason, finished.native) == ("stop", "from_the_future")

    def test_a_stream_that_breaks_off_fails(self, talk: Conversation) -> None:
        whole, sent = fold(self.answer_events(talk, stream=True)), b""
        for frame in frames_of(talk.stream):
            for data in (sent, sent + frame[: len(frame) // 2]):
                response = fold(decode(self.dialect.response_decoder(True), data))
                assert whole.text.startswith(response.text)
                if not response.finished:
                    assert isinstance(response.failed, UpstreamGarbled), f"after {len(data)} bytes"
            sent += frame

    @pytest.mark.parametrize("data", [b"", b"<html>busy</html>", b'data: {"a":\n\n', b"data: \xff\n\n", b"data: 5\n\n"])
    def test_garbage_fails(self, data: bytes, stream: bool) -> None:
        response = fold(decode(self.dialect.response_decoder(stream), data))
        assert isinstance(response.failed, UpstreamError)

    # errors

    @pytest.mark.parametrize("error", list(hub_errors()), ids=lambda error: type(error).__name__)
    def test_every_error_can_be_said(self, error: HubError) -> None:
        said = json.loads(self.dialect.encode_error(error, "req-1"))["error"]
        assert said["message"] == error.message
        assert said["source"] == error.source
        assert error.code in json.dumps(said).lower()
        read = self.dialect.decode_error(error.status, {}, self.dialect.encode_error(error, "req-1"))
        assert isinstance(read, UpstreamError)

    @pytest.mark.parametrize("error", list(hub_errors()), ids=lambda error: type(error).__name__)
    def test_every_error_ends_a_stream(self, error: HubError) -> None:
        talk = self.talks()[0]
        begun = b"".join(frames_of(talk.stream)[:3])
        broken = begun + self.dialect.encode_stream_error(error, "req-1")
        response = fold(decode(self.dialect.response_decoder(True), broken))
        assert isinstance(response.failed, UpstreamError)

    def test_a_failure_in_a_stream_is_told_and_nothing_after_it(self, talk: Conversation) -> None:
        encoder = self.dialect.response_encoder(self.request(talk, stream=True))
        events = self.answer_events(talk, stream=True)
        begun = [event for event in events if not isinstance(event, Finished | Used)][:3]
        failed = Failed(UpstreamOverloaded("The provider is overloaded; try again later."))
        written = b"".join(encoder.write(event) for event in (*begun, failed))
        assert encoder.close() == b""
        response = fold(decode(self.dialect.response_decoder(True), written))
        assert isinstance(response.failed, UpstreamError)
        assert not response.finished

    @pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529])
    def test_every_error_answer_is_understood(self, status: int) -> None:
        html = b"<html><body>Bad gateway</body></html>"
        said = dump_json({"error": {"message": f"wrong key {_SECRET}", "code": status, "status": "X", "type": "y"}})
        bodies = [b"", html, b"plain text", b"\xff\x00", b"null", b"[]", b'{"error":null}', b'{"error":"text"}', said]
        for body in [*bodies, b'{"error":{"message":null,"code":[]}}', b'{"error":[1]}', said[:-5]]:
            error = self.dialect.decode_error(status, {"content-type": "text/html"}, body)
            assert isinstance(error, UpstreamError)
            assert error.provider_status == status
            assert error.message
            assert _SECRET not in error.message + error.detail

    # the verbatim lane

    def test_only_the_model_is_changed_on_the_way_out(self, talk: Conversation, stream: bool) -> None:
        odd = b'{"a":1E5, "b":[1e-7,12345678901234567890123],"c":"\\u00e9\\/","model":"no","stream":0}'
        talk = replace(talk, request=set_value(talk.request, "x_odd", odd))
        body, head = self.body(talk, stream), self.head(talk, stream)
        out = self.dialect.outgoing_body(body, head, 'other "model"')
        assert odd in out
        before, after = load_json(body), load_json(out)
        if self.model_field:
            assert after.pop(self.model_field) == 'other "model"'
            before.pop(self.model_field)
        after.pop("stream_options", None)
        before.pop("stream_options", None)
        assert after == before
        if not stream and self.model_field:
            assert self.dialect.outgoing_body(out, head, head.model) == body

    def test_passing_frames_tell_what_the_decoder_reads(self, talk: Conversation) -> None:
        head = msgspec.structs.replace(self.head(talk, stream=True), asked_usage=True)
        infos, usage = [], Usage()
        for frame in frames_of(talk.stream):
            data = read_frame(frame)[1]
            if self.dialect.telling.search(frame):
                infos.append(self.dialect.inspect_frame(data, head))
                usage = usage.updated(infos[-1].usage or Usage())
            elif data:
                assert self.dialect.inspect_frame(data, head) == FrameInfo(), data
        response = fold(self.answer_events(talk, stream=True))
        assert [info.finish for info in infos if info.finish] == [response.finished[0].native]
        assert usage == response.usage
        assert any(info.complete for info in infos)
        assert not any(info.hidden or info.error for info in infos)

    def test_a_passing_stream_is_whole_exactly_if_the_decoder_finds_it_so(self, talk: Conversation) -> None:
        head, sent, ended = msgspec.structs.replace(self.head(talk, stream=True), asked_usage=True), b"", False
        for frame in frames_of(talk.stream):
            sent += frame
            if self.dialect.telling.search(frame):
                info = self.dialect.inspect_frame(read_frame(frame)[1], head)
                ended |= info.complete or info.finish is not None
            failed = fold(decode(self.dialect.response_decoder(True), sent)).failed
            assert ended is (failed is None), f"after {len(sent)} bytes"

    def test_an_answer_begins_with_its_first_words_and_not_before(self, talk: Conversation) -> None:
        """Until then another candidate may still give it: too early loses that, too late holds words back."""
        decoder, told = self.dialect.response_decoder(True), False
        for frame in frames_of(talk.stream):
            says = any(
                (isinstance(event, PartDelta) and event.text)
                or (isinstance(event, PartStarted) and event.kind == "tool_call")
                for event in decoder.feed(frame)
            )
            data = read_frame(frame)[1]
            if data and self.dialect.begins(data):
                return
            told = told or says
            assert not told, f"held back: {data!r}"

    def test_a_passing_answer_tells_what_the_decoder_reads(self, talk: Conversation) -> None:
        info, response = (
            self.dialect.inspect_answer(talk.answer, self.head(talk)),
            fold(self.answer_events(talk, False)),
        )
        assert (info.usage, info.finish) == (response.usage, response.finished[0].native)
        assert info.complete
        assert info.error is None

    @pytest.mark.parametrize("data", [b"", b"{", b"<html>", b"5", b"\xff"])
    def test_garbage_does_not_pass(self, data: bytes) -> None:
        head = self.head(self.talks()[0])
        with pytest.raises(ValueError):
            self.dialect.inspect_answer(data, head)

    # models

    def test_models_are_listed(self) -> None:
        cards = [ModelCard("vendor/model-1:free", 1_700_000_000, "vendor"), ModelCard("tiny", 0, "hub")]
        listed = json.dumps(json.loads(self.dialect.encode_models(cards)))
        assert all(card.id in listed for card in cards)
        assert cards[0].id in json.dumps(json.loads(self.dialect.encode_model(cards[0])))
        json.loads(self.dialect.encode_models([]))
