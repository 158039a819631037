"""What the environment says: variables that override settings, and providers found where no file names any."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmhub_core.hub.settings import Known, Settings
from llmhub_core.hub.settings_reader import arms, described, unknown_plugin
from llmhub_core.hub.settings_words import KeyPath, closest, listing

PREFIX = "LLMHUB_"
NESTING = "__"
"""Variables of ours without it (LLMHUB_CONFIG, LLMHUB_DATA_DIR, LLMHUB_SECRET_KEY …) are no settings."""


@dataclass(slots=True)
class Overridden:
    """`document` with the variables in it, and which variable each setting came from."""

    document: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def variables() -> dict[str, tuple[str, str, Any]]:
    """Every variable that overrides a setting: table, key and type."""
    return {
        f"{PREFIX}{table.name}{NESTING}{setting.name}".upper(): (table.name, setting.name, setting.hint)
        for table in described(Settings)
        if isinstance(table.hint, type) and dataclasses.is_dataclass(table.hint)
        for setting in described(table.hint)
    }


def override(document: Mapping[str, Any], environ: Mapping[str, str]) -> Overridden:
    """Put ``LLMHUB_SERVER__PORT=9000`` and the like over what the file says."""
    result = Overridden(dict(document))
    said = {name: text for name, text in environ.items() if name.startswith(PREFIX) and NESTING in name}
    if not said:
        return result
    valid = variables()
    for name, text in sorted(said.items()):
        if name not in valid:
            result.problems.append(f"{name}: is not a setting{_nearest_variable(name, valid)}")
            continue
        table, key, hint = valid[name]
        there = result.document.get(table, {})
        if isinstance(there, dict):  # anything else is a problem of the file, and told there
            result.document[table] = {**there, key: _value(text.strip(), hint)}
            result.origins[table, key] = name
    return result


def _nearest_variable(name: str, valid: Iterable[str]) -> str:
    # Without the prefix, which would make any two names look alike.
    near = closest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in valid])
    return f"; did you mean {PREFIX}{near}?" if near else f"; settings are {PREFIX}TABLE{NESTING}KEY"


def _value(text: str, hint: Any) -> Any:
    """As TOML would give it; what does not fit stays text, and the reader complains about it."""
    (kind, *_), _ = arms(hint)
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind is int and re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        return int(text)
    if kind is not str and not isinstance(kind, type):  # a tuple; the only ones here are of texts
        return [part.strip() for part in text.split(",") if part.strip()] if _is_array(kind) else text
    return text


def _is_array(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


class Place(NamedTuple):
    """A provider that the environment can offer: `variables` of its key, best first. `preset` is its name among those
    of kind openai_compatible; tokens that lie in many environments for other purposes (GITHUB_TOKEN, HF_TOKEN) are no
    invitation to use them."""

    name: str
    kind: str
    variables: tuple[str, ...]
    preset: str = ""
    base_variable: str = ""


def _preset(name: str, variable: str) -> Place:
    return Place(name, "openai_compatible", (variable,), preset=name)


PLACES = (
    Place("openai", "openai", ("OPENAI_API_KEY",), base_variable="OPENAI_BASE_URL"),
    Place("anthropic", "anthropic", ("ANTHROPIC_API_KEY",), base_variable="ANTHROPIC_BASE_URL"),
    Place("gemini", "gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), base_variable="GEMINI_BASE_URL"),
    _preset("groq", "GROQ_API_KEY"),
    _preset("mistral", "MISTRAL_API_KEY"),
    _preset("deepseek", "DEEPSEEK_API_KEY"),
    _preset("xai", "XAI_API_KEY"),
    _preset("together", "TOGETHER_API_KEY"),
    _preset("openrouter", "OPENROUTER_API_KEY"),
    _preset("cerebras", "CEREBRAS_API_KEY"),
    _preset("fireworks", "FIREWORKS_API_KEY"),
    _preset("perplexity", "PERPLEXITY_API_KEY"),
    _preset("sambanova", "SAMBANOVA_API_KEY"),
    _preset("nvidia", "NVIDIA_API_KEY"),
    _preset("deepinfra", "DEEPINFRA_API_KEY"),
    _preset("moonshot", "MOONSHOT_API_KEY"),
    _preset("zai", "ZAI_API_KEY"),
    _preset("qwen", "DASHSCOPE_API_KEY"),
    _preset("minimax", "MINIMAX_API_KEY"),
    _preset("cohere", "COHERE_API_KEY"),
    _preset("vercel", "AI_GATEWAY_API_KEY"),
    _preset("avian", "AVIAN_API_KEY"),
)


@dataclass(slots=True)
class Discovered:
    """A document as a file would give it; `found` in words, `warnings` about what could not be used."""

    document: dict[str, Any] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def discover(environ: Mapping[str, str], known: Known) -> Discovered:
    """Providers whose keys are in the environment; provider `echo` with a route if there is none."""
    result = Discovered()
    providers: list[dict[str, Any]] = []
    for place in PLACES:
        names = _key_variables(place, environ)
        if not names:
            continue
        if place.kind not in known.provider_kinds:
            result.warnings.append(f"{names[0]}: not used; {unknown_plugin(known, 'provider_kinds', place.kind)}")
            continue
        base_url = environ.get(place.base_variable, "").strip()
        providers.append(_provider(place, names, base_url))
        result.found.append(f"{place.name} ({listing(names)})" + (f" at {base_url}" if base_url else ""))
    if not providers:
        result.found.append("none, so that provider echo answers for model echo")
        providers.append({"name": "echo", "kind": "echo"})
        result.document["routes"] = [{"model": "echo", "deployments": [{"provider": "echo", "model": "echo"}]}]
    result.document["providers"] = providers
    return result


def _key_variables(place: Place, environ: Mapping[str, str]) -> list[str]:
    """``OPENAI_API_KEY``, ``OPENAI_API_KEY_2``, …, those that hold something, in order."""
    for name in place.variables:
        numbered = [(1, name)] if environ.get(name, "").strip() else []
        for variable, text in environ.items():
            number = re.fullmatch(re.escape(name) + r"_([1-9][0-9]{0,3})", variable)
            if number and text.strip():
                numbered.append((int(number[1]), variable))
        if numbered:
            return [variable for _, variable in sorted(numbered)]
    return []


def _provider(place: Place, names: list[str], base_url: str) -> dict[str, Any]:
    keys = [{"name": f"key-{number}", "secret": f"env:{name}"} for number, name in enumerate(names, 1)]
    provider: dict[str, Any] = {"name": place.name, "kind": place.kind, "keys": keys}
    more = {"preset": place.preset, "base_url": base_url}
    return provider | {key: value for key, value in more.items() if value}
