"""How the control plane says no: a status, a code for programs, a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmhub_core.contracts.errors import as_it_was
from llmhub_core.hub.settings_words import nearest, quoted


class Denied(Exception):
    """`advice` says what would help; `retry_after` is in seconds; `field` is what of a form or body it is about, and
    `faults` what is wrong with each part of it, where more than one may be."""

    __reduce__ = as_it_was

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        advice: str = "",
        *,
        retry_after: float | None = None,
        field: str = "",
        faults: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.advice = advice
        self.retry_after = retry_after
        self.field = field
        self.faults = dict(faults or {})


def not_signed_in() -> Denied:
    return Denied(401, "not_signed_in", "You are not signed in, or your session has ended.", "Sign in again.")


def bad_token() -> Denied:
    return Denied(
        401,
        "invalid_token",
        "This admin token is unknown, revoked, or too old, or its user may not sign in.",
        "Make another: POST /admin/api/admin-tokens, or on the host: llm-hub admin-token add NAME.",
    )


def needs_person() -> Denied:
    return Denied(
        403, "needs_person", "An admin token cannot do this; it takes somebody who is signed in.", "Sign in to do it."
    )


def forbidden(role: str) -> Denied:
    return Denied(
        403, "forbidden", f"This needs the role {role}, which you do not have.", "Ask an owner of this hub to do it."
    )


def foreign() -> Denied:
    return Denied(
        403,
        "foreign_request",
        "This request does not come from a page of this hub.",
        "Reload the page and try again; behind a proxy, set [server] public_url to the address that browsers use.",
    )


def failed() -> Denied:
    advice = "Try again; if it stays so, see the log of the hub."
    return Denied(500, "failed", "This could not be done at the moment.", advice)


def database_away() -> Denied:
    return Denied(
        503,
        "database_away",
        "The database does not answer.",
        "Callers are served meanwhile, and what they use waits in the journal. See to the database, then look again; "
        "the log of the hub says more.",
        retry_after=5,
    )


def not_found(what: str, advice: str = "") -> Denied:
    advice = advice or "Check the address; it may be gone by now."
    return Denied(404, "not_found", f"There is no {what} here.", advice)


def unusable(message: str, advice: str = "", field: str = "", faults: Mapping[str, str] | None = None) -> Denied:
    return Denied(400, "invalid_request", message, advice, field=field, faults=faults)


def no_such(field: str, value: str, valid: Iterable[str]) -> Denied:
    """`value` is none of those that there are, of which the nearest is told."""
    text = f"{field} cannot be {quoted(value[:64])}{nearest(value[:64], valid)}"
    return unusable(text if text.endswith("?") else f"{text}.", field=field)
