"""The configuration, read again on demand."""

from __future__ import annotations

from collections.abc import Iterable

from llmhub_core.admin.calls import Asked, Endpoint
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.views import Problem, ReloadView
from llmhub_core.hub.hub import Hub


async def reload(visit: Visit, asked: Asked) -> ReloadView:
    control = visit.control
    done = await control.workers.reload()
    view = ReloadView(
        at=done.at,
        refused=bool(done.problems),
        changes=list(done.changes),
        problems=list(done.problems),
        warnings=list(done.warnings),
        left_out=[str(out) for out in done.left_out],
        needs_restart=list(done.needs_restart),
    )
    told = {"changes": view.changes, "problems": len(view.problems)}
    await control.accounts.note(
        visit.actor, visit.address, "configuration.reload", "", "refused" if view.refused else "done", after=told
    )
    return view


def problems(hub: Hub) -> Iterable[Problem]:
    """What is not well with it."""
    last = hub.configuration.last
    if last.problems:
        more = f" (and {len(last.problems) - 1} more)" if len(last.problems) > 1 else ""
        yield Problem(
            severity="error", what=f"The changed configuration is not used: {last.problems[0]}{more}",
            advice="Mend the file; until then the one before counts. llm-hub check tells all that is wrong.",
            page="health",
        )  # fmt: skip
    for out in hub.configuration.now.merged.left_out:
        yield Problem(
            severity="warning", what=f"The {out} — so it does not count.",
            advice="Change or remove it.", page="keys" if out.kind == "key" else "health",
        )  # fmt: skip
    if last.needs_restart:
        yield Problem(
            severity="note", what=f"Changed, and counting from the next start on: {', '.join(last.needs_restart)}.",
            advice="Start the hub again when it suits you.", page="health",
        )  # fmt: skip


ENDPOINTS = (
    Endpoint("POST", "/reload", "admin", reload, ReloadView, "Read the configuration again, and let it count."),
)
