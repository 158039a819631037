"""A YAML document of which every place knows its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmhub_core.contracts.errors import StartError

Path = tuple[str | int, ...]

DEEPEST = 50
MOST = 100_000
"""Places. Aliases can make a few lines very many."""


@dataclass(slots=True)
class Document:
    """`lines` has the line of each place, by its path: of a table's entry that of its name."""

    value: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """Of the place, or of the nearest around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str) -> Document:
    """StartError if it is no YAML. Nothing in it is executed: tags that make objects are refused."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = Document(None, {})
        if node is not None:
            document.value = _value(node, (), document.lines, yaml.SafeLoader(""))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise StartError(f"That is no YAML: {where}{getattr(error, 'problem', None) or error}.") from None
    return document


def _value(node: Any, path: Path, lines: dict[Path, int], loader: Any) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > DEEPEST or len(lines) > MOST:
        raise StartError("That file is nested too deeply, or has too many places.")
    kind = type(node).__name__
    if kind == "MappingNode":
        loader.flatten_mapping(node)  # what << merges in
        found: dict[str, Any] = {}
        for name, each in node.value:
            key = str(loader.construct_object(name)) if type(name).__name__ == "ScalarNode" else "?"
            lines[(*path, key)] = name.start_mark.line + 1
            found[key] = _value(each, (*path, key), lines, loader)
        return found
    if kind == "SequenceNode":
        return [_value(each, (*path, number), lines, loader) for number, each in enumerate(node.value)]
    value = loader.construct_object(node)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
