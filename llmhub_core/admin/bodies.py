"""What was asked and answered, word for word, where it is kept: for owners, and no look at it goes unseen."""

from __future__ import annotations

from typing import Any

from llmhub_core.admin import past
from llmhub_core.admin.calls import Endpoint, Nothing
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.admin.views import BodyTextView, BodyView, Done
from llmhub_core.contracts.bodies import BodyStore
from llmhub_core.hub.bodies import opened
from llmhub_core.hub.body_text import BodyText
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.settings_values import show_seconds
from llmhub_core.hub.vault import CannotOpen

OFF = "Bodies are not kept: [bodies] store in the configuration is none."


async def body(visit: Visit, asked: Nothing) -> BodyView:
    """Denied if the request is not known, or if what is kept of it cannot be opened."""
    id, hub = visit.part("id"), visit.control.hub
    await past.known(visit.control.hub.store, id)
    store = hub.store.bodies
    kept = None if store is None else await store.find_body(id)
    if kept is None:
        return BodyView(id=id, why=_why_none(hub))
    try:
        bodies = opened(hub.vault, kept)
    except CannotOpen as error:
        await _note(visit, "body.read", id, "failed")
        raise Denied(
            409, "cannot_be_opened", f"What is kept of this request cannot be opened: it {error}.",
            "Give the hub the root key that it was sealed with.",
        ) from None  # fmt: skip
    await _note(visit, "body.read", id)
    return BodyView(
        id=id, request=_view(bodies.request), answer=None if bodies.answer is None else _view(bodies.answer)
    )


async def forget(visit: Visit, asked: Nothing) -> Done:
    id = visit.part("id")
    await past.known(visit.control.hub.store, id)
    store: BodyStore | None = visit.control.hub.store.bodies
    await _note(visit, "body.forget", id)
    return Done(done=store is not None and await store.forget_body(id))


async def _note(visit: Visit, action: str, id: str, result: Any = "done") -> None:
    """Before anybody sees it: who acts unseen does not act."""
    await visit.control.accounts.note(visit.actor, visit.address, action, id, result)


def _why_none(hub: Hub) -> str:
    settings = hub.settings.bodies
    if settings.store == "none":
        return OFF
    which = "requests that were not served" if settings.store == "failed" else "those that [bodies] chooses"
    return f"Nothing is kept of this request: bodies are kept of {which}, for {show_seconds(settings.keep)}."


def _view(text: BodyText) -> BodyTextView:
    return BodyTextView(**{name: getattr(text, name) for name in BodyTextView.__struct_fields__})


ENDPOINTS = (
    Endpoint(
        "GET", "/requests/{id}/body", "owner", body, BodyView,
        "What was asked and answered, where it is kept; each look is noted in the audit.",
    ),
    Endpoint("DELETE", "/requests/{id}/body", "owner", forget, Done, "Let go of what is kept of it."),
)  # fmt: skip
