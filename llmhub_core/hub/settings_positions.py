"""Where in a TOML file a key or a value stands. Loaded only when there is something to say about one."""

from __future__ import annotations

import tomllib
from typing import Literal

import tree_sitter
import tree_sitter_toml

from llmhub_core.hub.settings_words import KeyPath

DEEPEST = 32
"""Settings end long before; what lies deeper is found at its ancestor."""


class Positions:
    """Of a file that `tomllib` has read without complaint."""

    def __init__(self, text: bytes) -> None:
        self._lines = text.split(b"\n")
        self._keys: dict[KeyPath, tuple[int, int]] = {}
        self._values: dict[KeyPath, tuple[int, int]] = {}
        self._arrays: dict[KeyPath, int] = {}
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
        for node in parser.parse(text).root_node.named_children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in ("table", "table_array_element"):
                self._section(node)

    def find(self, path: KeyPath, at: Literal["key", "value"]) -> tuple[int, int]:
        """Line and column, both from 1, columns in characters; of the nearest ancestor if it stands nowhere."""
        first, second = (self._keys, self._values) if at == "key" else (self._values, self._keys)
        for length in range(len(path), 0, -1):
            point = first.get(path[:length]) or second.get(path[:length])
            if point is not None:
                return point
        return 1, 1

    def _section(self, node: tree_sitter.Node) -> None:
        """``[a.b]`` or ``[[a.b]]`` and its pairs."""
        head, *rest = node.named_children
        *outer, (last, last_node) = _names(head)
        path: KeyPath = ()
        for name, name_node in outer:
            path = (*path, name)
            self._keys.setdefault(path, self._point(name_node))
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
        path = (*path, last)
        self._keys.setdefault(path, self._point(last_node))
        if node.type == "table_array_element":
            self._arrays[path] = number = self._arrays.get(path, 0) + 1
            path = (*path, number - 1)
            self._keys[path] = self._point(last_node)
        for child in rest:
            if child.type == "pair":
                self._pair(child, path)

    def _pair(self, node: tree_sitter.Node, path: KeyPath) -> None:
        key, value, *_ = [child for child in node.named_children if child.type != "comment"]
        for name, name_node in _names(key):
            path = (*path, name)
            self._keys.setdefault(path, self._point(name_node))
        self._value(value, path)

    def _value(self, node: tree_sitter.Node, path: KeyPath) -> None:
        self._values[path] = self._point(node)
        if len(path) > DEEPEST:
            return
        children = [child for child in node.named_children if child.type != "comment"]
        if node.type == "inline_table":
            for child in children:
                self._pair(child, path)
        elif node.type == "array":
            for index, child in enumerate(children):
                self._value(child, (*path, index))

    def _point(self, node: tree_sitter.Node) -> tuple[int, int]:
        row, column = node.start_point
        return row + 1, len(self._lines[row][:column].decode(errors="replace")) + 1


def _names(key: tree_sitter.Node) -> list[tuple[str, tree_sitter.Node]]:
    """The parts of a key, quotes undone."""
    if key.type == "dotted_key":
        return [name for part in key.named_children for name in _names(part)]
    written = (key.text or b"").decode(errors="replace")
    if key.type == "bare_key":
        return [(written, key)]
    return [(next(iter(tomllib.loads(f"{written} = 0"))), key)]
