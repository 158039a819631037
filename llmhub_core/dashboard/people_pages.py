"""Who may come in: users, one user, one's own account with its tokens for scripts; and the audit of what all did."""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin import api, people, scripts
from llmhub_core.admin.audit import AuditAsked, CheckAsked, audit, check
from llmhub_core.admin.calls import query, taken
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.people import USER_ROLES
from llmhub_core.dashboard.audited import differences
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page, go
from llmhub_core.dashboard.render import render

ROLES = {
    "viewer": "sees all but settings and audit",
    "admin": "sees all, manages all but users",
    "owner": "sees and manages all",
}


# --- users


async def users(visit: Visit, form: Form = NOTHING_SENT, made: object = None) -> web.Response:
    facts = {"users": await people.users(visit), "form": form, "made": made, "roles": ROLES}
    return await render(visit, "users.html", facts, form.status)


async def add_user(visit: Visit) -> web.Response:
    try:
        sent = taken({name: visit.text(name) for name in ("name", "role", "password")}, people.NewUser)
        made = await people.add(visit, sent)
    except Denied as denied:
        return await users(visit, Form(visit.sent, denied))
    return await users(visit, made=made)


async def user(visit: Visit, form: Form = NOTHING_SENT, made: object = None) -> web.Response:
    found = await people.user(visit, visit.part("id"))
    facts = {"user": found, "form": form, "made": made, "roles": ROLES, "own": visit.is_self(found.id),
             "done": visit.request.query.get("done", "")}  # fmt: skip
    return await render(visit, "user.html", facts, form.status)


async def change_user(visit: Visit) -> web.Response:
    sent = {name: visit.text(name) for name in ("name", "role") if name in visit.sent}
    wanted = {**sent, **({"disabled": visit.text("disabled") == "yes"} if "disabled" in visit.sent else {})}
    try:
        await people.change(visit, visit.part("id"), taken(wanted, people.UserChange))
    except Denied as denied:
        return await user(visit, Form(visit.sent, denied))
    # Who gives up the rights of an owner cannot look at users any more.
    return go(f"/users/{visit.part('id')}?done=changed" if not _gave_up(visit, wanted) else "/")


def _gave_up(visit: Visit, wanted: dict[str, object]) -> bool:
    return visit.is_self(visit.part("id")) and (
        wanted.get("role", "owner") != "owner" or wanted.get("disabled") is True
    )


async def reset_user(visit: Visit) -> web.Response:
    try:
        made = await people.reset(visit, visit.part("id"), people.ResetPassword())
    except Denied as denied:
        return await user(visit, Form(visit.sent, denied))
    return await user(visit, made=made)


async def remove_user(visit: Visit) -> web.Response:
    try:
        await people.remove(visit, visit.part("id"))
    except Denied as denied:
        return await user(visit, Form(visit.sent, denied))
    return go("/users")


# --- oneself


async def account(visit: Visit, form: Form = NOTHING_SENT, made: object = None) -> web.Response:
    user = visit.person()
    facts = {
        "tokens": await scripts.admin_tokens(visit),
        "form": form,
        "made": made,
        "roles": USER_ROLES[: USER_ROLES.index(user.role) + 1],
        "done": visit.request.query.get("done", ""),
        "origin": visit.control.origin(visit.request),
    }
    return await render(visit, "account.html", facts, form.status)


async def change_password(visit: Visit) -> web.Response:
    try:
        if visit.text("new") != visit.text("again"):
            raise Denied(400, "not_equal", "The two new passwords are not equal.", field="again")
        await people.change_password(visit, people.NewPassword(password=visit.text("password"), new=visit.text("new")))
    except Denied as denied:
        return await account(visit, Form({}, denied, {"password": "new"}))
    return go("/account?done=password")


async def add_admin_token(visit: Visit) -> web.Response:
    try:
        sent = {name: visit.text(name) for name in ("name", "role", "lasts")}
        made = await scripts.add(visit, taken(sent, scripts.NewAdminToken))
    except Denied as denied:
        return await account(visit, Form(visit.sent, denied))
    return await account(visit, made=made)


async def revoke_admin_token(visit: Visit) -> web.Response:
    await scripts.revoke(visit, visit.part("id"))
    return go("/account?done=revoked")


# --- what everybody did


class AuditPageAsked(AuditAsked, kw_only=True):
    check: str = ""
    """Anything: look whether the chain is whole."""


async def audit_page(visit: Visit) -> web.Response:
    asked = query(visit.request, AuditPageAsked)
    page = await audit(visit.control, asked)
    chosen = {name: value for name, value in visit.request.query.items() if value and name not in ("cursor", "check")}
    facts = {
        "page": page,
        "changes": {line.number: differences(line.before, line.after) for line in page.items},
        "asked": asked,
        "filtered": bool(set(chosen) - {"limit"}),
        "checked": await check(visit.control, CheckAsked()) if asked.check else None,
        "older": None if page.next is None else "/audit?" + urlencode({**chosen, "cursor": page.next}),
        "paged": bool(asked.cursor),
        "newest": "/audit?" + urlencode(chosen),
        "csv": f"{api.ROOT}/audit?" + urlencode({**chosen, "format": "csv"}),
        "check": "/audit?" + urlencode({**chosen, "check": "1"}),
    }
    return await render(visit, "audit.html", facts)


PAGES = (
    Page("GET", "/users", "owner", users),
    Page("POST", "/users", "owner", add_user),
    Page("GET", "/users/{id}", "owner", user),
    Page("POST", "/users/{id}", "owner", change_user),
    Page("POST", "/users/{id}/reset", "owner", reset_user),
    Page("POST", "/users/{id}/remove", "owner", remove_user),
    Page("GET", "/account", "viewer", account),
    Page("POST", "/account/password", "viewer", change_password),
    Page("POST", "/account/tokens", "viewer", add_admin_token),
    Page("POST", "/account/tokens/{id}/revoke", "viewer", revoke_admin_token),
    Page("GET", "/audit", "admin", audit_page),
)
