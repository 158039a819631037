"""Lists page by page: what may be asked of them, where a page begins, and those that are at hand cut into pages.

By keyset: a cursor says after what a page begins, so that what comes or goes meanwhile moves nothing else.
"""

from __future__ import annotations

import base64
from bisect import insort
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views.base import Page

T = TypeVar("T")

MOST = 500
"""Items of a page."""

Limit = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": MOST})]
Format = Literal["json", "csv"]

Order = tuple[str, ...]
"""By what the items of a list follow each other; no two of them have the same."""


class ListAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything else that a list is asked for is a filter: what it holds is wanted of the field of that name."""

    limit: Limit = MOST
    cursor: str = ""
    format: Format = "json"


class FindAsked(ListAsked, kw_only=True):
    """`find` is a part of the name, whatever the case of its letters."""

    find: str = ""


_PAGING = {*FindAsked.__struct_fields__}


def page_limit(limit: int) -> int:
    if not 1 <= limit <= MOST:
        raise unusable(f"limit must be from 1 to {MOST}.")
    return limit


# cursors


def cursor(asked: object, *order: str) -> str:
    """For the page after the item that stands there, of the list that `asked` asks for."""
    text = msgspec.json.encode((type(asked).__name__, *order))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def after(asked: Any) -> Order | None:
    """Where the page before ended; None: this is the first. Denied if the cursor is of no such list."""
    text: str = asked.cursor
    if not text:
        return None
    try:
        told = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        of, *order = msgspec.json.decode(told, type=tuple[str, ...])
    except (ValueError, msgspec.MsgspecError):
        raise strange_cursor() from None
    if of != type(asked).__name__:
        raise strange_cursor()
    return tuple(order)


def moment_cursor(asked: object, at: float, id: str) -> str:
    """Of a list by time."""
    return cursor(asked, repr(at), id.encode("utf-8", "replace").decode())


def after_moment(asked: Any) -> tuple[float, str] | None:
    order = after(asked)
    if order is None:
        return None
    try:
        at, id = order
        return float(at), id
    except ValueError:
        raise strange_cursor() from None


def strange_cursor() -> Denied:
    return unusable("The cursor is none of ours.", "Take `next` of the page before, as it is.")


# what is at hand


def by_time(at: float, id: str) -> Order:
    """The earliest first."""
    return f"{at:020.6f}", id


def named(find: str) -> Callable[..., bool]:
    """Whether `find` is a part of any of some names."""
    part = find.strip().casefold()
    return lambda *names: any(part in name.casefold() for name in names)


def fitting(asked: ListAsked, *names: str) -> Callable[[Any], bool]:
    """Whether an item has what is asked for in the fields that are called so; `names` are those that `find` is for."""
    fields = set(asked.__struct_fields__) - _PAGING
    wanted = {name: value for name in fields if (value := getattr(asked, name)) is not None}
    found = named(getattr(asked, "find", ""))

    def fits(item: Any) -> bool:
        return all(getattr(item, name) == value for name, value in wanted.items()) and (
            not names or found(*(getattr(item, name) for name in names))
        )

    return fits


async def page(items: Iterable[T], asked: ListAsked, order: Callable[[T], Order], fits: Callable[[T], bool]) -> Page[T]:
    """The next of those that fit, in their order, whatever order they come in."""
    limit, begins = page_limit(asked.limit), after(asked)
    found: list[tuple[Order, T]] = []
    async for item in unhurried(items):
        place = order(item)
        if begins is not None and place <= begins:
            continue
        if (len(found) <= limit or place < found[-1][0]) and fits(item):
            insort(found, (place, item), key=itemgetter(0))
            del found[limit + 1 :]
    more = len(found) > limit
    return Page([item for _, item in found[:limit]], cursor(asked, *found[limit - 1][0]) if more else None)
