"""What holds for plugins of every kind: a name, a contract number, documented settings, a start and a stop."""

from __future__ import annotations

import dataclasses
import re
import typing

from llmhub_core.contracts import API, Plugin


class PluginSuite:
    """The part that all suites share; the suites of the doors build on it."""

    @classmethod
    def plugin_class(cls) -> type[Plugin]:
        raise NotImplementedError

    def test_it_has_a_name_and_a_contract(self) -> None:
        plugin = self.plugin_class()
        assert re.fullmatch(r"[a-z][a-z0-9_+-]*", plugin.name), "a name is what people write into config.toml"
        assert plugin.api == API
        assert not getattr(plugin, "__abstractmethods__", None), "not everything is implemented"

    def test_its_settings_are_documented(self) -> None:
        settings = self.plugin_class().Settings
        assert dataclasses.is_dataclass(settings)
        typing.get_type_hints(settings)  # raises for annotations that nobody could read a table with
        for field in dataclasses.fields(settings):
            help = field.metadata.get("help", "")
            assert field.metadata.get("hidden") or help, f'{field.name} lacks metadata={{"help": "…"}}'
            assert help.strip() == help
            assert "\n" not in help
