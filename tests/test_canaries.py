"""Forty secrets, planted everywhere a hub has secrets, and looked for everywhere it speaks or writes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from databases import needs_postgresql
from houses import COMPLETION, chunk
from test_cli import OURS, clean, run, serve_in_vain

from llmhub_core.contracts import Entry
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.tokens import ADMIN_PREFIX, PURPOSE, digest, keyed_digest, mint
from llmhub_core.hub.vault import RootKey, Secret
from llmhub_core.hub.vault.opening import new_key, open_vault
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

__all__ = ["clean"]

SHORTEST = 12
"""Characters of a secret that may not be seen anywhere."""


class Canaries(dict[str, str]):
    """Secrets by what they are."""

    def plant(self, what: str, value: str = "", prefix: str = "") -> str:
        assert what not in self
        self[what] = value or prefix + secrets.token_hex(20)
        return self[what]

    def found_in(self, where: bytes, digested: Iterable[str] = ()) -> list[str]:
        """Which of them can be seen: any twelve characters of one, one of them encoded, or digested but for those."""
        return [
            what
            for what, value in self.items()
            if any(needle in where for needle in needles(value))
            or (what not in digested and hashlib.sha256(value.encode()).hexdigest().encode() in where)
        ]


def needles(value: str) -> set[bytes]:
    raw = value.encode()
    found = {raw[at : at + SHORTEST] for at in range(len(raw) - SHORTEST + 1)}
    found.add(quote(value, safe="").encode())
    for shift in range(3):
        # base64 at each of the three alignments, without the characters that the neighbours have a part in
        coded = base64.b64encode(b"\0" * shift + raw)
        found.add(coded[4 if shift else 0 : -4])
    return found


@dataclass
class Channels:
    """Everything that was said or written, by where."""

    said: dict[str, bytes] = field(default_factory=dict)

    def note(self, where: str, what: bytes | str) -> None:
        data = what if isinstance(what, bytes) else what.encode("utf-8", "replace")
        self.said[where] = self.said.get(where, b"") + data + b"\n"


def test_the_search_finds_what_it_should() -> None:
    canaries = Canaries()
    value = canaries.plant("one", prefix="sk-")
    assert not canaries.found_in(b"sk-" + value[-4:].encode())
    for seen in (
        value,
        value[5:17],
        quote(value),
        hashlib.sha256(value.encode()).hexdigest(),
        base64.b64encode(value.encode()).decode(),
        base64.b64encode(f"user:{value}".encode()).decode(),
        json.dumps({"a": [value]}),
    ):
        assert canaries.found_in(seen.encode()) == ["one"], seen


# what providers say


def echo_everything(canaries: Mapping[str, str], request: ReceivedRequest) -> Answer:
    """An upstream that repeats every provider's secret in its answers; the model's name says in which way."""
    known = [value for what, value in canaries.items() if what.startswith("provider key")]
    sent = " ".join([*request.headers.values(), *request.query.values()])
    mine = [value for value in known if value in sent]
    text = f"Incorrect API key provided: {' '.join(mine)}. You sent {sent}"
    if "models" in request.path and request.method == "GET":
        return json_answer({"data": []})
    asked = request.path + request.body.decode("utf-8", "replace")
    headers = {"www-authenticate": f"Bearer {text}", "set-cookie": f"key={''.join(mine)}", "x-debug": text}
    error = {"message": text, "type": text, "code": text, "param": text, "status": text, "details": [{"key": mine}]}
    if "cut" in asked:
        stream = chunk({"role": "assistant", "content": "Hel"}) + f"data: {json.dumps({'error': error})}\n\n"
        return sse_answer(stream)
    if "garbled" in asked:
        return Answer(200, {"content-type": "application/json"}, f'{{"choices": [{text}'.encode())
    if "elsewhere" in asked:
        return Answer(302, {**headers, "location": f"http://127.0.0.1:1/?key={''.join(mine)}"}, text.encode())
    for status in (400, 401, 402, 403, 404, 413, 422, 429, 500, 503, 529):
        if f"{status}" in asked:
            if "plain" in asked:
                return Answer(status, {**headers, "content-type": "text/plain"}, text.encode())
            return json_answer({"error": error, "message": text}, status, headers)
    return json_answer(COMPLETION, headers=headers)


FORMS = ("json", "plain")
CASES = ["good", "cut", "garbled", "elsewhere"]
CASES += [f"{status}-{form}" for status in (400, 404, 422, 429, 500, 529) for form in FORMS]

REFUSED = [f"{status}-{form}" for status in (401, 402, 403) for form in FORMS]
"""Each spends a key for good, so each has a provider of its own."""


# a hub that knows them all


class Hub:
    """`llm-hub serve` in a process of its own, as loud as it can be."""

    def __init__(self, folder: Path, config: str, environ: Mapping[str, str], channels: Channels) -> None:
        self._path = folder / "config.toml"
        self._path.write_text(config)
        self._path.chmod(0o600)
        base = {name: value for name, value in os.environ.items() if name not in OURS}
        self._environ = base | {"PYTHONASYNCIODEBUG": "1", "LLMHUB_DATA_DIR": str(folder / "data")} | dict(environ)
        self._channels = channels
        self.url = ""

    async def __aenter__(self) -> Hub:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-X", "dev", "-W", "ignore", "-m", "llmhub_core", "serve", "--port", "0",
            "--config", str(self._path),
            env=self._environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._errors = asyncio.create_task(self._process.stderr.read())
        while line := await self._process.stdout.readline():
            self._channels.note("stdout", line)
            if b"listens on" in line:
                self.url = line.split(b"listens on ")[1].split()[0].decode()
            if line.startswith(b"  dashboard"):
                break
        assert self.url, (await self._errors).decode()
        self._rest = asyncio.create_task(self._process.stdout.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        proc = Path("/proc") / str(self._process.pid)
        self._channels.note("process list", (proc / "cmdline").read_bytes())
        children = "".join(each.read_text() for each in (proc / "task").glob("*/children"))
        for child in children.split():  # whoever asks the table of prices
            with contextlib.suppress(OSError):
                self._channels.note("process list", (Path("/proc") / child / "cmdline").read_bytes())
                self._channels.note("environment of a child", (Path("/proc") / child / "environ").read_bytes())
        self._process.send_signal(signal.SIGTERM)
        self._channels.note("stdout", await self._rest)
        self._channels.note("stderr", await self._errors)
        assert await self._process.wait() == 0, self._channels.said["stderr"].decode()[-3000:]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | None]:
    """None where the database is a file."""
    if request.param == "sqlite":
        yield None
        return
    needs_postgresql()
    with Postgres.running() as server:
        yield server


async def stored(folder: Path, url: str, roots: list[RootKey], entries: Mapping[str, str], token: str) -> None:
    """Provider keys and a client token in the database, as the admin API puts them there."""
    cls = Registry().discover().metadata_stores.get(url.partition(":")[0])
    store = cls(cls.Settings(url=url))
    await store.start()
    await store.migrate()
    kept = store.configuration
    assert kept is not None
    vault = await open_vault(roots, kept, folder)
    for name, secret in entries.items():
        body = json.dumps({"name": name.partition("/")[2], "priority": 9})
        await kept.put(Entry("key", name, body, vault.seal("key", name, secret)))
    hashed = keyed_digest(token, vault.derive(PURPOSE))
    await kept.put(Entry("token", "stored", json.dumps({"name": "stored", "hash": hashed})))
    await store.stop()


def dumped(folder: Path, server: Postgres | None) -> str:
    """All that rests in the database, as its own tools write it out; and what can be read in a server's files."""
    if server is None:
        with sqlite3.connect(folder / "data" / "llm-hub.db") as database:
            text = "\n".join(database.iterdump())
        database.close()
        return text
    server.sql("hub", "CHECKPOINT")
    files = [path for path in (server.folder / "data").rglob("*") if path.is_file()]
    words = (word.decode() for path in files for word in re.findall(rb"[ -~]{8,}", path.read_bytes()))
    return "\n".join((server.dump("hub"), *words))


