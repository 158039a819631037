"""Where providers may be: judged by the address that is connected to, whatever the name, and however it is spelt."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from houses import ask, one_provider

from llmhub_core.contracts import Call, SettingsError, UpstreamUnreachable
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.networks import EVERYWHERE, Networks, a_network, kind_of
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

ADDRESSES = {
    "public": "8.8.8.8 1.1.1.1 2606:4700::1111 ::ffff:8.8.8.8 2002:808:808:: 64:ff9b::808:808",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.9.9 192.168.1.1 100.64.0.1 198.18.0.1 fc00::1 fd12::1 "
    "::ffff:10.0.0.1 ::ffff:c0a8:101 2002:a00:1:: 64:ff9b::a00:1 64:ff9b:1::a00:1 ::10.0.0.1 192.0.2.1 2001:db8::1",
    "loopback": "127.0.0.1 127.9.9.9 0.0.0.0 ::1 :: ::ffff:127.0.0.1 ::ffff:0.0.0.0 2002:7f00:1:: 64:ff9b::7f00:1",
    "link-local": "169.254.169.254 169.254.0.1 169.254.170.2 fe80::1 fe80::1%1 ::ffff:169.254.169.254 2002:a9fe:a9fe:: "
    "64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe fd00:ec2::254 fd00:ec2::23 fd20:ce::254 "
    "fd00:c1::a9fe:a9fe fd00:42::42 100.100.100.200 168.63.129.16 192.0.0.192 "
    "::ffff:100.100.100.200 ::169.254.169.254",
    "": "224.0.0.1 239.255.255.250 255.255.255.255 240.0.0.1 ff02::1 ::ffff:224.0.0.1",
}
OTHERS = [(kind, address) for kind, addresses in ADDRESSES.items() for address in addresses.split()]


@pytest.mark.parametrize(("kind", "address"), OTHERS)
def test_each_address_is_of_one_kind(kind: str, address: str) -> None:
    assert (kind_of(ipaddress.ip_address(address)) or "") == kind
    for word in ("public", "private", "loopback", "link-local"):
        assert Networks((word,)).allow(address) == (word == kind)
    assert EVERYWHERE.allow(address)
    assert not Networks(()).allow(address)


def test_networks_of_ones_own() -> None:
    own = Networks(("public", a_network("10.1.0.0/16"), a_network("fd12::/64"), a_network("127.0.0.1")))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::9", "127.0.0.1", "8.8.8.8"):
        assert own.allow(address), address
    for address in ("10.2.0.1", "fd12:1::", "127.0.0.2", "169.254.169.254", "nonsense", ""):
        assert not own.allow(address), address
    for wrong in ("privat", "10.1.0.1/16", "10.1.0.0/33", "host.internal", ""):
        with pytest.raises(ValueError, match=r"must be public, private"):
            a_network(wrong)


SPELLINGS = (
    "127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.0.0.1 017700000001 0177.0.0.1 127.0.0.1. localhost localhost. "
    "LOCALHOST 0.0.0.0 0 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:0:0:1] 127.0.0.2 127.255.255.254"
)


@pytest.mark.parametrize("host", SPELLINGS.split())
async def test_no_spelling_leads_where_it_may_not(host: str) -> None:
    """Something listens on all of this machine's addresses, and is never met."""
    met = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(host)
        writer.close()

    server = await asyncio.start_server(meet, ["0.0.0.0", "::"] if socket.has_ipv6 else "0.0.0.0", 0)
    up = Upstream(networks=Networks(("public", "private", "link-local")))
    try:
        for listening in server.sockets:
            with pytest.raises(UpstreamUnreachable) as refused:
                await up.open(Call(f"http://{host}:{listening.getsockname()[1]}/v1", {}, b"{}"))
            assert refused.value.code in ("upstream_network", "upstream_dns")
            assert host not in refused.value.message
    finally:
        await up.stop()
        server.close()
        await server.wait_closed()
    assert met == []


async def test_a_name_is_looked_up_once_and_led_by_what_was_judged(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a name server answers that means harm: first an address that is allowed, then another."""
    upstream.script(json_answer({}))
    port = int(upstream.url.rpartition(":")[2])
    loop, asked = asyncio.get_running_loop(), []

    async def rebinding(host: str, port: int, **how: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(loop, "getaddrinfo", rebinding)
    up = Upstream(networks=Networks(("loopback",)))
    try:
        call = Call(f"http://harmless.example:{port}/", {}, b"{}")
        answer = await up.fetch(call)
        assert answer.status == 200
        assert asked == ["harmless.example"]
        assert upstream.requests[0].headers["host"] == f"harmless.example:{port}"
    finally:
        await up.stop()
    up = Upstream(networks=Networks(("loopback",)))
    try:
        with pytest.raises(UpstreamUnreachable) as refused:
            await up.fetch(call)
        assert (refused.value.code, len(upstream.requests)) == ("upstream_network", 1)
    finally:
        await up.stop()


async def test_of_several_addresses_the_allowed_ones_are_tried(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script(json_answer({}))
    port = int(upstream.url.rpartition(":")[2])

    async def several(host: str, port: int, **how: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("169.254.169.254", "127.0.0.9", "127.0.0.1")  # nobody is at the second
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", several)
    up = Upstream(networks=Networks(("loopback",)))
    try:
        assert (await up.fetch(Call(f"http://several.example:{port}/", {}, b"{}"))).status == 200
    finally:
        await up.stop()


async def test_callers_are_told_and_the_provider_is_not_met(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    config = '[upstream]\nnetworks = ["public"]\n' + one_provider(upstream.url.replace("127.0.0.1", "localhost"))
    async with House(config) as house:
        answer = await ask(client, house.url)
        assert answer.status == 502
        error = (await answer.json())["error"]
        assert (error["code"], error["source"]) == ("upstream_network", "network")
        assert "upstream.networks" in error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200"])
async def test_an_address_that_is_not_allowed_is_not_even_saved(host: str, tmp_path: Path) -> None:
    config = one_provider(f"http://{host}")
    with pytest.raises(SettingsError, match=r"providers\[0\]\.base_url: is in a network that upstream\.networks"):
        await House(config, folder=tmp_path).__aenter__()
    async with House('[upstream]\nnetworks = ["link-local"]\n' + config, folder=tmp_path):
        pass
