"""Gateway and dashboard in one aiohttp application, opened and closed with the hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from llmhub_core.dashboard.pages import add_pages
from llmhub_core.gateway.paths import PLACE, add_gateway, write_error
from llmhub_core.gateway.server import Runner
from llmhub_core.hub.hub import Hub


def make_app(hub: Hub) -> web.Application:
    """The application around a hub that is not started yet: starting and stopping it goes with the application."""
    # The largest body is checked where it is read, with an error in the caller's dialect.
    app = web.Application(client_max_size=0)
    add_gateway(app, hub)
    add_pages(app)

    async def run_hub(app: web.Application) -> AsyncIterator[None]:
        await hub.start()
        yield
        await hub.stop()

    app.cleanup_ctx.append(run_hub)
    return app


def make_runner(hub: Hub) -> Runner:
    """A server for the application, not yet listening."""
    app = make_app(hub)
    place = app[PLACE]
    return Runner(app, place, partial(write_error, place))