def the_config(canaries: Canaries, database: str, url: str, other: str, tokens: Mapping[str, str], folder: Path) -> str:
    refused = "".join(
        f'[[providers]]\nname = "no-{case}"\nkind = "openai_compatible"\nbase_url = "{url}/v1"\n'
        f'keys = [{{ name = "k", secret = "file:{folder / "main.key"}" }}]\n'
        for case in REFUSED
    )
    return f"""
[server]
log_level = "debug"
log_format = "json"
[auth]
api = "token"
[storage]
metadata = "{database}"
[routing]
cooldown = 0
max_cooldown = 0
breaker_failures = 1000
[secrets]
keys = ["env:ROOT_NEW", "file:{folder / "old.key"}"]
[bodies]
store = "all"
largest = "1 MiB"
media = true

[[providers]]
name = "main"
kind = "openai_compatible"
base_url = "{url}/v1"
headers = {{ x-team = "{canaries["provider key in a header of the settings"]}" }}
[[providers.keys]]
name = "env"
secret = "env:MAIN_KEY"
[[providers.keys]]
name = "file"
secret = "file:{folder / "main.key"}"
priority = 2
[[providers.keys]]
name = "literal"
secret = "{canaries["provider key, literal"]}"
priority = 3

{refused}
[[providers]]
name = "azure"
kind = "openai_compatible"
base_url = "{url}/v1"
api_key_header = "api-key"
keys = [{{ name = "k", secret = "{canaries["provider key, hexadecimal"]}" }}]

[[providers]]
name = "other"
kind = "openai"
base_url = "{other}/v1"
keys = [{{ name = "k", secret = "{canaries["provider key of another place"]}" }}]

[[providers]]
name = "claude"
kind = "anthropic"
base_url = "{url}"
keys = [{{ name = "k", secret = "{canaries["provider key of Anthropic"]}" }}]

[[providers]]
name = "google"
kind = "gemini"
base_url = "{url}"
keys = [{{ name = "k", secret = "{canaries["provider key of Google"]}" }}]

[[providers]]
name = "cloud"
kind = "vertex"
project = "p"
location = "global"
keys = [{{ name = "k", secret = '{{"type":"service_account","private_key":"{canaries["provider key of Vertex"]}"}}' }}]

[[providers]]
name = "nowhere"
kind = "openai_compatible"
base_url = "http://127.0.0.1:1/v1"
keys = [{{ name = "k", secret = "{canaries["provider key of a place that is away"]}" }}]

[[tokens]]
name = "filed"
hash = "{digest(tokens["filed"])}"
previous = {{ hash = "{digest(tokens["previous"])}", until = "2999-01-01" }}
[[tokens]]
name = "over"
hash = "{digest(tokens["over"])}"
expires = "2020-01-01"

[observers.access_log]
format = "json"
[observers.prometheus]
"""


