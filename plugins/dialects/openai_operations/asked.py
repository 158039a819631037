"""The cheap look at a JSON request: one typed decode, as for all formats of the family.

Nothing is refused that some server might understand: unknown fields pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from llmhub_plugins.dialects.openai import checks


class Asked(checks.Steered, kw_only=True):
    """What the body of every operation holds; each adds its own fields."""

    model: str = ""


T = TypeVar("T", bound=Asked)


def read(body: bytes, decode: Callable[[bytes], T], default_model: str = "") -> T:
    """`body` as `decode` reads it; BadRequest with `param` for what cannot be used. Without a `default_model` the
    caller has to name one."""
    asked = checks.parse(body, decode)
    checks.check_steering(asked)
    if not asked.model:
        if not default_model:
            checks.missing("model")
        asked.model = default_model
    checks.check_model(asked.model)
    return asked
