"""Keys and tokens are found on their pages by name and more, and many come page by page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse

from llmhub_core.admin.accounts import Accounts
from llmhub_core.dashboard.entries import MANY, SHOWN
from llmhub_core.testing.house import House

COUNT = SHOWN + 20


def _config(count: int) -> str:
    keys = "".join(
        f'\n  [[providers.keys]]\n  name = "k{number:03}"\n  secret = "sk-{number:03}-0123456789abcdef"\n'
        + ("  disabled = true\n" if number % 10 == 0 else "")
        for number in range(count)
    )
    tokens = "".join(
        f'\n[[tokens]]\nname = "caller-{number:03}"\nhash = "sha256:{number + 1:064x}"\n' for number in range(count)
    )
    return f'{CONFIG}\n[[providers]]\nname = "many"\nkind = "echo"\n{keys}{tokens}'


async def _shown(browser: Browser, path: str, status: int = 200) -> str:
    answer = await browser.ask("GET", path)
    assert answer.status == status
    return re.sub(r"\s+", " ", await answer.text())


def _links(text: str, path: str) -> list[str]:
    return re.findall(rf'href="{path}/([^"?]+)"', text)


@pytest.fixture
async def house(open_house: OpenHouse, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    async with open_house(_config(getattr(request, "param", COUNT))) as house:
        accounts = Accounts(people_of(house))
        await accounts.add("viewer", "viewer", PASSWORD)
        accounts.close()
        yield house


@pytest.fixture
async def ann(house: House, browser: MakeBrowser) -> Browser:
    return await browser("viewer")


FORM = {"/keys": 'aria-label="Filter keys"', "/tokens": 'aria-label="Find tokens"'}


@pytest.mark.parametrize("house", [MANY - 2, MANY], indirect=True)
@pytest.mark.parametrize("path", FORM)
async def test_few_need_no_form(house: House, ann: Browser, path: str) -> None:
    """CONFIG has two keys and a token."""
    shown = await _shown(ann, path)
    count = len(_links(shown, path))
    assert (FORM[path] in shown) is (count > MANY)
    assert FORM[path] in await _shown(ann, f"{path}?find=a"), "what is asked for can be seen, and cleared"


@pytest.mark.parametrize("path", FORM)
async def test_many_come_page_by_page(ann: Browser, path: str) -> None:
    first = await _shown(ann, path)
    (more,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = await _shown(ann, more.replace("&amp;", "&"))
    found = [_links(each, path) for each in (first, second)]
    assert len(found[0]) == SHOWN
    assert len({*found[0], *found[1]}) == len(found[0]) + len(found[1]) == COUNT + (2 if path == "/keys" else 1)
    assert 'rel="next"' not in second
    assert f'href="{path}">The first ' in second
    assert "The first" not in first


async def test_keys_are_found(ann: Browser) -> None:
    one = await _shown(ann, "/keys?find=K007")
    assert _links(one, "/keys") == ["many/k007"]
    assert 'value="K007"' in one
    assert ">Clear</a>" in one
    assert _links(await _shown(ann, "/keys?provider=echo"), "/keys") == ["echo/main", "echo/spare"]
    out = await _shown(ann, "/keys?provider=many&state=disabled")
    assert len(_links(out, "/keys")) == COUNT // 10
    assert re.search(r"<option[^>]* selected>many</option>", out)
    assert re.search(r"<option[^>]* selected>disabled</option>", out)
    assert f"{COUNT - COUNT // 10} of {COUNT} keys usable" in out, "of all its keys, not of those that are shown"
    part = await _shown(ann, "/keys?find=many%2F")
    (more,) = re.findall(r'href="([^"]+)" rel="next"', part)
    assert "find=many%2F" in more, "the next page has the same filter"
    assert len(_links(await _shown(ann, more.replace("&amp;", "&")), "/keys")) == COUNT - SHOWN
    none = await _shown(ann, "/keys?find=nobody")
    assert "No key fits these filters" in none
    assert f"There are {COUNT + 2} keys in all." in none
    assert '<a class="button" href="/keys">Clear the filters</a>' in none


async def test_tokens_are_found(ann: Browser) -> None:
    assert _links(await _shown(ann, "/tokens?find=-01"), "/tokens") == [f"caller-01{digit}" for digit in range(10)]
    none = await _shown(ann, "/tokens?find=nobody")
    assert "No token is called so" in none
    assert f"There are {COUNT + 1} tokens in all." in none


@pytest.mark.parametrize(
    ("query", "said"),
    [("state=resting", "state cannot be"), ("provider=nobody", "provider cannot be"), ("cursor=AAAA", "none of ours")],
)
async def test_an_address_that_cannot_be_is_told_so(ann: Browser, query: str, said: str) -> None:
    assert said in await _shown(ann, f"/keys?{query}", 400)
