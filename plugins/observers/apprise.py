"""Alerts by mail, chat, push and a hundred other ways, through Apprise (https://github.com/caronc/apprise).

Needs the package: ``pip install llm-hub[apprise]``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from llmhub_core.contracts import NotDelivered, Notice, Observer, StartError, hookimpl

TITLES = {"open": "", "reminder": "Still: ", "recovered": "Over: ", "test": "Test: "}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseSettings:
    """Where notices go."""

    urls: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata={
            "help": "Apprise's addresses, such as mailto://… or tgram://…, each as env:NAME, file:/path or itself.",
            "secret": True,
            "required": True,
        },
    )


class AppriseChannel(Observer):
    """Apprise waits where it sends, so it sends in a thread."""

    name = "apprise"
    Settings = AppriseSettings
    _targets: list[Any]

    async def start(self) -> None:
        if find_spec("apprise") is None:
            raise StartError("Alerts through Apprise need its package: pip install 'llm-hub[apprise]'")
        # Apprise logs addresses with parts of their passwords, and what it cannot send.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._targets = await asyncio.to_thread(_targets, self.settings.urls)

    async def deliver(self, notice: Notice) -> None:
        # Whoever has it already gets it again when another did not: twice is better than never.
        alert, recovered = notice.alert, notice.kind == "recovered"
        body = alert.what if recovered else f"{alert.what}\n{alert.advice}"
        if notice.hub:
            body += f"\n{notice.hub}/{alert.page}"
        kind = "success" if recovered else "info" if notice.kind == "test" else _KINDS[alert.severity]
        title = f"llm-hub: {TITLES[notice.kind]}{alert.rule.replace('_', ' ')}"
        sent = await asyncio.gather(*(asyncio.to_thread(_send, each, body, title, kind) for each in self._targets))
        if not all(sent):
            raise NotDelivered(f"{sent.count(False)} of {len(sent)} addresses did not take it.")


_KINDS = {"error": "failure", "warning": "warning"}


def _targets(urls: Iterable[str]) -> list[Any]:
    import apprise

    targets = []
    for number, url in enumerate(urls):
        target = apprise.Apprise()
        if not target.add(url):
            raise StartError(f"observers.apprise.urls[{number}] is no address that Apprise knows.")
        targets.append(target)
    return targets


def _send(target: Any, body: str, title: str, kind: str) -> bool:
    return bool(target.notify(body=body, title=title, notify_type=kind))


@hookimpl
def register_observers() -> Iterable[type[Observer]]:
    """Alerts through Apprise."""
    return [AppriseChannel]