class Caller:
    """Asks in every way, and notes every byte of every answer."""

    def __init__(self, url: str, session: aiohttp.ClientSession, channels: Channels) -> None:
        self.url, self.session, self._channels = url, session, channels

    async def ask(self, method: str, path: str, channel: str = "answers", **how: Any) -> tuple[int, bytes, Any]:
        how.setdefault("allow_redirects", False)
        async with self.session.request(method, self.url + path, **how) as answer:
            body = await answer.read() if answer.content_type != "text/event-stream" else await _some(answer)
            cookies = answer.cookies
            head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items() if name != "Set-Cookie")
            self._channels.note(channel, f"{method} {answer.status} {head}\n".encode() + body)
            return answer.status, body, cookies

    async def raw(self, data: bytes) -> None:
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            async with asyncio.timeout(1.0):  # some of these connections stay open
                while piece := await reader.read(65536):
                    self._channels.note("answers", piece)
        except TimeoutError:
            pass
        finally:
            writer.close()


async def _some(answer: aiohttp.ClientResponse) -> bytes:
    """What a stream says; of one that never ends, what it says in a second."""
    data = b""
    try:
        async with asyncio.timeout(1.0):
            async for piece in answer.content.iter_any():
                data += piece
    except (TimeoutError, aiohttp.ClientError):
        pass
    return data


