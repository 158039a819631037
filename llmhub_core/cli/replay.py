"""llm-hub replay"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmhub_core.cli.common import (
    config_option,
    data_dir,
    data_option,
    fail,
    json_option,
    load_source,
    print_json,
    span,
)
from llmhub_core.contracts.errors import StartError

if TYPE_CHECKING:
    from llmhub_core.gateway.replay import Replay, RouteReplay

PAGE = 1000
SHIFTS = 10
"""Shifts of the first choice that are shown of a route."""


@click.command("replay")
@click.option("--since", default="24h", callback=span, help="How far back: 90m, 24h, 7d, 4w.", show_default=True)
@click.option("--model", default=None, help="Only requests that asked for this name.")
@config_option
@data_option
@json_option
def command(since: float, model: str | None, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Make logged decisions again and show which would differ.

    With the configuration that is in force, none does. With --config new.toml it shows what that one would have
    changed: how many decisions, from which keys to which, and what it would have cost. Nothing is sent anywhere,
    and nothing written.
    """
    try:
        replay = asyncio.run(_replay(since, model, config, data_dir))
    except StartError as error:
        fail(str(error))
    if as_json:
        print_json(_in_json(replay))
    else:
        _print(replay)


async def _replay(since: float, model: str | None, config: Path | None, folder: Path | None) -> Replay:
    from llmhub_core.contracts.metadata_store import RecordFilter
    from llmhub_core.gateway.replay import Replay
    from llmhub_core.hub import moved
    from llmhub_core.hub.build import Sources, build_catalog, kinds_of, own_prices
    from llmhub_core.hub.configuration import base_of
    from llmhub_core.hub.hub import Hub
    from llmhub_core.hub.pricing import Pricing
    from llmhub_core.hub.standings import set_prices, unpriced
    from llmhub_core.hub.vault import Secret

    loaded, registry, source = load_source(config)
    hub = Hub(loaded.settings, registry, data_dir(folder), base_of(loaded), source, loaded)
    if not hub.data.is_dir():
        raise StartError(f"There is no data folder {hub.data}; has the hub run yet? (--data-dir names another)")
    await hub.store.start()
    try:
        if not (await hub.store.schema()).is_current:
            raise StartError("The database has no schema of this version; run: llm-hub migrate")
        await moved.mind(hub.store.configuration)
        settings = (await hub.configuration.look()).settings
        # What is stored beside the file counts too; nobody is called, so no secret has to be opened.
        unopened = {f"{place.name}/{key.name}": Secret("") for place in settings.providers for key in place.keys}
        catalog = build_catalog(settings, registry, Sources(base_of(loaded), stored=unopened))
        for place in catalog.places.values():
            place.listed = frozenset()  # nobody is asked here for the models that they have
        pricing = Pricing(own_prices(settings), kinds_of(settings))
        await pricing.learn(unpriced(catalog))
        set_prices(catalog, pricing)
        replay = Replay(catalog, pricing, changed=config is not None)
        wanted, before = RecordFilter(model=model, since=time.time() - since), None
        while page := await hub.store.requests(wanted, PAGE, before):
            for record in page:
                replay.add(record)
            before = page[-1].arrived_at, page[-1].id
        return replay
    finally:
        await hub.store.stop()


def _in_json(replay: Replay) -> list[dict[str, Any]]:
    return [
        {"route": name}
        | {key: value for key, value in dataclasses.asdict(found).items() if key != "shifts"}
        | {"shifts": [{"was": was, "now": now, "count": n} for (was, now), n in found.shifts.most_common()]}
        for name, found in sorted(replay.routes.items())
    ]


def _print(replay: Replay) -> None:
    if not replay.routes:
        click.echo("No decision was logged in this time.")
        return
    for name, found in sorted(replay.routes.items()):
        _print_route(name, found)
    decisions = sum(found.decisions for found in replay.routes.values())
    same = sum(found.same for found in replay.routes.values())
    click.echo(f"{decisions:,} decisions, {same:,} the same ({same / decisions:.1%})")


def _print_route(name: str, found: RouteReplay) -> None:
    click.echo(f"{name}: {found.decisions:,} decisions, {found.same:,} the same")
    told = (
        (found.other_first, "would have asked another candidate first"),
        (found.other_rest, "would have asked the same first, the others in another order"),
        (found.gone, "have no candidate any more"),
        (found.cut, "cannot be made again: they had more candidates than a record keeps"),
    )
    for count, words in told:
        if count:
            click.echo(f"  {count:,} {words}")
    for (was, now), count in found.shifts.most_common(SHIFTS):
        click.echo(f"    {count:>8,}  {was} → {now}")
    if found.cost or found.cost_now or found.unpriced:
        unpriced = f"; {found.unpriced:,} without a price are not in it" if found.unpriced else ""
        change = (found.cost_now - found.cost) / 1e9
        click.echo(
            f"  cost of those: {found.cost / 1e9:,.6f} USD then, {found.cost_now / 1e9:,.6f} by the same tokens "
            f"({change:+,.6f}){unpriced}"
        )
    for example in found.examples:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(example.at))
        click.echo(f"  {example.request} ({at} UTC)")
        click.echo(f"    then {', '.join(example.was[:3])}")
        click.echo(f"    now  {', '.join(example.now[:3])}")
