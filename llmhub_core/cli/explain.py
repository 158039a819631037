"""llm-hub explain"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from llmhub_core.cli.common import config_option, data_dir, data_option, fail, json_option, load_settings, print_json
from llmhub_core.contracts.errors import HubError, StartError

if TYPE_CHECKING:
    from llmhub_core.hub.dry_run import DryRun


@click.command("explain")
@click.argument("model", default="")
@click.option("--request", type=click.File("rb"), help="A request's body, as JSON; - reads standard input.")
@click.option("--dialect", default="openai_chat", show_default=True, help="The format of the request's caller.")
@config_option
@data_option
@json_option
def command(
    model: str, request: BinaryIO | None, dialect: str, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Show where a request for MODEL would go.

    With --request also what of it would get lost on the way to each candidate, how many tokens it would reserve, and
    the limits it would meet; where its body names the model, MODEL may be left out.

    This is what the configuration says. Cooldowns, and what is left of limits, live in the running hub, which shows
    them at /admin/api/explain and on its page of routes, and records for each request why every candidate was taken
    or left out.
    """
    body = b"" if request is None else request.read()
    if not (model or body):
        raise click.UsageError("Name a MODEL, or give a --request that names one.")
    _explain(model, body, dialect, config, data_dir, as_json)


def _explain(model: str, body: bytes, dialect: str, config: Path | None, folder: Path | None, as_json: bool) -> None:
    from llmhub_core.gateway.dry_run import dry_run
    from llmhub_core.hub.dry_run import Asked
    from llmhub_core.hub.hub import Hub

    loaded, registry = load_settings(config)
    base = loaded.path.absolute().parent if loaded.path is not None else Path.cwd()
    try:
        hub = Hub(loaded.settings, registry, data_dir(folder), base)
    except StartError as error:
        fail(str(error))
    if dialect not in hub.dialects:
        raise click.BadParameter(f"There are: {', '.join(hub.dialects)}.", param_hint="--dialect")
    for known in hub.catalog.places.values():
        known.listed = frozenset()  # nobody is asked here for the models that they have
    hub.quota = registry.quota_stores.get("memory")(None)  # what is left is not known here: everything
    try:
        run = asyncio.run(dry_run(hub, Asked(model, dialect, body)))
    except HubError as error:
        fail(error.message)
    attempts = loaded.settings.routing.attempts
    if as_json:
        print_json(_as_json(run, attempts))
    else:
        _print(run, attempts)


def _as_json(run: DryRun, attempts: int) -> dict[str, object]:
    plan = run.plan
    found: dict[str, object] = {
        "model": run.model,
        "strategy": plan.strategy,
        "attempts": attempts,
        "candidates": [look.stats.candidate.label for look in run.looks],
        "left_out": [{"candidate": label, "why": why} for label, why in plan.left_out],
    }
    if run.estimate is not None:
        found["tokens"] = run.estimate.tokens
        found["lost"] = {look.stats.candidate.label: list(look.lost) for look in run.looks}
    return found


def _print(run: DryRun, attempts: int) -> None:
    click.echo(f"{run.model}: strategy {run.plan.strategy}, {attempts} attempts at most")
    if run.estimate is not None:
        click.echo(f"  reserves {run.estimate.tokens:,} tokens")
    for place, look in enumerate(run.looks, 1):
        deployment, key = look.stats.candidate.deployment, look.stats.candidate.key
        rank = f"priority {deployment.priority}/{key.priority}, weight {deployment.weight}·{key.weight}"
        click.echo(f"  {place}. {look.stats.candidate.label}  ({rank})")
        if look.lost:
            click.echo(f"       adapted: {', '.join(look.lost)}")
        for fit in look.limits:
            span = f" in {fit.limit.window} s" if fit.limit.window else " at once"
            click.echo(f"       takes {fit.needs:,} of {fit.limit.amount:,} {fit.limit.kind}{span}")
    for label, why in run.plan.left_out:
        click.echo(f"  –  {label}  {why}")
