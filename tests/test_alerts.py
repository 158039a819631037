"""Alerts from the fault at a provider to the receiver's socket, over restarts, mutes and a database that is away."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, ask, one_provider
from llmhub_plugins.observers.webhook import Webhook, WebhookSettings

from llmhub_core.cli.common import known
from llmhub_core.contracts import Alert, NotDelivered, Notice, SettingsError, StartError
from llmhub_core.hub import courier
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.hub.vault.opening import KEY_FILE
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer

SECRET = "whsec_" + base64.b64encode(b"a canary in the mine, 32 bytes!!").decode()
REFUSED = json_answer({"error": {"message": "Bad key", "code": "invalid_api_key"}}, status=401)
FAILED = json_answer({"error": {"message": "broken"}}, status=500)
GOOD = json_answer(COMPLETION)


class Receiver:
    """Somebody's webhook, on a real socket."""

    def __init__(self, fake: FakeUpstream) -> None:
        self.fake = fake
        fake.script(json_answer({}))

    @property
    def told(self) -> list[dict[str, Any]]:
        return [request.json for request in self.fake.requests]

    @property
    def types(self) -> list[str]:
        return [told["type"].removeprefix("alert.") for told in self.told]

    async def wait_for(self, *types: str) -> None:
        await until(lambda: len(self.types) >= len(types))
        assert self.types == [*types]


@pytest.fixture
async def receiver() -> Any:
    async with FakeUpstream() as fake:
        yield Receiver(fake)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "PAUSES", (0.05, 0.05))


async def until(holds: Callable[[], object], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to this"
        await asyncio.sleep(0.02)


def config(upstream: FakeUpstream, receiver: Receiver, alerts: str = "", more: str = "", hook: str = "") -> str:
    return (
        f'[alerts]\nevery = 0.1\n{alerts}\n[observers.webhook]\nurl = "{receiver.fake.url}/hook"\nsecret = "{SECRET}"\n'
        f"{hook}\n" + (more or one_provider(upstream.url))
    )


def is_genuine(request: ReceivedRequest) -> bool:
    """As docs/alerts.md says it."""
    headers = request.headers
    signed = b"%b.%b.%b" % (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), request.body)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and hmac.compare_digest(wanted, headers["webhook-signature"])


async def test_a_refused_key_is_told_once_signed_and_when_it_is_over(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(REFUSED)
    rules = 'rules = ["key_invalid"]'
    async with House(config(upstream, receiver, rules)) as house:
        for _ in range(3):
            assert (await ask(client, house.url)).status == 503
        await receiver.wait_for("open")
        await asyncio.sleep(0.4)
        (told,) = receiver.told
        assert is_genuine(receiver.fake.requests[0])
        assert told["data"]["rule"] == "key_invalid"
        assert told["data"]["subject"] == "key:main/k1"
        assert "refuses the key main/k1" in told["text"]
        assert "sk-main" not in str(told)
        (key,) = house.hub.catalog.places["main"].keys
        house.hub.pool.reset(key)
        await receiver.wait_for("open", "recovered")
        assert receiver.told[1]["data"]["id"] == told["data"]["id"]
        assert receiver.told[1]["data"]["recovered_at"] >= told["data"]["opened_at"]
        assert house.hub.alerts.open == {}


async def test_what_does_not_arrive_is_tried_again(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    receiver.fake.script(json_answer({}, status=500), Answer(raw=b"HTT", hang_up=True), json_answer({}))
    upstream.script(REFUSED)
    async with House(config(upstream, receiver, 'rules = ["key_invalid"]')) as house:
        await ask(client, house.url)
        await receiver.wait_for("open", "open", "open")
        assert len({request.headers["webhook-id"] for request in receiver.fake.requests}) == 1
        await until(lambda: house.hub.alerts.courier.channels[0].delivered)
        assert house.hub.alerts.courier.channels[0].problem == ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json_answer({}, status=403), "The receiver answered 403."),
        (
            Answer(status=302, headers={"location": "http://127.0.0.1:1/elsewhere"}),
            "The receiver answered with a redirect (302), which is not followed.",
        ),
    ],
)
async def test_what_will_never_arrive_is_given_up_and_names_no_address(
    upstream: FakeUpstream,
    client: aiohttp.ClientSession,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    said: str,
) -> None:
    receiver.fake.script(answer)
    upstream.script(REFUSED)
    async with House(config(upstream, receiver, 'rules = ["key_invalid"]')) as house:
        await ask(client, house.url)
        (channel,) = house.hub.alerts.courier.channels
        await until(lambda: channel.given_up)
        assert (channel.problem, len(receiver.fake.requests)) == (said, 1)
    assert said in caplog.text
    for secret in (receiver.fake.url, "/hook", SECRET, "canary"):
        assert secret not in caplog.text


