"""Providers, keys, routes and tokens, added and changed in a real browser, with scripts and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from clusters import OpenHouse, everywhere, soon
from playwright.async_api import expect
from watching import Visit, add_people, ask

from llmhub_core.admin.accounts import Accounts
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer

REFUSED = ("Failed to load resource: the server responded with a status of 4",)
SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
CONFIG = """
[[providers]]
name = "echo"
kind = "echo"
models = ["small"]
  [[providers.keys]]
  name = "main"
  secret = "sk-canary-0123456789abcdef-WXYZ"
"""
GOOD, BAD = "sk-good-0123456789abcdef0123456789", "sk-bad-0123456789abcdef0123456789"


@pytest_asyncio.fixture(loop_scope="session")
async def house(open_house: OpenHouse) -> AsyncIterator[House]:
    async with open_house(CONFIG) as house:
        await add_people(house)
        yield house


def provider(request: ReceivedRequest) -> Answer:
    """A place that knows one key and one model."""
    if request.headers.get("authorization") != f"Bearer {GOOD}":
        return json_answer({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, status=401)
    if request.method == "GET":
        return json_answer({"object": "list", "data": [{"id": "small", "object": "model"}]})
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return json_answer({"id": "c1", "object": "chat.completion", "model": "small", "choices": [choice], "usage": usage})


# --- the set-up


@SCRIPTS
async def test_from_an_owner_to_the_first_answer(visit: Visit, open_house: OpenHouse, scripts: bool) -> None:
    async with FakeUpstream() as upstream, open_house("") as house:
        upstream.on(provider)
        assert house.hub.store.people is not None
        accounts = Accounts(house.hub.store.people)
        secret = await accounts.offer_setup()
        accounts.close()
        ann = await visit(house, java_script_enabled=scripts)
        ann.expected, page = REFUSED, ann.page
        await ann.go(f"/setup?secret={secret}")
        await page.get_by_label("Name").fill("ann")
        for label in ("Password", "The same password again"):
            await page.get_by_label(label, exact=True).fill("four words in one")
        await ann.press("Make the owner and sign in")
        await page.get_by_label("Provider").select_option("openai")
        await page.get_by_label("Address").fill(upstream.url + "/v1")
        await page.get_by_label("API key", exact=True).fill(BAD)
        await ann.press("Add and try it")
        await expect(page.locator("#secret-fault")).to_contain_text("Incorrect API key provided")
        await expect(page.get_by_label("API key", exact=True)).to_have_value("")
        await soon(lambda: "openai" not in house.hub.catalog.places)  # what did not work is gone
        await page.get_by_label("API key", exact=True).fill(GOOD)
        await ann.press("Add and try it")
        await expect(page.get_by_role("heading", name="Who calls this hub first?")).to_be_visible()
        assert BAD not in await page.content()
        await page.get_by_label("Name of the program").fill("no such name!")
        await ann.press("Make its token")
        await expect(page.locator("#name-fault")).to_contain_text("Must be a name")
        await page.get_by_label("Name of the program").fill("game-server")
        await ann.press("Make its token")
        token = await page.locator("#made").inner_text()
        for call in ("#call", "#call-python", "#call-node"):
            said = await page.locator(call).inner_text()
            assert house.url in said, call
            assert token in said, call
        await expect(page.get_by_text("Waiting for the first answer")).to_be_visible()
        assert await ask(house, "openai/small", token) == 200
        if scripts:
            await expect(page.get_by_text("It works.")).to_be_visible()
            await expect(page.locator("#made")).to_have_text(token)
            await page.get_by_role("link", name="To the overview").click()
        else:
            await page.get_by_role("link", name="Skip this").click()
        await expect(page.get_by_role("heading", name="Requests by outcome")).to_be_visible()
        assert token not in await page.content()
        ann.well()


# --- providers and keys


@SCRIPTS
async def test_a_provider_and_its_keys(visit: Visit, house: House, scripts: bool) -> None:
    async with FakeUpstream() as upstream:
        upstream.on(provider)
        ann = await visit(house, "owner", java_script_enabled=scripts)
        ann.expected, page = REFUSED, ann.page
        await ann.go("/providers")
        await page.get_by_role("link", name="Add a provider").click()
        await page.get_by_label("Name").fill("mine")
        await page.get_by_label("Kind").select_option("openai_compatible")
        await page.get_by_label("Address").fill("no address")
        await ann.press("Add the provider")
        await expect(page.get_by_label("Address")).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_label("Name")).to_have_value("mine")
        await page.get_by_label("Address").fill(upstream.url + "/v1")
        await page.get_by_label("Models").fill("small\nlarge")
        await ann.press("Add the provider")
        await expect(page.get_by_role("status")).to_contain_text("Added.")

        await page.get_by_role("link", name="Add a key", exact=True).click()
        await expect(page.get_by_label("Provider")).to_have_value("mine")
        await page.get_by_label("Name").fill("first")
        await page.get_by_label("Secret").fill(GOOD)
        await page.get_by_label("Requests a minute").fill("many")
        await ann.press("Add the key")
        await expect(page.get_by_label("Requests a minute")).to_have_attribute("aria-invalid", "true")
        assert GOOD not in await page.content()
        await page.get_by_label("Secret").fill(GOOD)
        await page.get_by_label("Requests a minute").fill("60")
        await page.get_by_label("Account").fill("team")
        await ann.press("Add the key")
        await expect(page.get_by_role("status")).to_contain_text("Added.")
        assert GOOD not in await page.content()
        await ann.press("Test it")
        await expect(page.locator(".notice.ok")).to_contain_text("It works: mine listed 1 model")
        assert await ask(house, "mine/small") == 200

        await page.get_by_label("Another secret").fill(BAD)
        await page.get_by_label("Priority").fill("7")
        await ann.press("Save")
        await expect(page.get_by_role("status")).to_contain_text("Changed.")
        await expect(page.get_by_label("Priority")).to_have_value("7")
        await expect(page.get_by_label("Account")).to_have_value("team")
        await ann.press("Test it")
        await expect(page.get_by_role("alert")).to_contain_text("Incorrect API key provided")
        assert await ask(house, "mine/small") != 200
        await everywhere(house, "/keys/mine/first", lambda told: told["state"] == "invalid")
        await ann.go("/keys/mine/first")
        await ann.press("Use it again now")
        await expect(page.get_by_role("status")).to_contain_text("may be used again")
        await ann.go("/keys/mine/first")
        await ann.press("Disable")
        await expect(page.get_by_role("status")).to_contain_text("Out of use.")
        await ann.press("Use it again")
        await expect(page.get_by_role("status")).to_contain_text("In use again.")
        await page.get_by_text("Remove", exact=True).click()
        await ann.press("Remove first")
        await expect(page.get_by_role("status")).to_contain_text("Removed.")
        assert await page.get_by_role("link", name="first").count() == 0

        await ann.go("/providers/mine")
        await page.get_by_label("Models").fill("small")
        await ann.press("Save")
        await expect(page.get_by_label("Models")).to_have_value("small")
        await soon(lambda: "large" not in house.hub.catalog.places["mine"].models)
        await page.get_by_text("Remove", exact=True).click()
        await ann.press("Remove mine")
        await page.wait_for_url("**/providers?done=removed")
        await soon(lambda: "mine" not in house.hub.catalog.places)
        ann.well()


@SCRIPTS
async def test_each_kind_asks_for_what_it_needs(visit: Visit, house: House, scripts: bool) -> None:
    ann = await visit(house, "owner", java_script_enabled=scripts)
    ann.expected, page = REFUSED, ann.page
    await ann.go("/providers?add=1")
    offered = await page.get_by_label("Kind").locator("option").evaluate_all("all => all.map(each => each.value)")
    registry = house.hub.registry
    presets = [f"{cls.name}:{preset}" for cls in registry.providers for preset in cls.presets]
    assert sorted(offered) == sorted([*registry.providers.names, *presets])
    assert "openai_compatible:ollama" in offered
    await page.get_by_label("Name").fill("cloud")
    await page.get_by_label("Kind").select_option("vertex")
    project = page.locator("[id='vertex.project']")
    if scripts:
        await expect(page.locator("details[data-values=bedrock]")).to_be_hidden()
    else:
        await page.get_by_text("Settings of Google Vertex AI").click()
    await project.fill("No Such Project!")
    await page.locator("[id='vertex.publisher']").select_option("anthropic")
    await ann.press("Add the provider")
    await expect(project).to_have_attribute("aria-invalid", "true")
    await expect(project).to_have_value("No Such Project!")
    await project.fill("my-project-123")
    await ann.press("Add the provider")
    await expect(page.get_by_role("status")).to_contain_text("Added.")
    await soon(lambda: "cloud" in house.hub.catalog.places)
    (options,) = [each.options for each in house.hub.settings.providers if each.name == "cloud"]
    assert (options.project, options.publisher) == ("my-project-123", "anthropic")
    await expect(page.get_by_label("As in config.toml")).to_have_value("")
    await expect(page.locator("[id='vertex.publisher']")).to_have_value("anthropic")
    await page.locator("[id='vertex.publisher']").select_option("")
    await ann.press("Save")
    await expect(page.locator("[id='vertex.publisher']")).to_have_value("")
    await expect(project).to_have_value("my-project-123")

    await ann.go("/setup/key")
    await page.get_by_label("Provider", exact=True).select_option("bedrock")
    if not scripts:
        await page.get_by_text("Settings of Amazon Bedrock").click()
    await expect(page.get_by_text("ACCESS_KEY_ID:SECRET_ACCESS_KEY")).to_be_visible()
    await ann.press("Add and try it")
    await expect(page.locator("[id='bedrock.region']")).to_have_attribute("aria-invalid", "true")
    await page.locator("[id='bedrock.region']").fill("eu-west-1")
    await page.get_by_label("API key", exact=True).fill("AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    await page.get_by_label("Keep it without trying it").check()
    await ann.press("Add and try it")
    await expect(page.get_by_role("heading", name="Who calls this hub first?")).to_be_visible()
    await soon(lambda: "bedrock" in house.hub.catalog.places and house.hub.catalog.places["bedrock"].keys)
    await ann.go("/keys?add=one&provider=cloud")
    await expect(page.get_by_text("cloud: The JSON of a service account")).to_be_visible()
    ann.well()


@SCRIPTS
async def test_many_keys_at_once_with_a_word_about_each(visit: Visit, house: House, scripts: bool) -> None:
    ann = await visit(house, "admin", java_script_enabled=scripts)
    page = ann.page
    await ann.go("/keys?add=many")
    twin = "sk-aaaaaaaaaaaaaaaaaaaaaaaa"
    text = f"name,secret,priority\na,{twin},2\nb,{twin},2\nc,sk-cccccccccccccccccccc,x"
    await page.get_by_label("Keys", exact=True).fill(text)
    await ann.press("Only look what would be done")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await expect(page.locator("main")).to_contain_text("Nothing was stored.")
    assert len(house.hub.catalog.places["echo"].keys) == 1
    await ann.press("Add the keys")
    for place, result in enumerate(("added", "duplicate", "refused")):
        await expect(page.locator("tbody tr").nth(place)).to_contain_text(result)
    await expect(page.locator("tbody tr").nth(2)).to_contain_text("priority must be a whole number")
    await soon(lambda: [key.name for key in house.hub.catalog.places["echo"].keys] == ["main", "a"])
    assert "sk-aaaa" not in await page.content()
    ann.well()


async def test_what_stands_in_the_file_is_only_switched(visit: Visit, house: House) -> None:
    ann = await visit(house, "admin")
    page = ann.page
    for path in ("/providers/echo", "/keys/echo/main"):
        await ann.go(path)
        await expect(page.locator("main")).to_contain_text("config.toml")
        assert await page.get_by_role("button", name="Save").count() == 0, path
        assert await page.get_by_text("Remove", exact=True).count() == 0, path
    await ann.press("Disable")
    await expect(page.get_by_role("status")).to_contain_text("Out of use.")
    assert await ask(house, "echo/small") != 200
    await ann.press("Use it again")
    assert await ask(house, "echo/small") == 200
    ann.well()


async def test_a_viewer_sees_and_has_no_forms(visit: Visit, house: House) -> None:
    ann = await visit(house, "viewer")
    for path in (
        "/keys", "/keys?add=one", "/keys/echo/main", "/providers", "/providers?add=1", "/providers/echo", "/routes",
        "/tokens", "/tokens?add=1",
    ):  # fmt: skip
        await ann.go(path)
        assert await ann.page.locator("main form[method=post]:not([action='/dry-run'])").count() == 0, path
        assert await ann.page.locator("main").get_by_role("link", name="Add").count() == 0, path
    ann.well()


async def test_who_was_second_is_told(visit: Visit, house: House) -> None:
    ann, bob = await visit(house, "admin"), await visit(house, "owner")
    ann.expected = REFUSED
    await ann.go("/tokens?add=1")
    await ann.page.get_by_label("Name").fill("game")
    await ann.press("Make the token")
    for each in (ann, bob):
        await each.go("/tokens/game")
    await bob.page.get_by_label("Requests a day").fill("10")
    await bob.press("Save")
    await ann.page.get_by_label("Requests a day").fill("99")
    await ann.press("Save")
    await expect(ann.page.get_by_role("alert")).to_contain_text("changed by somebody else meanwhile")
    await expect(ann.page.get_by_label("Requests a day")).to_have_value("99")


# --- routes and tokens


@SCRIPTS
async def test_a_route_is_made_changed_and_removed(visit: Visit, house: House, scripts: bool) -> None:
    ann = await visit(house, "admin", java_script_enabled=scripts)
    ann.expected, page = REFUSED, ann.page
    await ann.go("/routes?add=1")
    name = "team/fast"
    await page.get_by_label("Model", exact=True).fill(name)
    first = page.get_by_role("group", name="Deployment 1")
    await first.get_by_label("Model there").fill("small")
    await ann.press("Add the route")
    await expect(page.locator("[aria-invalid=true]")).to_have_count(1)
    await first.get_by_label("Provider").select_option("echo")
    await first.get_by_label("$/M in").fill("0.25")
    await page.get_by_label("Strategy").select_option("weighted")
    await ann.press("Add the route")
    await expect(page.get_by_role("status")).to_contain_text("Added.")
    assert await ask(house, name) == 200
    await expect(first.get_by_label("$/M in")).to_have_value("0.25")
    await page.get_by_text("More settings").click()
    await page.get_by_label("As in config.toml").fill("hedge = perhaps")
    await ann.press("Save")
    await expect(page.get_by_label("As in config.toml")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("As in config.toml").fill("hedge = true")
    await page.get_by_role("group", name="Deployment 2").get_by_label("Provider").select_option("echo")
    await page.get_by_role("group", name="Deployment 2").get_by_label("Model there").fill("large")
    await ann.press("Save")
    await expect(page.get_by_role("status")).to_contain_text("Changed.")
    await expect(page.get_by_label("As in config.toml")).to_have_value("hedge = true")
    await expect(page.locator("ul.lines").first).to_contain_text("echo/large#main")
    await ann.press("Disable")
    await expect(page.get_by_role("status")).to_contain_text("Out of use.")
    assert await ask(house, name) == 404
    await ann.press("Use it again")
    await page.get_by_text("Remove", exact=True).click()
    await ann.press(f"Remove {name}")
    await page.wait_for_url("**/routes?done=removed")
    ann.well()


@SCRIPTS
async def test_a_token_is_made_changed_rolled_and_revoked(visit: Visit, open_house: OpenHouse, scripts: bool) -> None:
    async with open_house(CONFIG + '[auth]\napi = "token"\n') as house:
        await add_people(house)
        ann = await visit(
            house, "admin", java_script_enabled=scripts, permissions=["clipboard-read", "clipboard-write"]
        )
        ann.expected, page = REFUSED, ann.page
        await ann.go("/tokens?add=1")
        await page.get_by_label("Name").fill("game")
        await page.get_by_label("Budget").fill("20 USD/moon")
        await ann.press("Make the token")
        await expect(page.get_by_label("Budget")).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("Budget").fill("20 USD/month")
        await page.get_by_label("Models").fill("echo/small")
        await ann.press("Make the token")
        token = await page.locator("#made").inner_text()
        if scripts:
            await page.locator("[data-copy=made]").click()
            await expect(page.locator("[data-copy=made]")).to_have_text("Copied")
            assert await page.evaluate("navigator.clipboard.readText()") == token
        assert await ask(house, "echo/small", token) == 200
        await page.get_by_role("link", name="I have kept it").click()
        assert token not in await page.content()
        await page.get_by_label("Models").fill("echo/other")
        await page.get_by_label("Ends").fill("2099-12-31")
        await ann.press("Save")
        await expect(page.get_by_label("Ends")).to_have_value("2099-12-31")
        assert await ask(house, "echo/small", token) == 403
        await page.get_by_label("Models").fill("")
        await ann.press("Save")
        await page.get_by_text("Roll", exact=True).click()
        await page.get_by_label("The one until now counts for").select_option("0")
        await ann.press("Roll game")
        rolled = await page.locator("#made").inner_text()
        assert await ask(house, "echo/small", token) == 401
        assert await ask(house, "echo/small", rolled) == 200
        await ann.go("/tokens/game")
        await ann.press("Disable")
        await expect(page.get_by_role("status")).to_contain_text("Out of use.")
        assert await ask(house, "echo/small", rolled) == 401
        await ann.press("Use it again")
        await page.get_by_text("Revoke", exact=True).click()
        await ann.press("Revoke game")
        await page.wait_for_url("**/tokens?done=removed")
        assert await ask(house, "echo/small", rolled) == 401
        ann.well()
