"""What all answers of the control plane are made of."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class View(msgspec.Struct, kw_only=True):
    """An answer or a part of one; its fields have names and no order."""


class Page(msgspec.Struct, Generic[T]):
    """`next` is the `cursor` of the page that follows, None on the last."""

    items: list[T]
    next: str | None = None


class Done(View):
    done: bool = True
