"""Gateway and control plane in one aiohttp application, opened and closed with the hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from llmhub_core.admin import events
from llmhub_core.admin.api import add_api
from llmhub_core.admin.control import Control
from llmhub_core.contracts.errors import HubError, MethodNotAllowed, NotFound
from llmhub_core.dashboard.pages import add_pages, lost
from llmhub_core.gateway.dry_run import dry_run
from llmhub_core.gateway.paths import PLACE, add_gateway, bar_if_sealed, write_error
from llmhub_core.gateway.reviving import keep_reviving
from llmhub_core.gateway.server import Runner
from llmhub_core.hub.dry_run import Asked, DryRun
from llmhub_core.hub.hub import Hub

CONTROL = web.AppKey("control", Control)


def make_app(hub: Hub) -> web.Application:
    """The application around a hub that is not started yet: starting and stopping it goes with the application."""
    # The largest body is checked where it is read, with an error in the caller's dialect.
    app = web.Application(client_max_size=0)
    add_gateway(app, hub)
    place = app[PLACE]

    async def explain(asked: Asked) -> DryRun:
        """The control plane may not know how the gateway plans, so it is lent this."""
        return await dry_run(hub, asked, place.upstream)

    control = app[CONTROL] = Control(hub, explain, place.upstream.fetch)
    events.prepare(app, control)
    add_api(app, control)
    add_pages(app, control)

    async def run_hub(app: web.Application) -> AsyncIterator[None]:
        await hub.start()
        bar_if_sealed(place)
        try:
            await control.open(os.environ)
            reviving = asyncio.create_task(keep_reviving(hub, place.upstream))
            yield
            reviving.cancel()
            await asyncio.gather(reviving, return_exceptions=True)
        finally:
            await control.close()
            await hub.stop()

    app.cleanup_ctx.append(run_hub)
    return app


def make_runner(hub: Hub) -> Runner:
    """A server for the application, not yet listening."""
    app = make_app(hub)
    place = app[PLACE]
    show_lost = lost(app[CONTROL])

    async def answer(request: web.BaseRequest, error: HubError) -> Any:
        """Programs get an error that they can read, people a page."""
        person = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if person and isinstance(error, NotFound | MethodNotAllowed) and isinstance(request, web.Request):
            response = await show_lost(request)
            if isinstance(error, MethodNotAllowed):
                response.headers["allow"] = ", ".join(error.allow)
            return response
        return await write_error(place, request, error)

    return Runner(app, place, answer)
