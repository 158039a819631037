"""A wire format, seen from both sides: it reads requests and writes answers, writes requests and reads answers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import msgspec
from typing_extensions import TypeVar

from llmhub_core.contracts.chat_request import ChatRequest, RequestHead, Where
from llmhub_core.contracts.chat_response import Event
from llmhub_core.contracts.errors import HubError, UpstreamError
from llmhub_core.contracts.plugin import Plugin
from llmhub_core.contracts.usage import Usage

RequestT = TypeVar("RequestT", default=ChatRequest)
"""What a dialect's requests are read into: a ChatRequest for chat (and for counting its tokens), else the values of
`operations`."""


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A body for the provider, and what could not be said as it was asked.

    `adapted` has one entry a loss, ``name=what`` (``temperature=clamped``, ``logit_bias=dropped``), where
    `name` is the field in the caller's own dialect. It goes into ``x-llmhub-adapted`` and the record.
    """

    body: bytes
    adapted: tuple[str, ...] = ()


class FrameInfo(msgspec.Struct):
    """What one frame (or a whole answer) tells, read in passing on the verbatim lane; unset means: nothing.

    `finish` is the provider's own word for why the answer ended, `complete` the evidence that nothing is
    missing, `hidden` that the caller did not ask for this frame and does not get it. `instead` are the bytes that the
    caller gets in place of a whole answer, where the provider passed over a wish that the caller's SDK relies on.
    """

    usage: Usage | None = None
    finish: str | None = None
    complete: bool = False
    hidden: bool = False
    error: UpstreamError | None = None
    instead: bytes | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that the caller may use, for the lists of models. `created` in seconds since 1970."""

    id: str
    created: int
    owner: str


class ResponseEncoder(ABC):
    """Events to the caller's bytes. For a whole answer everything is returned by close().

    A Failed event in a stream becomes the dialect's error event; after it close() adds nothing, so that a
    broken stream never looks finished.
    """

    content_type: str

    @abstractmethod
    def write(self, event: Event) -> bytes: ...

    @abstractmethod
    def close(self) -> bytes: ...


class ResponseDecoder(ABC):
    """The provider's bytes to events, from reads of any size. Unknown events and fields are passed over.

    An answer that breaks off yields Failed at close(); an error inside a stream yields Failed at once.
    Usage and finish reason are always reported if the provider said them.
    """

    @abstractmethod
    def feed(self, chunk: bytes) -> Sequence[Event]: ...

    @abstractmethod
    def close(self) -> Sequence[Event]: ...


class Dialect(Plugin, Generic[RequestT]):
    """Pure: bytes and values in, bytes and values out; opens no connection, keeps no state between requests.

    One dialect serves one `operation`. Those of the same operation translate among each other, through neutral
    values; one that cannot be translated is a PassingDialect.
    """

    operation: ClassVar[str] = "chat"

    translates: ClassVar[bool] = True
    """False: only a provider that speaks the very same dialect can be asked."""

    media_types: ClassVar[tuple[str, ...]] = ("application/json",)
    """What a request's content-type may be. Another than JSON is handed to read_head as `Where.media`."""

    paths: ClassVar[tuple[str, ...]]
    """Where callers speak it (aiohttp path patterns, POST). Variables are handed on in `Where.path`."""

    models_paths: ClassVar[tuple[str, ...]] = ()
    """Where its list of models is asked for; dialects may share one, then `claims` decides."""

    absent: ClassVar[Mapping[str, str]] = {}
    """Paths of the format's API that the hub does not serve, each with a sentence that says why and what to do."""

    forwards: ClassVar[frozenset[str]] = frozenset()
    """Request headers (lower case) that travel on to a provider of the same dialect."""

    request_id_header: ClassVar[str] = "x-request-id"
    """How the dialect's SDKs read the request id; `x-request-id` is always sent too."""

    # the caller's side

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        """Whether a request to a path shared by dialects (models, unknown paths) comes from this one's SDKs."""
        return False

    def credentials(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """The caller's token, None if there is none. Any dialect's way of presenting one is accepted by the hub."""
        return None

    @abstractmethod
    def read_head(self, body: bytes, where: Where) -> RequestHead:
        """Check the body and read what the chain needs, without taking the messages apart (a few µs).

        Refuses by BadRequest with `param`: not JSON, no object, wrong types, values out of range, no
        messages, a message without a known role.
        """

    @abstractmethod
    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> RequestT:
        """The whole request; BadRequest with `param` for what is malformed."""

    @abstractmethod
    def response_encoder(self, request: RequestT) -> ResponseEncoder: ...

    @abstractmethod
    def encode_error(self, error: HubError, request_id: str) -> bytes:
        """The body of an error answer."""

    def encode_stream_error(self, error: HubError, request_id: str) -> bytes:
        """The error event that ends a broken stream; the connection is aborted after it."""
        return b""

    def encode_models(self, models: Sequence[ModelCard]) -> bytes:
        """Needed by a dialect that has `models_paths`."""
        raise NotImplementedError

    def encode_model(self, model: ModelCard) -> bytes:
        """Needed by a dialect that has `models_paths`."""
        raise NotImplementedError

    # the provider's side

    @abstractmethod
    def path(self, head: RequestHead, model: str) -> str:
        """The path (and query) below the provider's base URL."""

    def request_headers(self, forwarded: Mapping[str, str]) -> dict[str, str]:
        """Headers of the format itself. `forwarded` are the caller's that `forwards` names (same dialect only)."""
        return {"content-type": "application/json", **forwarded}

    @abstractmethod
    def encode_request(self, request: RequestT, model: str) -> EncodedRequest:
        """A body for `model`. BadRequest (`unsupported_content`, with the name of the part) for content that
        the format cannot say; sampling settings that it lacks are dropped and listed."""

    @abstractmethod
    def response_decoder(self, stream: bool) -> ResponseDecoder: ...

    @abstractmethod
    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """An error answer of a provider, JSON or not, as one of the UpstreamErrors, with what it said noted."""

    # the verbatim lane

    telling: ClassVar[re.Pattern[bytes]]
    """A frame in which this finds nothing is passed on without being read."""

    def tells(self, frame: bytes) -> bool:
        """What `telling` says of a raw frame. Asked for every frame: a dialect may find the same faster."""
        return self.telling.search(frame) is not None

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        """The caller's own bytes for `model`: only the model's name (and the wish for usage) replaced."""
        return body

    @abstractmethod
    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        """What a frame's data tells. ValueError if it is not what the format allows there."""

    def begins(self, data: bytes) -> bool:
        """Whether a frame's data has something of the answer itself: text, thoughts, a call. False for what only
        announces it (ids, roles, empty parts, pings): until an answer has begun, another candidate may still give it.

        Asked of the first frames of a stream, until one has begun it. An answer that ends with a finish reason needs
        no more to count as begun. A dialect that does not say begins with its first frame.
        """
        return True

    @abstractmethod
    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        """What a whole answer tells. ValueError if it is none."""

    def stream_end(self) -> bytes:
        """What a complete stream ends with, added if the provider left it out (Chat's ``[DONE]``)."""
        return b""


class PassingDialect(Dialect[Any]):
    """A wire format of which only the verbatim lane exists: what goes in and comes out is understood just enough
    to route it and to count it."""

    translates = False

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> Any:
        raise NotImplementedError

    def response_encoder(self, request: Any) -> ResponseEncoder:
        raise NotImplementedError

    def encode_request(self, request: Any, model: str) -> EncodedRequest:
        raise NotImplementedError

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        raise NotImplementedError

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return FrameInfo()
