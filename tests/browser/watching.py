"""A browser's page that remembers everything a visitor would not see: errors, refused scripts, where requests went."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import BrowserContext, Page, Request, Response

from llmhub_core.admin.accounts import Accounts
from llmhub_core.testing.house import House

PASSWORD = "four words in one"
ROLES = ("viewer", "admin", "owner")

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

CONFIG = """
[[providers]]
name = "echo"
kind = "echo"
models = ["small"]
  [[providers.keys]]
  name = "main"
  secret = "sk-canary-0123456789abcdef-WXYZ"
  limits = { rpm = 60 }
  [[providers.keys]]
  name = "spare"
  secret = "sk-other-0123456789abcdef"
[[routes]]
model = "fast"
deployments = [{ provider = "echo", model = "small" }]
"""
"""A hub to act on."""

VIOLATIONS = """addEventListener('securitypolicyviolation',
    event => console.error('CSP: ' + event.violatedDirective + ' ' + event.blockedURI))"""


@dataclass
class Watched:
    """`page` is Playwright's; `wrong` what must not have happened since the last `forget`."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Beginnings of console messages that a test means to cause."""

    async def start(self) -> None:
        page = self.page
        await page.add_init_script(VIOLATIONS)
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("response", self._response)

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(self.expected or ("\0",)):
            self.wrong.append(f"{kind}: {text}")

    async def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        self.asked.append(request)
        if not request.url.startswith((self.url + "/", "data:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    async def _response(self, response: Response) -> None:
        if response.request.resource_type in ("document", "stylesheet", "script", "image"):
            try:
                self.sizes.append(len(gzip.compress(await response.body())))
            except Exception:  # a redirect or an answer of a page that is left has no body any more
                self.sizes.append(0)

    def forget(self) -> None:
        self.wrong, self.asked, self.sizes = [], [], []

    async def go(self, path: str) -> Response:
        response = await self.page.goto(self.url + path)
        assert response is not None
        return response

    async def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """As the form does, and on to the first page."""
        sent = {"name": name, "password": password, "next": "/"}
        await self.page.context.request.post(self.url + "/sign-in", form=sent, headers={"origin": self.url})
        await self.go("/")
        assert await self.page.locator("body.signed").count() == 1, f"{name} was not let in"

    def well(self) -> None:
        assert self.wrong == []

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def accessibility(self) -> list[str]:
        """What axe finds, one line each. Loaded by the debugger, which the page's policy does not concern."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE)
        found = await self.page.evaluate(
            "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})", TAGS
        )
        return [
            f"{violation['id']}: {node['html'][:160]} — {node['failureSummary'][:300]}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    async def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(
            await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )


async def add_people(house: House) -> None:
    """A viewer, an admin and an owner, each named after the role."""
    assert house.hub.store.people is not None
    accounts = Accounts(house.hub.store.people)
    for role in ROLES:
        await accounts.add(role, role, PASSWORD)  # type: ignore[arg-type]
    accounts.close()


async def ask(house: House, model: str = "fast", token: str = "") -> int:
    """The status of one call, which is on record afterwards."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = house.url + "/v1/chat/completions"
    async with aiohttp.ClientSession() as client, client.post(url, json=body, headers=headers) as answer:
        await answer.read()
        await house.records()
        return answer.status


async def watched(context: BrowserContext, url: str) -> Watched:
    made = Watched(await context.new_page(), url)
    await made.start()
    return made


Visit = Callable[..., Awaitable[Watched]]
