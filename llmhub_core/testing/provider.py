"""The suite that every provider must pass.

    class TestMine(ProviderSuite):
        provider = Mine
        settings = {"base_url": "https://api.example.com/v1"}

It asks for no network: a call is looked at as it would leave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from llmhub_core.contracts import Call, Fetched, Provider, Timeouts
from llmhub_core.testing.plugin import PluginSuite

SECRET = "test-Secret-0123456789abcdef"
OTHER_SECRET = "test-Another-fedcba9876543210"
BODY = b'{"model":"m","messages":[]}'


async def no_fetch(call: Call) -> Fetched:
    """Lent to providers that should need no call of their own."""
    raise AssertionError(f"a call of its own: {call.method} {call.url}")


class ProviderSuite(PluginSuite):
    """Subclass it, name the class and what its settings need, and pytest runs every test below against it.

    settings         values for Settings; what has a default may be left out
    takes_a_secret   False for places that need no key: then none may appear anywhere
    path             what a dialect asks for there
    """

    provider: ClassVar[type[Provider]]
    settings: ClassVar[Mapping[str, Any]] = {}
    takes_a_secret: ClassVar[bool] = True
    path: ClassVar[str] = "/some/path?alt=sse"

    @classmethod
    def plugin_class(cls) -> type[Provider]:
        return cls.provider

    @classmethod
    def make(cls, **changes: Any) -> Provider:
        return cls.provider(cls.provider.Settings(**{**cls.settings, **changes}))

    @classmethod
    def call(cls) -> Call:
        """As the gateway hands it over, before anything was prepared."""
        headers = {"content-type": "application/json", "x-forwarded-by-the-dialect": "yes"}
        return Call(cls.path, headers, BODY, timeouts=Timeouts(1.0, 2.0, 3.0, 4.0))

    @classmethod
    async def prepared(cls, secret: str, call: Call | None = None, **changes: Any) -> Call:
        """A call on its way; overridden where a provider fetches a token first."""
        return await cls.make(**changes).prepare(call or cls.call(), secret, no_fetch)

    @staticmethod
    def credentials(call: Call, bare: Call) -> set[str]:
        """Names of the headers that `call` has because of its secret: those that `bare`, the same without, lacks."""
        return {name for name, value in call.headers.items() if bare.headers.get(name) != value}

    def test_it_speaks_something(self) -> None:
        assert self.provider.speaks
        assert all(isinstance(dialect, str) for dialect in self.provider.speaks)

    async def test_a_call_has_exactly_one_credential(self) -> None:
        call, bare = await self.prepared(SECRET), await self.prepared("")
        assert len(self.credentials(call, bare)) == (1 if self.takes_a_secret else 0)

    async def test_the_secret_is_nowhere_else(self) -> None:
        call, bare = await self.prepared(SECRET), await self.prepared("")
        assert call.url == bare.url, "addresses are logged everywhere on the way: no secret, and none derived"
        assert SECRET not in call.url
        assert SECRET.encode() not in call.body

    async def test_keys_do_not_mix(self) -> None:
        provider = self.make()
        first = await provider.prepare(self.call(), SECRET, no_fetch)
        second = await provider.prepare(self.call(), OTHER_SECRET, no_fetch)
        keyless = await provider.prepare(self.call(), "", no_fetch)
        assert SECRET not in str([second.headers, second.url, keyless.headers, keyless.url])
        assert OTHER_SECRET not in str([first.headers, first.url, keyless.headers, keyless.url])

    async def test_the_rest_of_the_call_is_kept(self) -> None:
        call, given = await self.prepared(SECRET), self.call()
        assert (call.method, call.body, call.timeouts) == (given.method, given.body, given.timeouts)
        assert given.headers.items() <= call.headers.items()
        assert all(name == name.lower() and name.isascii() for name in call.headers)
        assert all("\n" not in value and "\r" not in value for value in call.headers.values())

    async def test_the_address_begins_with_the_base_url(self) -> None:
        provider = self.make()
        assert not provider.base_url.endswith("/")
        assert (await self.prepared(SECRET)).url == provider.base_url + self.path

    @pytest.mark.parametrize("slashes", ["/", "//"])
    async def test_slashes_behind_a_base_url_do_not_count(self, slashes: str) -> None:
        names = [field.name for field in dataclasses.fields(self.provider.Settings)]
        if "base_url" not in names:
            pytest.skip("its address is not a setting")
        changed = await self.prepared(SECRET, base_url=self.make().base_url + slashes)
        assert changed.url == (await self.prepared(SECRET)).url
        assert "//" not in urlsplit(changed.url).path

    async def test_its_models_can_be_asked_for(self) -> None:
        asked = self.make().models_call()
        if asked is None:
            pytest.skip("it lists no models")
        assert asked.url.startswith("/")
        call = await self.prepared(SECRET, asked)
        assert call.method == "GET"
        assert SECRET not in call.url
