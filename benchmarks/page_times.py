"""How long every page and every list of the admin API takes the hub, over millions of records.

    python benchmarks/store_scale.py --records 10000000 --folder FOLDER sqlite
    python benchmarks/page_times.py sqlite:///FOLDER/hub.db
    python benchmarks/page_times.py postgresql://…

The hub has the providers, models and callers of these records, with 20 keys and 200 client tokens. Each address is
asked once for nothing, then `--again` times: told are, in milliseconds, the middle one, the slowest, and the CPU time
that one took the hub and, where `--server` names the first process of a PostgreSQL on this machine, that one too.
The database gets a user; nothing else in it changes.

Exit status 1: something was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from urllib.parse import quote

import aiohttp
from store_scale import Work, of_children

from llmhub_core.admin.accounts import Accounts
from llmhub_core.dashboard.pages import PAGES
from llmhub_core.testing.house import House

PASSWORD = "four words in one"
KEY = "lhk-QbWSHjvpiHLMVQNvdn6CrRrzkrpHpSuizDA9gRe86c7zrYdk0"
"""The same each time, or the next run could not open what this one sealed."""
ASKED = ("24h", "7d", "30d", "90d", "52w")
FILTERS = (
    "outcome=failed", "outcome=refused", "model=model-03", "provider=provider-2", "caller=team-000", "caller=team-180",
    "caller=nobody", "model=nothing", "provider=nobody", "model=model-03&outcome=failed",
    "provider=provider-2&outcome=cancelled", "caller=team-180&outcome=failed", "caller=team-180&model=model-03",
    "model=model-03&provider=provider-2",
)  # fmt: skip
LISTS = (
    "providers", "keys", "routes", "tokens", "quotas", "users", "admin-tokens", "audit", "alerts", "alerts/channels",
    "alerts/mutes", "faults", "plugins", "settings", "health", "openapi.json",
)  # fmt: skip
BY = ("model", "provider", "key", "caller", "hour", "day", "caller,model", "provider,key", "day,model", "day,caller")
SHOWS = ("tokens", "cost", "failures")


def config() -> str:
    text = '[secrets]\nkeys = ["env:PAGE_TIMES_KEY"]\n' + "[storage]\nkeep = 0\n[server]\nfault_lab = true\n"
    for number in range(5):
        text += f'[[providers]]\nname = "provider-{number}"\nkind = "echo"\n'
        for key in range(4):
            text += f'[[providers.keys]]\nname = "key-{key}"\nsecret = "sk-{number}-{key}-0123456789abcdef"\n'
            text += "limits = { rpm = 600, tpd = 100000000 }\n"
    for number in range(12):
        text += f'[[routes]]\nmodel = "model-{number:02}"\ndeployments = ['
        text += f'{{ provider = "provider-{number % 5}", model = "big-model-{number}" }}]\n'
    for number in range(200):
        text += f'[[tokens]]\nname = "team-{number:03}"\nhash = "sha256:{number:064x}"\nlimits = {{ rpm = 600 }}\n'
    return text


def addresses(older: str, id: str) -> Iterator[str]:
    yield from (page.path for page in PAGES if page.method == "GET" and "{" not in page.path and page.role)
    yield from ("/", "/providers/provider-1", "/keys/provider-1/key-2", "/routes/model-03", "/tokens/team-007")
    yield from (f"/?from={since}" for since in ASKED[:3])
    yield from (f"/requests/{id}", f"/requests?cursor={older}")
    yield from (f"/requests?{chosen}" for chosen in FILTERS)
    yield from (f"/requests?{chosen}&from={since}" for chosen in FILTERS[:6] for since in ("24h", "30d"))
    yield from (f"/usage?by={by}&from={since}" for by in BY for since in ASKED)
    yield from (f"/usage?by=minute&from={since}" for since in ASKED)
    yield from (f"/usage?by={by}&from={since}&show={show}" for by in BY[:4] for since in ASKED[:3] for show in SHOWS)
    yield from ("/settings?page=2", "/settings?only=set", "/settings?find=team-007")
    yield from (f"/admin/api/{kind}" for kind in LISTS)
    yield from (f"/admin/api/requests?limit=500&{chosen}" for chosen in ("", *FILTERS[:6]))
    yield "/admin/api/requests?limit=500&format=csv"
    yield from (f"/admin/api/usage?by={by}&from={since}" for by in BY for since in ASKED[1:])
    yield "/admin/api/usage?by=day,caller&from=24d&format=csv"


async def run(args: argparse.Namespace) -> int:
    failed, told, work = 0, [], Work(args.server)

    def spent() -> float:  # by the process that makes pages, too
        return work.seconds() + of_children(os.getpid())

    os.environ["PAGE_TIMES_KEY"] = KEY
    async with House(config(), {"LLMHUB_STORAGE__METADATA": args.database, "PAGE_TIMES_KEY": KEY}) as house:
        people = house.hub.store.people
        assert people is not None
        if await people.find_user("page-times") is None:
            accounts = Accounts(people)
            await accounts.add("page-times", "owner", PASSWORD)
            accounts.close()
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, headers={"origin": house.url}) as client:
            sent = {"name": "page-times", "password": PASSWORD}
            async with client.post(f"{house.url}/admin/api/session", json=sent) as answer:
                assert answer.status == 200, await answer.text()
            async with client.get(f"{house.url}/admin/api/requests?from=26w&to=25w") as answer:
                page = await answer.json()
            for path in dict.fromkeys(addresses(page["next"], quote(page["items"][0]["id"]))):
                if args.only not in path:
                    continue
                took, cpu = [], []
                for _ in range(1 + args.again):
                    began, before = time.perf_counter(), spent()
                    async with client.get(house.url + path) as answer:
                        size = len(await answer.read())
                    took.append((time.perf_counter() - began) * 1000)
                    cpu.append((spent() - before) * 1000)
                told.append((statistics.median(took[1:]), max(took[1:]), took[0], statistics.mean(cpu[1:]), size, path))
                if answer.status != 200:
                    failed += 1
                    print(f"{path}: {answer.status}")
    print("  median     max   first     CPU   bytes")
    for middle, most, first, cpu, size, path in sorted(told, reverse=True):  # type: ignore[assignment]
        print(f"{middle:8.1f}{most:8.1f}{first:8.1f}{cpu:8.1f}{size:8d}  {path}")
    for place, name in ((0, "by the clock"), (3, "of CPU")):
        of_each = [each[place] for each in told]
        print(
            f"{len(told)} addresses, {name}: middle one {statistics.median(of_each):.1f} ms, "  # type: ignore[type-var]
            f"slowest {max(of_each):.1f} ms"  # type: ignore[type-var]
        )
    return 1 if failed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="its URL, as in [storage] metadata")
    parser.add_argument("--only", default="", help="only addresses in which this occurs")
    parser.add_argument("--again", type=int, default=5, help="how often each is asked, after the first time")
    parser.add_argument(
        "--server", type=int, help="the id of PostgreSQL's first process, the first line of postmaster.pid"
    )
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
