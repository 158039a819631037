"""A configuration to look at, and browsers that sign in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from llmhub_core.contracts.people import PeopleStore
from llmhub_core.testing.house import House

PASSWORD = "four words in one"

CONFIG = """
[[providers]]
name = "echo"
kind = "echo"
  [[providers.keys]]
  name = "main"
  secret = "sk-canary-0123456789abcdef-WXYZ"
  limits = { rpm = 60, tpd = 100000, concurrency = 4 }
  [[providers.keys]]
  name = "spare"
  secret = "sk-other-0123456789abcdef"
  priority = 2

[[routes]]
model = "fast"
deployments = [{ provider = "echo", model = "small", input_price = 1, output_price = 2 }]

[[tokens]]
name = "game-server"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
limits = { rpm = 60, budget = "20 USD/month" }

[observers.prometheus]
"""


def people_of(house: House) -> PeopleStore:
    people = house.hub.store.people
    assert people is not None
    return people


@dataclass
class Browser:
    """What a browser does: keeps cookies, says where its requests come from."""

    url: str
    session: aiohttp.ClientSession
    csrf: str = ""
    always: dict[str, str] = field(default_factory=dict)
    """Headers of every request: a script's, which sends no origin and keeps no cookies."""

    async def ask(
        self, method: str, path: str, *, json: Any = None, headers: dict[str, str] | None = None, **more: Any
    ) -> aiohttp.ClientResponse:
        told = {"origin": self.url, "x-csrf-token": self.csrf} if method not in ("GET", "HEAD") else {}
        told = self.always or told
        if json is not None:
            more["json"] = json
        answer = await self.session.request(
            method, self.url + path, headers={**told, **(headers or {})}, allow_redirects=False, **more
        )
        await answer.read()
        return answer

    async def sign_in(self, name: str, password: str = PASSWORD) -> aiohttp.ClientResponse:
        answer = await self.ask("POST", "/admin/api/session", json={"name": name, "password": password})
        if answer.status == 200:
            self.csrf = (await answer.json())["csrf"]
        return answer

    async def form(self, path: str, fields: dict[str, str], **headers: str) -> aiohttp.ClientResponse:
        """As a page's form is sent."""
        return await self.ask("POST", path, data={"csrf": self.csrf, **fields}, headers=headers)


MakeBrowser = Callable[..., Awaitable[Browser]]
