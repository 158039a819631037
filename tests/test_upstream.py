"""The client that calls providers: requests, answers, content codings, TLS."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import inspect
import ipaddress
import ssl
import zlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from upstream_server import (
    CHUNKED,
    OK,
    WHOLE,
    Server,
    answering,
    call,
    client,
    late,
    on_both_loops,
    serving,
    settle,
    silent,
)

from llmhub_core.contracts.errors import BadRequest, UpstreamGarbled, UpstreamUnreachable
from llmhub_core.contracts.provider import Call, Timeouts
from llmhub_core.gateway.upstream import Upstream


async def test_answers_and_reuses() -> None:
    async with serving(answering(WHOLE, CHUNKED)) as server, client() as up:
        resp = await up.open(call(server, b'{"a":1}'))
        assert (resp.status, resp.headers["content-type"]) == (200, "text/plain")
        assert await resp.chunk() == b"hello world"
        assert await resp.chunk() == b""
        assert (up.open_connections, up.idle_connections) == (1, 1)
        resp.abort()  # nothing after the clean end
        assert up.idle_connections == 1
        answer = await up.fetch(call(server))
        assert (answer.status, answer.body) == (200, b"hello world")
        assert "x-t" not in answer.headers
        assert server.met == 1
        assert server.bodies[0] == b'{"a":1}'
        head = server.heads[0].decode()
        assert head.startswith("POST /v1/chat?x=1 HTTP/1.1\r\n")
        lines = head.lower().split("\r\n")
        assert f"host: 127.0.0.1:{server.url.split(':')[2].split('/')[0]}" in lines
        assert "accept-encoding: identity" in lines
        assert "content-length: 7" in lines
        assert "authorization: bearer sk-canary" in lines


async def test_our_own_headers_win() -> None:
    async with serving(answering(WHOLE)) as server, client() as up:
        one = call(server, b"abc")
        one.headers |= {"Content-Length": "1", "transfer-encoding": "chunked", "host": "evil", "accept-encoding": "br"}
        assert (await up.fetch(one)).body == b"hello world"
        head = server.heads[0].lower()
        assert head.count(b"content-length") == 1
        assert b"transfer-encoding" not in head
        assert b"evil" not in head
        assert server.bodies == [b"abc"]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "a\x7fb", "\ud800"])
async def test_bad_header_value(value: str) -> None:
    async with serving(answering(WHOLE)) as server, client() as up:
        one = call(server)
        one.headers["x-bad"] = "sk-canary" + value
        with pytest.raises(BadRequest) as caught:
            await up.open(one)
        assert caught.value.code == "invalid_value"
        assert "x-bad" in caught.value.message
        assert "canary" not in caught.value.message
        assert server.met == 0


@pytest.mark.parametrize("name", ["a b", "", "a:b", "a\r\nb", "ä", "a\0"])
async def test_bad_header_name_and_method(name: str) -> None:
    async with client() as up:
        with pytest.raises(BadRequest):
            await up.open(Call("http://127.0.0.1:9/", {name: "x"}, b""))
        with pytest.raises(BadRequest):
            await up.open(Call("http://127.0.0.1:9/", {}, b"", method=name + " x"))


async def test_header_values_that_are_fine() -> None:
    async with serving(answering(WHOLE)) as server, client() as up:
        one = call(server)
        one.headers |= {"x-tab": "a\tb", "x-title": "grün", "x-empty": ""}
        await up.fetch(one)
        assert b"x-tab: a\tb\r\nx-title: gr\xc3\xbcn\r\nx-empty: \r\n" in server.heads[0]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/", "http://", "//h/x", "", "http://u:p@h/", "http://h:0/", "http://h:99999/", "http://h:x/",
        "http://h/a b", "http://h/\r\nx", "http://[::1/", "http://hé/", "http:///x",
    ],
)  # fmt: skip
async def test_unusable_address(url: str) -> None:
    async with client() as up:
        with pytest.raises(UpstreamUnreachable) as caught:
            await up.open(Call(url, {}, b""))
        assert caught.value.code == "upstream_unreachable"
        assert caught.value.__context__ is None


async def test_get_without_body_and_with_large_body() -> None:
    async with serving(answering(WHOLE)) as server, client() as up:
        assert (await up.fetch(call(server, b"", method="GET"))).status == 200
        assert b"content-length" not in server.heads[0].lower()
        large = bytes(range(256)) * 20_000
        assert (await up.fetch(call(server, large))).status == 200
        assert server.bodies[1] == large
        assert server.met == 1


async def test_headers_joined_and_cookies_dropped() -> None:
    answer = OK + b"A: 1\r\na:  2 \r\nSet-Cookie: s=1\r\nE:\r\nContent-Length:  0 \r\n\r\n"
    async with serving(answering(answer)) as server, client() as up:
        assert dict((await up.fetch(call(server))).headers) == {"a": "1, 2", "e": "", "content-length": "0"}


async def test_redirect_is_an_answer() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(answer)) as server, client() as up:
        assert (await up.fetch(call(server))).status == 302
        assert len(server.heads) == 1


async def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with serving(answering(interim + WHOLE)) as server, client() as up:
        answer = await up.fetch(call(server))
        assert (answer.status, answer.body) == (200, b"hello world")
        assert "link" not in answer.headers
        assert up.idle_connections == 1


@pytest.mark.parametrize(
    ("method", "answer", "kept"),
    [
        ("HEAD", OK + b"Content-Length: 10\r\n\r\n", False),
        ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", False),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", True),
        ("POST", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False),
        ("POST", OK + b"Content-Length: 0\r\n\r\n", True),
    ],
)
async def test_no_body(method: str, answer: bytes, kept: bool) -> None:
    async with serving(answering(answer)) as server, client() as up:
        assert (await up.fetch(call(server, b"", method=method))).body == b""
        assert up.idle_connections == int(kept)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\n\r\nhi",
        OK + b"\r\nhi",
    ],
)
async def test_connections_that_end(answer: bytes) -> None:
    async with serving(answering(answer, keep=False)) as server, client() as up:
        for _ in range(2):
            assert (await up.fetch(call(server))).body == b"hi"
            assert up.idle_connections == 0
        assert server.met == 2


async def test_too_large_for_read() -> None:
    async with serving(answering(WHOLE)) as server, client() as up:
        assert (await up.fetch(call(server), limit=11)).body == b"hello world"
        with pytest.raises(UpstreamGarbled):
            await up.fetch(call(server), limit=10)


def coded(coding: bytes, body: bytes) -> bytes:
    return OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(body)) + body


TEXT = b"data: {}\n\n" * 100_000


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    "answer",
    [
        coded(b"gzip", gzip.compress(TEXT)),
        coded(b"X-GZIP", gzip.compress(TEXT)),
        coded(b"deflate", zlib.compress(TEXT)),
        coded(b"deflate", bare_deflate(TEXT)),
        coded(b"identity", TEXT),
    ],
    ids=["gzip", "x-gzip", "deflate", "bare deflate", "identity"],
)
async def test_codings(answer: bytes) -> None:
    async with serving(answering(answer)) as server, client() as up:
        got = await up.fetch(call(server))
        assert got.body == TEXT
        assert "content-encoding" not in got.headers
        assert up.idle_connections == 1


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(TEXT)[:-1], gzip.compress(TEXT)[:-9], gzip.compress(TEXT)[:5], gzip.compress(b"a") + b"x",
        gzip.compress(b"") * 5000, gzip.compress(b"a") + gzip.compress(b"b"), TEXT,
    ],
    ids=["cut", "cut more", "cut early", "rubbish behind", "empty members", "two members", "plain"],
)  # fmt: skip
async def test_damaged_gzip(body: bytes) -> None:
    async with serving(answering(coded(b"gzip", body))) as server, client() as up:
        resp = await up.open(call(server))
        for _ in range(2):
            with pytest.raises(UpstreamGarbled):
                await resp.read(1 << 30)


async def test_gzip_of_nothing() -> None:
    async with serving(answering(coded(b"gzip", b""), coded(b"gzip", gzip.compress(b"")))) as server, client() as up:
        assert (await up.fetch(call(server))).body == b""
        assert (await up.fetch(call(server))).body == b""


async def test_gzip_bomb_comes_in_bounded_steps_and_ends() -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    async with serving(answering(coded(b"gzip", bomb))) as server, client() as up:
        resp = await up.open(call(server))
        got = 0
        with pytest.raises(UpstreamGarbled):
            while piece := await resp.chunk():
                assert len(piece) <= 256 * 1024
                got += len(piece)
        assert got <= 64 * 1024 * 1024
        with pytest.raises(UpstreamGarbled):
            await up.fetch(call(server))  # 8 MiB are fetch's own limit


class Authority:
    """A certificate authority for one test run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.cert = self._sign(self.name, self.key.public_key(), [], True)
        self.trusted = ssl.create_default_context(cadata=self.cert.public_bytes(serialization.Encoding.PEM).decode())

    def _sign(self, name, public, alternatives, authority) -> x509.Certificate:  # type: ignore[no-untyped-def]
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, *hosts: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
        cert = self._sign(name, key.public_key(), names, False)
        path = self.folder / f"{hosts[0]}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + cert.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


