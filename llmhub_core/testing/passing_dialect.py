"""The suite for dialects whose requests and answers pass as they are: a PassingDialect, or the verbatim lane of an
operation that is also translated.

    class TestMine(PassingDialectSuite):
        dialect = Mine(Mine.Settings())
        talks = (Talk("plain", b'{"model":"m","text":"Hi"}', answer=b'{"said":"Hi"}', usage=Usage(3, 0)),)
        malformed = ((b'{"model":"m"}', "text"),)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from llmhub_core.contracts import (
    BadRequest,
    Dialect,
    HubError,
    RequestHead,
    UpstreamError,
    Usage,
    Where,
    dump_json,
    is_json,
    load_json,
    read_frame,
    set_value,
)
from llmhub_core.testing.conversations import frames_of
from llmhub_core.testing.dialect import hub_errors
from llmhub_core.testing.plugin import PluginSuite

JSON = "application/json"
SECRET = "sk-proj-abcdefghijklmnop0123456789"
OTHER_MODEL = 'another "model"'


@dataclass(frozen=True, slots=True)
class Talk:
    """A request and what comes back.

    request   the body; `media` is its content-type, `path` the variables of the path that it is sent to
    answer    a whole answer to it, b"" if it is answered by a stream
    stream    … the stream, as the provider frames it
    usage     what the answer tells; None if it tells nothing of tokens
    model     the public name that the request asks for
    """

    name: str
    request: bytes
    answer: bytes = b""
    stream: bytes = b""
    usage: Usage | None = None
    model: str = "m"
    media: str = JSON
    path: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> Where:
        return Where(self.path, {}, self.media)


class PassingDialectSuite(PluginSuite):
    """Subclass it, name the dialect and a few talks, and pytest runs every test below against it.

    malformed     bodies that must be refused, each with the `param` that is named ("" for none); they are sent to
                  where the first talk is
    free_answers  whether an answer may be other things than JSON (sound, text): then garbage passes
    """

    dialect: ClassVar[Dialect[Any]]
    talks: ClassVar[tuple[Talk, ...]]
    malformed: ClassVar[tuple[tuple[bytes, str], ...]] = ()
    free_answers: ClassVar[bool] = False

    @classmethod
    def plugin_class(cls) -> type[Dialect[Any]]:
        return type(cls.dialect)

    @classmethod
    def head(cls, talk: Talk) -> RequestHead:
        return cls.dialect.read_head(talk.request, talk.where)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        chosen = {
            "talk": self.talks,
            "json_talk": [talk for talk in self.talks if talk.media == JSON],
            "answered": [talk for talk in self.talks if talk.answer],
            "streamed": [talk for talk in self.talks if talk.stream],
            "json_answered": [talk for talk in self.talks if is_json(talk.answer)],
        }
        for name in chosen.keys() & metafunc.fixturenames:
            metafunc.parametrize(name, chosen[name], ids=[talk.name for talk in chosen[name]])

    # requests

    def test_the_head_tells_what_the_chain_has_to_know(self, talk: Talk) -> None:
        head = self.head(talk)
        assert head.model == talk.model
        assert head.stream is bool(talk.stream) or head.framing == "bytes"
        assert head.operation != "chat" or self.dialect.operation == "chat"
        assert self.dialect.path(head, "some-model").startswith("/")

    def test_only_the_model_is_changed_on_the_way_out(self, talk: Talk) -> None:
        head, body = self.head(talk), talk.request
        out = self.dialect.outgoing_body(body, head, OTHER_MODEL)
        assert self.dialect.read_head(out, talk.where).model == OTHER_MODEL
        before = _common(body, out)
        behind = _common(body[before:][::-1], out[before:][::-1])
        assert len(body) - before - behind <= len(dump_json(talk.model)), "more than the model's name was changed"
        again = self.dialect.outgoing_body(out, self.dialect.read_head(out, talk.where), talk.model)
        assert again == body or head.model.encode() not in body

    def test_unknown_fields_pass(self, json_talk: Talk) -> None:
        talk = json_talk
        odd = b'{"a":1E5, "b":[1e-7,12345678901234567890123],"c":"\\u00e9\\/","model":"no","stream":0}'
        body = set_value(talk.request, "x_odd", odd)
        assert odd in self.dialect.outgoing_body(body, self.dialect.read_head(body, talk.where), OTHER_MODEL)

    def test_a_call_says_what_its_body_is(self, talk: Talk) -> None:
        forwarded = {"content-type": talk.media} if "content-type" in self.dialect.forwards else {}
        assert self.dialect.request_headers(forwarded)["content-type"] == talk.media
        assert talk.media.partition(";")[0].lower() in self.dialect.media_types
        assert all(name == name.lower() for name in self.dialect.forwards)

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b'{"a":1}}', b"[" * 5000])
    def test_what_is_no_request_is_refused(self, body: bytes) -> None:
        with pytest.raises(BadRequest):
            self.dialect.read_head(body, self.talks[0].where)

    def test_a_model_that_is_no_name_is_refused(self, json_talk: Talk) -> None:
        odd: tuple[Any, ...] = (None, 5, True, [], {}, "x" * 300, "a\nb")
        for value in odd:
            with pytest.raises(BadRequest) as refused:
                self.dialect.read_head(set_value(json_talk.request, "model", dump_json(value)), json_talk.where)
            assert refused.value.param == "model"

    def test_a_malformed_body_is_refused_by_the_name_of_its_field(self) -> None:
        for body, param in self.malformed:
            with pytest.raises(BadRequest) as refused:
                self.dialect.read_head(body, self.talks[0].where)
            assert (refused.value.param or "") == param, (body, refused.value.message)
            assert refused.value.message
            assert SECRET not in refused.value.message

    # answers

    def test_an_answer_tells_its_usage(self, answered: Talk) -> None:
        info = self.dialect.inspect_answer(answered.answer, self.head(answered))
        assert (info.usage, info.error, info.complete) == (answered.usage, None, True)
        assert info.instead is None or is_json(info.instead)

    @pytest.mark.parametrize("data", [b"", b"{", b"<html>busy</html>", b"5", b"{}"])
    def test_garbage_does_not_pass(self, data: bytes) -> None:
        if self.free_answers:
            pytest.skip("its answers may be anything")
        with pytest.raises(ValueError):
            self.dialect.inspect_answer(data, self.head(self.talks[0]))

    def test_an_error_in_place_of_an_answer_is_seen(self) -> None:
        said = dump_json({"error": {"message": f"busy {SECRET}", "type": "server_error"}})
        error = self.dialect.inspect_answer(said, self.head(self.talks[0])).error
        assert isinstance(error, UpstreamError)
        assert SECRET not in error.message + error.detail

    def test_a_stream_tells_its_usage_and_its_end(self, streamed: Talk) -> None:
        head, usage, complete = self.head(streamed), None, False
        for frame in frames_of(streamed.stream):
            assert not complete or b"[DONE]" in frame, "nothing comes after the end"
            info = self.dialect.inspect_frame(read_frame(frame)[1], head)
            if not self.dialect.tells(frame):
                assert (info.usage, info.error, info.complete) == (None, None, False), frame
            usage, complete = info.usage or usage, complete or info.complete
            assert not info.error
        assert (usage, complete) == (streamed.usage, True)

    # errors

    @pytest.mark.parametrize("error", list(hub_errors()), ids=lambda error: type(error).__name__)
    def test_every_error_can_be_said(self, error: HubError) -> None:
        encoded = self.dialect.encode_error(error, "req-1")
        said = json.loads(encoded)["error"]
        assert (said["message"], said["source"]) == (error.message, error.source)
        assert isinstance(self.dialect.decode_error(error.status, {}, encoded), UpstreamError)

    @pytest.mark.parametrize("error", list(hub_errors()), ids=lambda error: type(error).__name__)
    def test_every_error_ends_a_stream(self, error: HubError, streamed: Talk) -> None:
        (frame,) = frames_of(self.dialect.encode_stream_error(error, "req-1"))
        assert self.dialect.tells(frame)
        assert self.dialect.inspect_frame(read_frame(frame)[1], self.head(streamed)).error is not None

    @pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529])
    def test_every_error_answer_is_understood(self, status: int) -> None:
        said = dump_json({"error": {"message": f"wrong key {SECRET}", "code": status, "type": "y"}})
        for body in (b"", b"<html>Bad gateway</html>", b"plain text", b"\xff\x00", b"null", b"[]", said, said[:-5]):
            error = self.dialect.decode_error(status, {"content-type": "text/html"}, body)
            assert isinstance(error, UpstreamError)
            assert error.provider_status == status
            assert error.message
            assert SECRET not in error.message + error.detail

    def test_a_wrong_answer_never_breaks_the_reader(self, json_answered: Talk) -> None:
        """Members of other types than expected are passed over or refused as garbage, never an exception else."""
        said, head = load_json(json_answered.answer), self.head(json_answered)
        for name in said:
            for value in (None, 5, "x", [], {}, [5], {"input_tokens": "many"}, {"total_tokens": -1}):
                try:
                    info = self.dialect.inspect_answer(dump_json({**said, name: value}), head)
                except ValueError:
                    continue
                assert info.usage is None or info.usage.total_tokens >= 0


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    for place, (here, there) in enumerate(zip(one, other, strict=False)):
        if here != there:
            return place
    return min(len(one), len(other))
