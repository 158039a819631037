"""Every way an exchange can fail, drawn as one tree.

HubError                    status, code, source, retryable
├─ Refused                  the hub says no, before any provider was called
│  ├─ BadRequest            400   the body or a header cannot be used as it is
│  ├─ Unauthenticated       401   no token, or one that is not known
│  ├─ Forbidden             403   a known token that may not do this
│  ├─ NotFound              404   no such path
│  ├─ UnknownModel          404   no such model
│  ├─ MethodNotAllowed      405
│  ├─ RequestTimeout        408   the body did not arrive in time
│  ├─ TooLarge              413
│  ├─ UnsupportedMedia      415
│  ├─ QuotaExceeded         429   the caller's own limits
│  ├─ Internal              500   our fault; the details are in the log under the request id
│  └─ Unavailable           503   draining, sealed, the meter is full
├─ UpstreamError            502   one attempt failed
│  ├─ UpstreamRefused       4xx   the request is at fault: no other candidate is tried
│  ├─ UpstreamModelMissing* 404   this candidate does not have the model
│  ├─ UpstreamDenied*       503   the key was refused: it is marked invalid
│  ├─ UpstreamLimited*      429   the key (or its account) is out of quota for a time
│  ├─ UpstreamOverloaded*   503   5xx and 529: counts against the deployment
│  ├─ UpstreamUnreachable*  502   no connection, or it broke
│  ├─ UpstreamTimeout*      504   no answer in time
│  └─ UpstreamGarbled*      502   an answer that is not one
├─ NoCandidateLeft          503/429   every candidate is out; carries the soonest return
└─ StartError               at start only, never on the wire
   ├─ SettingsError
   └─ PluginError                                   (* = another candidate may be tried)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from llmhub_core.contracts.rates import SeenLimit

Source = Literal["gateway", "capacity", "provider", "network"]
"""Who said no: the hub's own rules, its lack of usable keys, a provider, or the wire between."""

LimitScope = Literal["key", "group", "model", "provider"]


def as_it_was(error: Exception) -> tuple[Any, ...]:
    """What pickle wants of an error: by itself it would call the constructor with the message alone."""
    return _made_again, (type(error), error.args, error.__dict__)


