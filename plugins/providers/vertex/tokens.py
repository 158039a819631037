"""Access tokens for Google Cloud by google-auth, which is imported on first use; its calls are made by the hub's
client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from llmhub_core.contracts import Call, Fetch, HubError, UpstreamDenied, UpstreamUnreachable, load_json

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_NONE = "No usable Google Cloud credentials were found for the provider; the operator has been told."


class Tokens:
    """One object serves all keys of its table: each key's credentials are kept under its own secret."""

    def __init__(self) -> None:
        self._known: dict[str, _Credentials] = {}

    async def headers(self, secret: str, fetch: Fetch) -> dict[str, str]:
        """What authorizes a call for some minutes at least. UpstreamDenied if the credentials are refused or none,
        UpstreamUnreachable (or what else befell the call) if nobody could be asked."""
        known = self._known.setdefault(secret, _Credentials())
        if known.token is None or known.credentials.expired:
            # One refresh at a time: whoever waited finds the token there.
            async with known.lock:
                if known.token is None or known.credentials.expired:
                    loop = asyncio.get_running_loop()
                    known.token = await asyncio.to_thread(known.refresh, secret, _Transport(loop, fetch))
        headers = {"authorization": f"Bearer {known.token}"}
        billed = getattr(known.credentials, "quota_project_id", None)
        return headers | ({"x-goog-user-project": billed} if billed else {})


class _Credentials:
    """google-auth's object, made when it is first needed, and the token that it last gave."""

    def __init__(self) -> None:
        self.credentials: Any = None
        self.token: str | None = None
        self.lock = asyncio.Lock()

    def refresh(self, secret: str, transport: _Transport) -> str:
        """In a thread: google-auth waits for its answers."""
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

        try:
            if self.credentials is None:
                self.credentials = _load(secret, transport)
            self.credentials.refresh(transport)
        except HubError:
            raise
        except (DefaultCredentialsError, GoogleAuthError, ValueError) as error:
            failed = transport.failed
            # Its text may name accounts and paths: they are for the record, not for callers.
            raise failed or UpstreamDenied(_NONE).said(detail=type(error).__name__) from None
        token = self.credentials.token
        if not isinstance(token, str) or not token:
            raise UpstreamDenied(_NONE)
        return token


_MAKERS: Mapping[str, tuple[str, str]] = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "from_info"),
}
"""By the `type` of the JSON: where its `Credentials` are and how they are made. Kinds that run programs are none."""


def reads_machine(secret: str) -> bool:
    """Whether these credentials are read from a file of the machine, or from an address that only it can ask."""
    try:
        info = load_json(secret)
    except ValueError:
        return False
    return isinstance(info, dict) and info.get("type") == "external_account"


def _load(secret: str, transport: Any) -> Any:
    if not secret:
        import google.auth

        return google.auth.default(scopes=_SCOPES, request=transport)[0]
    info = load_json(secret)
    kind = info.get("type") if isinstance(info, dict) else None
    if not isinstance(kind, str) or kind not in _MAKERS:
        raise ValueError("no credentials of a known type")
    module, maker = _MAKERS[kind]
    return getattr(import_module(module).Credentials, maker)(info, scopes=_SCOPES)


@dataclass(frozen=True, slots=True)
class _Response:
    """What google-auth reads of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class _Transport:
    """google-auth's `Request`: called in its thread, it has the call made on the hub's loop, with the hub's client."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fetch: Fetch) -> None:
        self._loop = loop
        self._fetch = fetch
        self.failed: HubError | None = None

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> _Response:
        from google.auth.exceptions import TransportError

        data = body.encode() if isinstance(body, str) else body or b""
        names = {name.lower(): value for name, value in (headers or {}).items()}
        asked = asyncio.run_coroutine_threadsafe(self._ask(Call(url, names, data, method=method)), self._loop)
        try:
            return asked.result(timeout or 30.0)
        except HubError as error:
            self.failed = error
            raise TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]
        except TimeoutError:
            asked.cancel()
            self.failed = UpstreamUnreachable("The provider's credentials could not be renewed in time; try again.")
            raise TransportError("timeout") from None  # type: ignore[no-untyped-call]

    async def _ask(self, call: Call) -> _Response:
        answer = await self._fetch(call)
        return _Response(answer.status, answer.headers, answer.body)