async def test_tls_works_and_is_reused(authority: Authority) -> None:
    spoken: list[object] = []

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(WHOLE, CHUNKED)(server, reader, writer)

    async with (
        serving(script, authority.server("127.0.0.1", "localhost")) as server,
        client(tls=authority.trusted) as up,
    ):
        for body in (b"small", b"x" * 3_000_000, b""):
            assert (await up.fetch(call(server, body))).body == b"hello world"
        assert (server.met, up.idle_connections) == (1, 1)
        assert server.bodies == [b"small", b"x" * 3_000_000, b""]
        assert spoken == ["http/1.1"]
        one = call(server)
        one.url = one.url.replace("127.0.0.1", "localhost")
        assert (await up.fetch(one)).body == b"hello world"


async def test_tls_slow_consumer_and_cut(authority: Authority) -> None:
    body = b"x" * 4_000_000
    answer = OK + b"Content-Length: 4000001\r\n\r\n" + body
    async with (
        serving(answering(answer, keep=False), authority.server("127.0.0.1")) as server,
        client(tls=authority.trusted) as up,
    ):
        resp = await up.open(call(server))
        await asyncio.sleep(0.1)
        assert resp._size <= 1024 * 1024
        got = 0
        with pytest.raises(UpstreamGarbled, match="broke off"):
            while piece := await resp.chunk():
                got += len(piece)
        assert 0 < got <= len(body)


