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
from llmhub_core.dashboard.pages import PAGES
from llmhub_core.testing.house import House

PASSWORD = "four words in one"
OPEN = {"/sign-in", "/setup"}
ROLES = ("viewer", "admin", "owner")

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules that see colours; to all others a dark page is the same as a light one."""
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
        assert self.wrong == [], "\n".join(self.wrong)

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def accessibility(self, colours_only: bool = False) -> list[str]:
        """What axe finds, one line each. Loaded by the debugger, which the page's policy does not concern."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE)
        only = {"type": "rule", "values": COLOURS} if colours_only else {"type": "tag", "values": TAGS}
        found = await self.page.evaluate("only => axe.run({runOnly: only, resultTypes: ['violations']})", only)
        return [
            f"{violation['id']}: {node['html'][:160]} — {node['failureSummary'][:300]}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    async def thin_out(self) -> None:
        """Rows and parts beyond the eighth are like those before; axe takes its time for each."""
        await self.page.evaluate(
            "for (const each of document.querySelectorAll('tr:nth-child(n+9), .fold:nth-of-type(n+9)')) each.remove()"
        )

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


async def paths(house: House) -> list[str]:
    """Every page that can be opened by its address alone, one of each that names something, and some that fail."""
    hub, people = house.hub, house.hub.store.people
    assert people is not None
    found = [page.path for page in PAGES if page.method == "GET" and "{" not in page.path and page.path not in OPEN]
    found += [f"/{kind}?add=1" for kind in ("keys", "providers", "routes", "tokens")]
    found += ["/keys?add=many", "/settings?only=set", "/quotas?find=nobody"]
    found += [f"/users/{user.id}" for user in await people.users()][:1]
    # What the file says comes first, what was added by hand last.
    found += _ends([f"/providers/{name}" for name in hub.catalog.places])
    found += _ends([f"/routes/{name}" for name in hub.catalog.routes])
    found += [f"/keys/{key.id}" for place in _ends([*hub.catalog.places.values()]) for key in place.keys[:3]]
    found += _ends([f"/tokens/{caller.name}" for caller in hub.tokens.callers])
    if latest := await hub.store.latest(300):
        hard = max(latest, key=lambda record: (record.outcome == "served", len(record.attempts)))
        found += [f"/requests/{hard.id}", "/usage?by=caller&from=30d", "/usage?by=tag:team&from=30d"]
        found[found.index("/requests")] = "/requests?limit=12"
    return [*found, "/requests?model=none", "/requests/none", "/usage?by=nonsense"]


def _ends(found: list[Any]) -> list[Any]:
    return found if len(found) < 2 else [found[0], found[-1]]


async def watched(context: BrowserContext, url: str) -> Watched:
    made = Watched(await context.new_page(), url)
    await made.start()
    return made


Visit = Callable[..., Awaitable[Watched]]
