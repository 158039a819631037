"""llm-hub explain"""

from __future__ import annotations

from pathlib import Path

import click

from llmhub_core.cli.common import config_option, data_dir, data_option, fail, json_option, load_settings, print_json
from llmhub_core.contracts.errors import StartError


@click.command("explain")
@click.argument("model")
@config_option
@data_option
@json_option
def command(model: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show where a request for MODEL would go.

    This is what the configuration says. Cooldowns live in the running hub, which records for each request
    why every candidate was taken or left out.
    """
    _explain(model, config, data_dir, as_json)


def _explain(model: str, config: Path | None, folder: Path | None, as_json: bool) -> None:
    from llmhub_core.gateway.route import plan_route
    from llmhub_core.hub.hub import Hub

    loaded, registry = load_settings(config)
    base = loaded.path.absolute().parent if loaded.path is not None else Path.cwd()
    try:
        hub = Hub(loaded.settings, registry, data_dir(folder), base)
    except StartError as error:
        fail(str(error))
    for known in hub.catalog.places.values():
        known.listed = frozenset()  # nobody is asked here for the models that they have
    route = hub.catalog.find(model)
    if route is None:
        fail(hub.catalog.unknown(model).message)
    plan = plan_route(route, hub, next(iter(hub.dialects.values())), turn=0)
    if as_json:
        print_json(
            {
                "model": model,
                "strategy": plan.strategy,
                "attempts": loaded.settings.routing.attempts,
                "candidates": [stats.candidate.label for stats in plan.candidates],
                "left_out": [{"candidate": label, "why": why} for label, why in plan.left_out],
            }
        )
        return
    click.echo(f"{model}: strategy {plan.strategy}, {loaded.settings.routing.attempts} attempts at most")
    for place, stats in enumerate(plan.candidates, 1):
        deployment, key = stats.candidate.deployment, stats.candidate.key
        rank = f"priority {deployment.priority}/{key.priority}, weight {deployment.weight}·{key.weight}"
        click.echo(f"  {place}. {stats.candidate.label}  ({rank})")
    for label, why in plan.left_out:
        click.echo(f"  –  {label}  {why}")