async def test_tls_wrong_host(authority: Authority) -> None:
    async with (
        serving(answering(WHOLE), authority.server("other.example")) as server,
        client(tls=authority.trusted) as up,
    ):
        await refused(up, server)


async def test_tls_unknown_authority(authority: Authority) -> None:
    async with serving(answering(WHOLE), authority.server("127.0.0.1")) as server, client(tls=None) as up:
        await refused(up, server)


async def test_tls_to_a_plain_server(authority: Authority) -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(WHOLE)

    async with serving(script) as server, client() as up:
        server.url = server.url.replace("http:", "https:")
        await refused(up, server)


async def refused(up: Upstream, server: Server) -> None:
    with pytest.raises(UpstreamUnreachable) as caught:
        await up.open(call(server))
    assert caught.value.code == "upstream_tls"
    assert caught.value.__context__ is None
    assert server.bodies == []
    await settle(lambda: up.open_connections == 0)


async def test_tls_handshake_that_stalls() -> None:
    async with serving(silent) as server, client() as up:
        server.url = server.url.replace("http:", "https:")
        await late(up, call(server, timeouts=Timeouts(connect=0.15)), 0.14, 0.5)


async def test_tls_cancel(authority: Authority) -> None:
    async with serving(silent, authority.server("127.0.0.1")) as server, client(tls=authority.trusted) as up:
        task = asyncio.create_task(up.fetch(call(server)))
        await settle(lambda: len(server.bodies) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 0.2)
        assert up.open_connections <= 1


for _name, _test in list(globals().items()):
    if _name.startswith("test_") and inspect.iscoroutinefunction(_test):
        globals()[_name] = on_both_loops(_test)