async def test_a_receiver_that_is_away_or_silent_holds_up_nothing(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    receiver.fake.script(Answer(delay_first=30))
    upstream.script(REFUSED, GOOD)
    text = config(upstream, receiver, 'rules = ["key_invalid"]', one_provider(upstream.url, 2), hook="timeout = 0.2")
    async with House(text) as house:
        assert (await ask(client, house.url)).status == 200
        (channel,) = house.hub.alerts.courier.channels
        await until(lambda: channel.given_up)
        assert "did not answer within 0.2 s" in channel.problem


async def test_a_restart_repeats_nothing_and_forgets_nothing(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver, tmp_path: Path
) -> None:
    upstream.script(REFUSED)
    text = config(upstream, receiver, 'rules = ["key_invalid"]')
    async with House(text, folder=tmp_path) as house:
        await ask(client, house.url)
        await receiver.wait_for("open")
    async with House(text, folder=tmp_path) as house:
        await asyncio.sleep(0.5)
        assert receiver.types == ["open"]
        (alert,) = house.hub.alerts.open.values()
        assert alert.told == "open"
        upstream.script(GOOD)
        assert (await ask(client, house.url)).status == 200
        await receiver.wait_for("open", "recovered")
    async with House(text, folder=tmp_path) as house:
        await asyncio.sleep(0.3)
        assert receiver.types == ["open", "recovered"]
        assert house.hub.alerts.open == {}
        (past,) = await house.hub.alerts.latest(10)
        assert past.recovered_at is not None
        assert past.told == "recovered"


async def test_what_could_not_be_told_before_the_end_is_told_after_the_next_start(
    upstream: FakeUpstream,
    client: aiohttp.ClientSession,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier, "PAUSES", (60.0,))
    monkeypatch.setattr(courier, "LAST_WORDS", 0.1)
    receiver.fake.script(json_answer({}, status=500))
    upstream.script(REFUSED)
    text = config(upstream, receiver, 'rules = ["key_invalid"]')
    async with House(text, folder=tmp_path) as house:
        await ask(client, house.url)
        await receiver.wait_for("open")
    receiver.fake.script(json_answer({}))
    async with House(text, folder=tmp_path) as house:
        await receiver.wait_for("open", "open")
        await until(lambda: next(iter(house.hub.alerts.open.values())).told == "open")


async def test_what_goes_on_is_told_again(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    def often(hub: Hub) -> None:
        hub.alerts._settings = dataclasses.replace(hub.alerts._settings, repeat=0.3)

    upstream.script(REFUSED)
    async with House(config(upstream, receiver, 'rules = ["key_invalid"]'), tune=often) as house:
        await ask(client, house.url)
        await until(lambda: len(receiver.types) >= 3)
        assert receiver.types[:3] == ["open", "reminder", "reminder"]


async def test_a_mute_is_kept_over_a_restart_and_what_is_open_is_told_when_it_ends(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver, tmp_path: Path
) -> None:
    upstream.script(REFUSED)
    text = config(upstream, receiver, 'rules = ["key_invalid"]')
    async with House(text, folder=tmp_path) as house:
        mute = await house.hub.alerts.mute("", "key:main/k1", 60.0, "ann")
        await ask(client, house.url)
        await until(lambda: house.hub.alerts.open)
    async with House(text, folder=tmp_path) as house:
        await asyncio.sleep(0.4)
        assert receiver.types == []
        assert house.hub.alerts.mutes == [mute]
        assert await house.hub.alerts.unmute("nobody") is None
        assert await house.hub.alerts.unmute(mute.id) == mute
        await receiver.wait_for("open")


async def test_what_begins_and_ends_while_muted_is_never_told(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(REFUSED)
    async with House(config(upstream, receiver, 'rules = ["key_invalid"]')) as house:
        alerts = house.hub.alerts
        mute = await alerts.mute("key_invalid", "", 60.0, "ann")
        await ask(client, house.url)
        await until(lambda: alerts.open)
        house.hub.pool.reset(house.hub.catalog.places["main"].keys[0])
        await until(lambda: not alerts.open)
        await alerts.unmute(mute.id)
        await asyncio.sleep(0.4)
        assert receiver.types == []


async def test_the_test_tells_what_came_of_it(upstream: FakeUpstream, receiver: Receiver) -> None:
    async with House(config(upstream, receiver)) as house:
        assert await house.hub.alerts.test("ann") == [("webhook", "")]
        assert receiver.types == ["test"]
        assert "sent by ann" in receiver.told[0]["text"]
        receiver.fake.script(json_answer({}, status=404))
        assert await house.hub.alerts.test("ann") == [("webhook", "The receiver answered 404.")]
        assert house.hub.alerts.open == {}


# --- the rules


async def test_a_provider_whose_breaker_opens(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(FAILED)
    more = "[routing]\nbreaker_failures = 2\nbreaker_pause = 0.1\n" + one_provider(upstream.url)
    async with House(config(upstream, receiver, 'rules = ["provider_down"]', more)) as house:
        for number in range(2):
            await ask(client, house.url, {**CHAT, "seed": number})
        await ask(client, house.url, {**CHAT, "model": "main/made-up"})
        await receiver.wait_for("open")
        assert receiver.told[0]["data"]["subject"] == "main/small"
        upstream.script(GOOD)
        await asyncio.sleep(0.15)
        await ask(client, house.url)
        await receiver.wait_for("open", "recovered")


async def test_a_provider_whose_keys_are_all_out(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(REFUSED)
    alerts = 'rules = ["provider_down"]\nprovider_down_after = 0.5'
    async with House(config(upstream, receiver, alerts, one_provider(upstream.url, 2))) as house:
        await ask(client, house.url)
        began = time.monotonic()
        await receiver.wait_for("open")
        assert time.monotonic() - began >= 0.4
        assert "No key of main can be used (2 invalid)" in receiver.told[0]["text"]


async def test_an_account_that_is_used_up(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(json_answer({"error": {"message": "no credit", "code": "insufficient_quota"}}, status=429))
    async with House(config(upstream, receiver, 'rules = ["key_exhausted"]')) as house:
        await ask(client, house.url)
        await receiver.wait_for("open")
        assert "has used up what it has at the provider (insufficient_quota)" in receiver.told[0]["text"]


async def test_a_quota_that_is_nearly_spent(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(GOOD)
    more = one_provider(upstream.url).replace("priority = 1", "priority = 1\nlimits = { rpd = 10, rpm = 9 }", 1)
    async with House(config(upstream, receiver, 'rules = ["quota_low"]', more)) as house:
        for _ in range(8):
            assert (await ask(client, house.url)).status == 200
        await house.hub.alerts.look()
        assert house.hub.alerts.open == {}
        await ask(client, house.url)
        await receiver.wait_for("open")
        assert "The key main/k1 has 1 requests left of 10 requests a day." in receiver.told[0]["text"]


async def test_a_budget_that_is_nearly_and_then_wholly_spent(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(GOOD)  # 11 tokens in, 3 out: 17 micro-USD
    token = mint()
    more = one_provider(upstream.url).replace(
        'model = "small", priority = 1', 'model = "small", priority = 1, input_price = 1, output_price = 2'
    )
    more += f'[[tokens]]\nname = "game"\nhash = "{digest(token)}"\nlimits = {{ budget = "0.00002 USD/month" }}\n'
    text = config(upstream, receiver, 'rules = ["budget_low", "budget_spent"]', '[auth]\napi = "token"\n' + more)
    async with House(text) as house:
        who = {"authorization": f"Bearer {token}"}
        assert (await ask(client, house.url, headers=who)).status == 200
        await receiver.wait_for("open")
        assert (receiver.told[0]["data"]["rule"], receiver.told[0]["data"]["subject"]) == ("budget_low", "token:game")
        assert (await ask(client, house.url, headers=who)).status == 200
        await until(lambda: len(receiver.types) >= 3)
        rest = {(told["data"]["rule"], told["type"]) for told in receiver.told[1:]}
        assert rest == {("budget_low", "alert.recovered"), ("budget_spent", "alert.open")}


async def test_requests_that_fail(upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver) -> None:
    more = "[routing]\nbreaker_failures = 1000\n" + one_provider(upstream.url)
    alerts = 'rules = ["error_rate"]\nerror_requests = 5\nerror_rate = 0.5'
    upstream.script(GOOD)
    async with House(config(upstream, receiver, alerts, more)) as house:
        for _ in range(4):
            await ask(client, house.url)
        upstream.script(FAILED)
        for _ in range(3):
            await ask(client, house.url)
        await house.records()
        await house.hub.alerts.look()
        assert house.hub.alerts.open == {}
        await ask(client, house.url)
        await receiver.wait_for("open")
        assert "4 of 8 requests for fast failed in the last 5 minutes: overloaded (4)." in receiver.told[0]["text"]
        upstream.script(GOOD)
        await ask(client, house.url)
        await receiver.wait_for("open", "recovered")


async def test_a_journal_that_fills_is_told_while_the_database_is_away(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver, tmp_path: Path
) -> None:
    upstream.script(GOOD)
    more = "[metadata_stores.sqlite]\nbusy_timeout = 0.1\n" + one_provider(upstream.url)
    text = config(upstream, receiver, 'rules = ["journal"]\njournal_share = 0.0001', more)
    async with House(text, folder=tmp_path) as house:
        held = sqlite3.connect(tmp_path / "data" / "llm-hub.db", isolation_level=None, timeout=0)
        while True:  # the hub may be in the middle of a transaction, which needs this loop to go on
            try:
                held.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError:
                await asyncio.sleep(0.05)
        try:
            body = {**CHAT, "metadata": {}}
            while house.hub.ledger.filled < 0.0001:
                assert (await ask(client, house.url, body)).status == 200
            await receiver.wait_for("open")
            assert "records wait for the database" in receiver.told[0]["text"]
        finally:
            held.close()
        await receiver.wait_for("open", "recovered")
        await until(lambda: not house.hub.alerts._unkept)
        (alert,) = await house.hub.alerts.latest(10)
        assert (alert.rule, alert.told) == ("journal", "recovered")


async def test_a_hub_that_runs_sealed(upstream: FakeUpstream, receiver: Receiver, tmp_path: Path) -> None:
    text = config(upstream, receiver)
    async with House(text, folder=tmp_path):
        pass
    (tmp_path / "data" / KEY_FILE).unlink()
    async with House(text, folder=tmp_path) as house:
        await receiver.wait_for("open")
        assert receiver.told[0]["data"]["rule"] == "vault_sealed"
        assert receiver.told[0]["data"]["advice"] == f"{house.hub.sealed}."


async def test_rules_that_are_switched_off_find_nothing(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    upstream.script(REFUSED)
    async with House(config(upstream, receiver, "rules = []")) as house:
        await ask(client, house.url)
        await asyncio.sleep(0.3)
        assert house.hub.alerts.open == {}


# --- apprise, and what cannot work


async def test_apprise_carries_them_too(
    upstream: FakeUpstream, client: aiohttp.ClientSession, receiver: Receiver
) -> None:
    pytest.importorskip("apprise")
    host = receiver.fake.url.removeprefix("http://")
    upstream.script(REFUSED)
    text = f'[alerts]\nevery = 0.1\nrules = ["key_invalid"]\n[observers.apprise]\nurls = ["json://{host}/x"]\n'
    async with House(text + one_provider(upstream.url)) as house:
        await ask(client, house.url)
        await until(lambda: receiver.fake.requests)
        told = receiver.told[0]
        assert (told["title"], told["type"]) == ("llm-hub: key invalid", "failure")
        assert "refuses the key main/k1" in told["message"]
        receiver.fake.script(json_answer({}, status=500))
        assert await house.hub.alerts.test("ann") == [("apprise", "1 of 1 addresses did not take it.")]


async def test_a_receiver_that_is_not_there_is_told_in_words(unused_tcp_port: int) -> None:
    """What happened and what to look at; neither a class of Python nor the address."""
    alert = Alert("alr_1", "test", "", "warning", "A test.", "", "alerts", 0.0)
    for url, said in (
        (f"http://127.0.0.1:{unused_tcp_port}/hook", "Nothing takes connections at the receiver's address"),
        ("http://nobody.invalid/hook", "The name of the receiver was not found"),
    ):
        webhook = Webhook(WebhookSettings(url=url))
        await webhook.start()
        with pytest.raises(NotDelivered, match=said) as caught:
            await webhook.deliver(Notice("ntc_1", "test", alert, 0.0))
        await webhook.stop()
        assert "Error" not in str(caught.value)
        assert "hook" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (WebhookSettings(url="ftp://x"), "must be an address"),
        (WebhookSettings(url="http://x", secret="whsec_%%%"), "is not base64"),
    ],
)
async def test_what_cannot_work_stops_the_start(settings: WebhookSettings, said: str) -> None:
    with pytest.raises(StartError, match=said):
        await Webhook(settings).start()


def test_a_secret_that_leads_nowhere_is_told_with_its_place(tmp_path: Path) -> None:
    registry = Registry().discover()
    path = tmp_path / "config.toml"
    path.write_text('[observers.webhook]\nurl = "env:NOT_THERE"\nsecret = "plain"\n', "utf-8")
    with pytest.raises(SettingsError) as caught:
        load(path, {}, known(registry))
    assert "config.toml:2:7: observers.webhook.url: leads to the variable NOT_THERE that is not set" in str(
        caught.value
    )
    path.write_text('[observers.webhook]\nurl = "env:THERE"\nsecret = "plain"\n', "utf-8")
    loaded = load(path, {"THERE": "http://x"}, known(registry))
    assert ["observers.webhook.secret: is the secret itself" in each for each in loaded.warnings] == [True]
    assert "plain" not in repr(loaded)