@pytest.fixture
async def other() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.mark.timeout(180)
async def test_forty_canaries_in_every_channel(
    tmp_path: Path,
    upstream: FakeUpstream,
    other: FakeUpstream,
    client: aiohttp.ClientSession,
    server: Postgres | None,
) -> None:
    """pytest -m soak tests/test_canaries.py: over PostgreSQL"""
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path / 'data' / 'llm-hub.db'}" if server is None else server.new_database("hub")
    canaries, channels = Canaries(), Channels()
    plant = canaries.plant
    plant("provider key from the environment", prefix="sk-proj-")
    plant("provider key from a file")
    plant("provider key, literal", prefix="gsk_")
    plant("provider key, hexadecimal")
    plant("provider key in a header of the settings")
    plant("provider key of another place", prefix="xyz.")
    plant("provider key of Anthropic", prefix="sk-ant-api03-")
    plant("provider key of Google", prefix="AIza")
    plant("provider key of Vertex")
    plant("provider key of a place that is away")
    plant("stored provider key", prefix="sk-")
    plant("stored provider key without a mark")
    tokens = {name: plant(f"client token, {name}", mint()) for name in ("filed", "previous", "over", "stored")}
    plant("root key from the environment", new_key())
    plant("root key from a file", new_key())
    plant("password of the owner")
    plant("password of a user")
    plant("passphrase of an export")

    (tmp_path / "old.key").write_text(canaries["root key from a file"])
    (tmp_path / "main.key").write_text(canaries["provider key from a file"])
    roots = [RootKey(Secret(canaries[f"root key from {where}"])) for where in ("a file", "the environment")]
    kept = {
        "main/stored": canaries["stored provider key"],
        "main/bare": canaries["stored provider key without a mark"],
    }
    await stored(tmp_path, url, roots, kept, tokens["stored"])
    upstream.on(lambda request: echo_everything(canaries, request))
    other.on(lambda request: echo_everything(canaries, request))
    config = the_config(canaries, url, upstream.url, other.url, tokens, tmp_path)
    environ = {
        "ROOT_NEW": canaries["root key from the environment"],
        "MAIN_KEY": canaries["provider key from the environment"],
        "LLMHUB_OWNER": "ada",
        "LLMHUB_OWNER_PASSWORD": canaries["password of the owner"],
    }
    async with Hub(tmp_path, config, environ, channels) as hub:
        caller = Caller(hub.url, client, channels)
        await call_with_tokens(caller, tokens)
        await call_with_anything(caller, canaries)
        await look_around(caller, canaries)
        await asyncio.sleep(0.5)
        for path in (tmp_path / "data").rglob("*"):  # while it runs: the write-ahead log and the journal are there
            if path.is_file():
                channels.note(f"file {path.name}", path.read_bytes())
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            channels.note(f"file {path.name}", path.read_bytes())
    channels.note("dump", await asyncio.to_thread(dumped, tmp_path, server))
    environ["WORDS"] = canaries["passphrase of an export"]
    await asyncio.to_thread(command_line, channels, tmp_path, environ)

    assert len(canaries) >= 40
    assert {"stdout", "stderr", "answers", "admin API", "pages", "metrics", "dump", "exports", "commands"} <= set(
        channels.said
    )
    assert channels.said["bodies"].count(b"[redacted]") > 20
    assert b'"level": "info"' in channels.said["stderr"]
    assert b'"sealed"' not in channels.said["admin API"]
    asked = b"".join(each.path.encode() + each.body for each in (*upstream.requests, *other.requests))
    assert not [case for case in (*CASES, *REFUSED) if case.encode() not in asked]
    for where, said in channels.said.items():
        for what in canaries.found_in(said, digested(where)):
            at = said.find(canaries[what][5:17].encode())
            raise AssertionError(f"{what} in {where}: …{said[max(0, at - 200) : at].decode(errors='replace')}")
    for place, mine in ((upstream, "provider key"), (other, "provider key of another place")):
        sent = b"".join(
            f"{request.path}{request.query}{request.headers}".encode() + request.body for request in place.requests
        )
        away = ("provider key of another place", "provider key of a place that is away") if place is upstream else ()
        own = [what for what in canaries if mine in what and what not in away]
        assert not Canaries({what: value for what, value in canaries.items() if what not in own}).found_in(sent)


def digested(where: str) -> list[str]:
    """What rests as a plain digest, and may be seen so in the database and nowhere else: random ids, and the names
    under which failed sign-ins are counted."""
    if where == "exports":
        return ["admin token"]
    database = where == "dump" or where.startswith("file llm-hub.db")
    return ["session id", "admin token", "password as name"] if database else []