def _made_again(kind: type[Exception], args: tuple[Any, ...], facts: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class HubError(Exception):
    """What a caller is told when an exchange fails.

    `message` is a sentence for the caller that says what to do; it never holds a secret, a provider's
    address or more than a few characters of what the caller sent. `param` is the path of the field at
    fault (``messages[0].role``). `retry_after` is in seconds. `should_retry` tells SDKs outright
    (``x-should-retry``); None leaves it to their own rules. `details` is what a provider said of the caller's request
    in its own format's structure (JSON), for callers of that format alone, which `origin` names: freed of credentials
    and of the account's affairs, and at most 4 kB.
    """

    status: int = 500
    code: str = "internal_error"
    source: Source = "gateway"
    retryable: ClassVar[bool] = False
    details: Any = None
    origin: str = ""

    __reduce__ = as_it_was

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        param: str | None = None,
        source: Source | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.should_retry = should_retry
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if source is not None:
            self.source = source


class Refused(HubError):
    """The hub says no, before any provider was called."""


class BadRequest(Refused):
    status, code = 400, "invalid_body"


class Unauthenticated(Refused):
    status, code = 401, "invalid_api_key"


class Forbidden(Refused):
    status, code = 403, "forbidden"


class NotFound(Refused):
    status, code = 404, "route_not_found"


class UnknownModel(Refused):
    status, code = 404, "model_not_found"


class MethodNotAllowed(Refused):
    status, code = 405, "method_not_allowed"

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(Refused):
    status, code = 408, "request_timeout"


class TooLarge(Refused):
    status, code = 413, "request_too_large"


class UnsupportedMedia(Refused):
    status, code = 415, "unsupported_media_type"


class QuotaExceeded(Refused):
    status, code = 429, "rate_limit_exceeded"


class Internal(Refused):
    status, code = 500, "internal_error"


class Unavailable(Refused):
    status, code = 503, "overloaded"


class UpstreamError(HubError):
    """One attempt failed. `provider_status` and `provider_code` are what the provider said, for the record.

    `detail` is the provider's own text, cut and freed of credentials, for the record only; `message` is
    what the caller reads. `provider_request_id` is the provider's name for the call, where it gave one.
    """

    status, code = 502, "upstream_error"
    source: Source = "provider"
    provider_status: int | None = None
    provider_code: str | None = None
    provider_request_id: str | None = None
    detail: str = ""

    def said(
        self, *, status: int | None = None, code: str | None = None, request_id: str | None = None, detail: str = ""
    ) -> UpstreamError:
        """Note what the provider said; returns self, so that a decoder can build and return in one line."""
        self.provider_status = status
        self.provider_code = code
        self.provider_request_id = request_id
        self.detail = detail[:500]
        return self


class UpstreamRefused(UpstreamError):
    """The request itself is at fault; `status` is the provider's (400, 404, 413, 422 …)."""

    status, code = 400, "upstream_rejected"


class UpstreamModelMissing(UpstreamError):
    status, code = 404, "model_not_found"
    retryable: ClassVar[bool] = True


class UpstreamDenied(UpstreamError):
    """`scope` is what was refused: the key, its account (group), or everybody from here (provider)."""

    status, code = 503, "no_upstream_available"
    source: Source = "capacity"
    retryable: ClassVar[bool] = True
    scope: LimitScope = "key"


class UpstreamLimited(UpstreamError):
    """Out of quota for a time. `retry_after` None means that the provider did not say for how long.

    `scope` is what the limit belongs to; `exhausted` means that waiting minutes does not help (no credit,
    a spent daily quota); `oversized` that this one request is larger than the whole limit. `limits` are those
    that the error names.
    """

    status, code = 429, "rate_limit_exceeded"
    source: Source = "capacity"
    retryable: ClassVar[bool] = True
    scope: LimitScope = "key"
    exhausted: bool = False
    oversized: bool = False
    limits: Sequence[SeenLimit] = ()


class UpstreamOverloaded(UpstreamError):
    """`scope` provider: not this model alone, everything there is out (529)."""

    status, code = 503, "overloaded"
    retryable: ClassVar[bool] = True
    scope: LimitScope = "model"


class UpstreamUnreachable(UpstreamError):
    status, code = 502, "upstream_unreachable"
    source: Source = "network"
    retryable: ClassVar[bool] = True


class UpstreamTimeout(UpstreamError):
    status, code = 504, "upstream_timeout"
    source: Source = "network"
    retryable: ClassVar[bool] = True


class UpstreamGarbled(UpstreamError):
    status, code = 502, "upstream_protocol_error"
    source: Source = "network"
    retryable: ClassVar[bool] = True


class NoCandidateLeft(HubError):
    """Every candidate is out. With `retry_after` it is a 429 that says when the soonest returns."""

    status, code = 503, "no_upstream_available"
    source: Source = "capacity"


class StartError(Exception):
    """Found at start (or by `llm-hub check`); its text is a finished message for a person."""


class SettingsError(StartError):
    """Mistakes in the configuration, all of them at once.

    Each of `problems` reads ``file:line:column: key: what is wrong; what would be right``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginError(StartError):
    """A plugin that cannot be used: not importable, another contract number, a name already taken."""


def upstream_error(status: int, message: str) -> UpstreamError:
    """The kind of error that an HTTP status alone tells, for bodies that say no more.

    `message` is the provider's own text, already safe to show; callers see it only where the request itself
    is at fault. Everything else gets a sentence of ours, so that no account detail leaks.
    """
    error: UpstreamError
    if status in (401, 403):
        error = UpstreamDenied("No usable key is left at the provider; the operator has been told.")
    elif status == 402:
        error = UpstreamLimited("The provider account has no credit left.", code="insufficient_quota")
        error.exhausted = True
    elif status == 429:
        error = UpstreamLimited("The provider's rate limit is reached; try again later.")
    elif status in (408, 504):
        error = UpstreamTimeout("The provider did not answer in time; try again.", source="provider")
    elif status >= 500:
        error = UpstreamOverloaded("The provider is overloaded or failing; try again later.")
    elif 300 <= status < 400:
        error = UpstreamGarbled("The provider answered with a redirect, which is never followed.")
        error.code = "upstream_redirect"
    elif status >= 400:
        error = UpstreamRefused(message or "The provider refused the request.", status=status)
    else:
        error = UpstreamGarbled("The provider's answer could not be understood.")
    return error
