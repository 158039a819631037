"""Writes docs/plugins/built-in.md: every plugin that comes with the hub, by door, with its settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmhub_core.hub.registry import DOORS, Registry
from llmhub_core.hub.settings_reference import settings_of

LONGEST = 100
"""Characters of a default that are shown."""

HEAD = """# Built-in plugins

Made from the code by `.ci/docs`. How each is chosen and where its table stands: [configuration](../configuration.md).
"""


def page() -> Iterator[str]:
    registry = Registry().discover()
    yield HEAD
    for door in DOORS:
        yield f"## {door.replace('_', ' ').capitalize()}\n"
        brought = sorted((cls for cls in getattr(registry, door) if _is_ours(cls)), key=lambda cls: str(cls.name))
        for cls in brought:
            alone = [each.__module__ for each in brought].count(cls.__module__) == 1
            yield from section(cls, (sys.modules[cls.__module__] if alone else cls).__doc__ or "")


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("llmhub_plugins.")


def section(cls: Any, about: str) -> Iterator[str]:
    yield f"### `{cls.name}`\n\n{' '.join(about.strip().partition(chr(10) * 2)[0].split())}\n"
    settings = settings_of(cls.Settings)
    if settings:
        yield "| setting | type | default | |\n|---|---|---|---|"
        for each in settings:
            default = "**required**" if each.required else f"`{each.default}`" if each.default else "none"
            default = default if len(default) < LONGEST else "built in"
            yield "| " + " | ".join([f"`{each.key}`", _cell(each.type), _cell(default), _cell(each.help)]) + " |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(page()), "utf-8")