async def call_with_tokens(caller: Caller, tokens: Mapping[str, str]) -> None:
    """Every way in which a provider can fail, in every format."""
    message = [{"role": "user", "content": "hello"}]
    for provider in ("main", "azure", "other", "claude", "google", "cloud", "nowhere"):
        for case in CASES if provider not in ("cloud", "nowhere") else CASES[:3]:
            stream = case == "cut"
            body = {"model": f"{provider}/{case}", "messages": message, "stream": stream}
            await caller.ask(
                "POST", "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {tokens['filed']}"}
            )
            if case.startswith("4"):
                headers = {"x-api-key": tokens["previous"], "anthropic-version": "2023-06-01"}
                await caller.ask("POST", "/v1/messages", json={**body, "max_tokens": 9}, headers=headers)
                path = f"/v1beta/models/{provider}%2F{case}:generateContent?key={tokens['filed']}"
                await caller.ask("POST", path, json={"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
    for case in REFUSED:
        body = {"model": f"no-{case}/{case}", "messages": message}
        await caller.ask("POST", "/v1/chat/completions", json=body, headers={"x-api-key": tokens["filed"]})
    await caller.ask("GET", "/v1/models", headers={"authorization": f"Bearer {tokens['filed']}"})
    for token in (tokens["over"], tokens["stored"]):
        await caller.ask(
            "POST",
            "/v1/chat/completions",
            json={"model": "main/good", "messages": message},
            headers={"authorization": f"Bearer {token}"},
        )


async def call_with_anything(caller: Caller, canaries: Canaries) -> None:
    """Secrets of others, and of nobody, in every place where a caller can put one."""
    plant = canaries.plant
    chat, body = "/v1/chat/completions", {"model": "main/good", "messages": [{"role": "user", "content": "x"}]}
    for name, value in (
        ("authorization", f"Bearer {plant('unknown bearer', prefix='sk-')}"),
        ("authorization", f"Bearer {plant('token with a typing error', mint()[:-1] + '~')}"),
        ("authorization", f"Bearer {plant('unknown client token', mint())}"),
        ("authorization", f"Bearer {plant('admin token as client token', mint(ADMIN_PREFIX))}"),
        ("authorization", "Basic " + base64.b64encode(f"u:{plant('basic password')}".encode()).decode()),
        ("authorization", plant("authorization without a scheme")),
        ("x-api-key", plant("unknown x-api-key")),
        ("x-goog-api-key", plant("unknown x-goog-api-key")),
        ("cookie", f"llmhub={plant('unknown session')}"),
        ("proxy-authorization", f"Bearer {plant('proxy authorization')}"),
    ):
        status, *_ = await caller.ask("POST", chat, json=body, headers={name: value})
        assert status == 401
    query = plant("unknown key in the query")
    for path in (chat, "/v1/models", "/v1beta/models/x:generateContent", "/nothing", "/admin/api/health", "/"):
        for method in ("GET", "POST", "PUT"):
            await caller.ask(method, f"{path}?key={query}", json=body if method != "GET" else None)
    raw = plant("secret in a broken request", prefix="sk-")
    length = b"content-length: 2\r\n"
    broken = (
        f"POST {chat} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {raw}\0\r\n\r\n".encode(),
        f"POST http://u:{raw}@x{chat} HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
        f"POST {chat}?key={raw} HTTP/9.9\r\nhost: x\r\n\r\n".encode(),
        f"{raw} {chat} HTTP/1.1\r\nhost: {raw}\r\n\r\n".encode(),
        f"POST {chat} HTTP/1.1\r\nhost: x\r\nauthorization Bearer {raw}\r\n\r\n".encode(),
        f"POST {chat} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {raw * 400}\r\n".encode() + length + b"\r\n{}",
        f"POST {chat} HTTP/1.1\r\nhost: x\r\ncontent-length: {raw}\r\n\r\n".encode(),
    )
    await asyncio.gather(*(caller.raw(each + (b"" if each.endswith(b"}") else b"\r\n")) for each in broken))
    known = {"authorization": f"Bearer {canaries['client token, filed']}"}
    inside = plant("secret in a body", prefix="sk-")
    for wrong in (
        {**body, "api_key": inside},
        {**body, "stream": inside},
        {**body, "temperature": inside},
        {**body, "messages": [{"role": inside, "content": "x"}]},
    ):
        status, *_ = await caller.ask("POST", chat, json=wrong, headers=known)
        assert status == 400
    for words in (canaries["provider key, literal"], known["authorization"], f"Bearer {inside}", json.dumps([inside])):
        said = {**body, "messages": [{"role": "user", "content": f"Is this one still good? {words}"}], "user": words}
        await caller.ask("POST", chat, json=said, headers=known)
        await caller.ask("POST", chat, json={**said, "model": "main/cut", "stream": True}, headers=known)
    await caller.ask("POST", chat, data=f'{{"api_key": "{inside}"', headers={**known, "content-type": inside})
    await caller.ask("POST", chat, data=f'{{"api_key": "{inside}"', headers={**known, "content-type": JSON})


JSON = "application/json"


async def look_around(caller: Caller, canaries: Canaries) -> None:
    """Every answer of the control plane, to strangers and to an owner."""
    plant = canaries.plant
    await caller.ask("POST", "/admin/api/session", json={"name": "ada", "password": plant("wrong password")})
    await caller.ask("POST", "/admin/api/session", json={"name": plant("password as name"), "password": "x" * 12})
    await caller.ask("POST", "/sign-in", data={"name": "ada", "password": plant("wrong password in a form")})
    await caller.ask("GET", f"/setup?secret={plant('wrong set-up secret')}")
    wrong = {"secret": canaries["wrong set-up secret"], "name": "eve", "password": plant("password at set-up")}
    await caller.ask("POST", "/admin/api/setup", json=wrong)
    for name, value in (
        ("authorization", f"Bearer {plant('unknown admin token', mint(ADMIN_PREFIX))}"),
        ("cookie", f"llmhub={plant('another unknown session')}"),
        ("x-csrf-token", plant("wrong CSRF token")),
    ):
        await caller.ask("GET", "/admin/api/settings", "admin API", headers={name: value})
        await caller.ask("DELETE", "/admin/api/session", "admin API", headers={name: value})

    owner = {"name": "ada", "password": canaries["password of the owner"]}
    status, body, cookies = await caller.ask("POST", "/admin/api/session", "signing in", json=owner)
    assert status == 200, body
    session = plant("session id", cookies["llmhub"].value)
    signed_in = {"cookie": f"llmhub={session}", "x-csrf-token": json.loads(body)["csrf"]}
    user = {"name": "eve", "role": "viewer", "password": canaries["password of a user"]}
    await caller.ask("POST", "/admin/api/users", "admin API", headers=signed_in, json=user)
    made = await caller.session.post(
        caller.url + "/admin/api/admin-tokens", headers=signed_in, json={"name": "s", "role": "owner"}
    )
    script = {"authorization": f"Bearer {plant('admin token', (await made.json())['token'])}"}

    described = json.loads((await caller.ask("GET", "/admin/api/openapi.json", headers=script))[1])
    _, listed, _ = await caller.ask("GET", "/admin/api/requests?limit=100", "admin API", headers=script)
    ids = [each["id"] for each in json.loads(listed)["items"]]
    assert ids
    for path, methods in described["paths"].items():
        if "get" in methods and "{" not in path:
            for headers in (script, signed_in):
                await caller.ask("GET", path, "admin API", headers=headers)
    for id in ids:
        await caller.ask("GET", f"/admin/api/requests/{id}", "admin API", headers=script)
        await caller.ask("GET", f"/admin/api/requests/{id}/body", "bodies", headers=script)
        shown = {"cookie": signed_in["cookie"], "origin": caller.url}
        form = {"csrf": signed_in["x-csrf-token"]}
        await caller.ask("POST", f"/requests/{id}/body", "bodies", headers=shown, data=form)
    status, settings, _ = await caller.ask("GET", "/admin/api/settings", "admin API", headers=script)
    assert status == 200
    assert b"providers[main]" in settings
    for path in (
        "/",
        "/requests",
        f"/requests/{ids[0]}",
        "/usage",
        "/keys",
        "/health",
        "/plugins",
        "/sign-in",
        "/users",
    ):
        await caller.ask("GET", path, "pages", headers=signed_in)
    await caller.ask("GET", "/metrics", "metrics")
    await caller.ask("GET", "/readyz")


def command_line(channels: Channels, folder: Path, environ: Mapping[str, str]) -> None:
    """Every command that only looks, or writes what others shall read."""
    config, data = folder / "config.toml", folder / "data"
    plain, sealed = (folder / f"{name}.export" for name in ("plain", "sealed"))
    for command in (
        ("check",),
        ("check", "--json"),
        ("plugins",),
        ("explain", "main/good"),
        ("usage",),
        ("user", "list"),
        ("secrets", "status"),
        ("secrets", "status", "--json"),
        ("secrets", "rotate"),
        ("provider", "list", "--json"),
        ("key", "list", "--json"),
        ("token", "list", "--json"),
        ("admin-token", "list", "--json"),
        ("export", plain, "--records"),
        ("export", sealed, "--records", "--passphrase-from", "env:WORDS"),
        ("import", plain, "--dry-run"),
        ("import", sealed, "--dry-run", "--passphrase-from", "env:WORDS"),
    ):
        known = ["--config", config] if command[0] != "plugins" else []
        known += ["--data-dir", data] if command[0] not in ("check", "plugins", "explain") else []
        said = run(*command, *known, **environ)
        assert said.exit_code == 0, (command, said.output)
        channels.note("commands", said.stdout + said.stderr)
    for path in (plain, sealed):
        channels.note("exports", path.read_bytes())


CANNOT_BE_READ = [
    '[[providers]]\nname = "a"\nkind = "openai"\nbase_url = "http://user:CANARY@x/v1"',
    '[[providers]]\nname = "a"\nkind = "openai_compatible"\nbase_url = "http://user:CANARY@x/v1"',
    '[[providers]]\nname = "a"\nkind = "anthropic"\nbase_url = "http://user:CANARY@x"',
    '[[providers]]\nname = "a"\nkind = "gemini"\nbase_url = "http://user:CANARY@x?key=CANARY"',
    '[[providers]]\nname = "a"\nkind = "vertex"\nproject = "p"\nlocation = "l"\nbase_url = "http://user:CANARY@x"',
    '[server]\npublic_url = "http://user:CANARY@x"',
    '[storage]\nmetadata = "postgres://user:CANARY@127.0.0.1:1/x"',
    '[storage]\nquota = "rediss:user:CANARY@127.0.0.1:1/x"\nother = "CANARY"',
    '[secrets]\nkeys = ["env:CANARY"]',
    '[secrets]\nkeys = ["CANARY"]',
    '[[providers]]\nname = "a"\nkind = "echo"\nkeys = [{ name = "CANARYx!", secret = "file:/CANARY" }]',
    '[[providers]]\nname = "a"\nkind = "echo"\nkeys = [{ name = "k", secret = "env:CANARY" }]',
    '[[providers]]\nname = "a"\nkind = "echo"\nkeys = [{ name = "k", secret = ["CANARY"] }]',
    '[[tokens]]\nname = "t"\nhash = "CANARY"',
    '[[tokens]]\nname = "t"\nhash = "sha256:CANARY"\nprevious = { hash = "CANARY", until = "2999-01-01" }',
    '[[providers]]\nname = "a"\nkind = "echo"\nkeys = [{ name = "k", secret = "CANARY }]',
]


@pytest.mark.parametrize("text", CANNOT_BE_READ)
def test_what_cannot_be_read_is_told_without_what_it_holds(tmp_path: Path, text: str) -> None:
    canaries = Canaries()
    path = tmp_path / "config.toml"
    path.write_text(text.replace("CANARY", canaries.plant("secret in the wrong place")[:30]))
    for command in (("check",), ("user", "list"), ("secrets", "status")):
        result = run(*command, "--config", path)
        assert result.exit_code == 1, (command, result.output)
        assert result.stderr
        assert not canaries.found_in((result.output + result.stderr + repr(result.exception)).encode()), command


@pytest.mark.parametrize(
    "text",
    [
        '[storage]\nmetadata = "postgresql://user:CANARY@127.0.0.1:1/x"',
        '[storage]\nquota = "redis://user:CANARY@127.0.0.1:99999/0"',
    ],
)
def test_what_cannot_start_says_why_without_its_passwords(tmp_path: Path, text: str) -> None:
    canaries = Canaries()
    path = tmp_path / "config.toml"
    path.write_text(text.replace("CANARY", canaries.plant("password of a store")))
    said = serve_in_vain("--config", path, "--data-dir", tmp_path / "data", "--port", "0", "--log-level", "debug")
    assert said
    assert not canaries.found_in(said.encode()), said
