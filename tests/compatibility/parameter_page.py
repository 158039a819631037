"""docs/parameters.md: what becomes of every parameter towards every format, read from the bodies that go out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from parameters import CLOSED, SECTIONS, Json, Parameter

from llmhub_core.contracts import BadRequest, ChatRequest, Dialect, Where
from llmhub_core.gateway.passage import encoded_for

HEAD = """# Parameters

What becomes of a parameter when a caller of another format asks for it. Made by `python -m tests.compatibility` from
what goes out: for each cell a request is written for that model, and compared with the same request without the
parameter.

* a name: it is said, under this name in the provider's body
* *renamed*, *clamped*, *reduced*, *relaxed*, *emulated*: it is said in another way (a budget as an effort), with
  another value, with a schema that says less or does not bind, by other means; behind it stands where
* *dropped*: the format or the model lacks it
* *refused*: the hub answers with status 400 and the code behind it, and asks no provider
* *moot*: nothing has to be said, for it asks for what happens there anyway
* *own*: only callers of the same format have it

Whatever is not said as it was asked is named in `x-llmhub-adapted`, and `x-llmhub-strict: 1` refuses it. What a caller
of the provider's own format asks for goes out as it came. Whole requests: [compatibility](compatibility.md).
"""


@dataclass(frozen=True)
class Target:
    """A column."""

    dialect: str
    model: str

    @property
    def title(self) -> str:
        return f"{TITLES[self.dialect]}<br>`{self.model}`"


TITLES = {
    "openai_chat": "Chat",
    "openai_responses": "Responses",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
}

TARGETS = (
    Target("openai_chat", "gpt-4.1"),
    Target("openai_chat", "gpt-5.1"),
    Target("openai_chat", "llama-4-maverick"),
    Target("openai_responses", "gpt-4.1"),
    Target("openai_responses", "gpt-5.1"),
    Target("anthropic", "claude-sonnet-4-6"),
    Target("anthropic", "claude-opus-4-7"),
    Target("gemini", "gemini-2.5-flash"),
    Target("gemini", "gemini-3-flash"),
)

_PLAIN: dict[str, Json] = {
    "openai_chat": {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]},
    "openai_responses": {"model": "m", "input": [{"role": "user", "content": "Say hello."}]},
    "anthropic": {"model": "m", "max_tokens": 1000, "messages": [{"role": "user", "content": "Say hello."}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]},
}
_TOOL: dict[str, Json] = {
    "openai_chat": {"tools": [{"type": "function", "function": {"name": "get_weather", "parameters": CLOSED}}]},
    "openai_responses": {"tools": [{"type": "function", "name": "get_weather", "parameters": CLOSED, "strict": False}]},
    "anthropic": {"tools": [{"name": "get_weather", "input_schema": CLOSED}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": CLOSED}]}]},
}


@dataclass(frozen=True)
class Verdict:
    """What became of it: `words` of what was lost (empty: it is said), `places` in the body that differ."""

    words: tuple[str, ...]
    places: tuple[str, ...]
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        where = ", ".join(f"`{place}`" for place in self.places)
        if not self.words:
            return where
        words = ", ".join(f"*{word}*" for word in self.words)
        return f"{words}: {where}" if where and self.words != ("dropped",) else words


def verdicts(parameter: Parameter, target: Target) -> dict[str, Verdict]:
    """By the caller's dialect."""
    return {source: _verdict(parameter, source, target) for source in parameter.said}


def _verdict(parameter: Parameter, source: str, target: Target) -> Verdict:
    dialect = _built_in(target.dialect)
    without = dialect.encode_request(_read(_plain(parameter, source), source), target.model)
    try:
        encoded = encoded_for(dialect, decoded(parameter, source), target.model)
    except BadRequest as refusal:
        return Verdict((f"refused ({refusal.code})",), ())
    lost = [entry for entry in encoded.adapted if entry not in without.adapted]
    before, after = dict(_leaves(json.loads(without.body))), dict(_leaves(json.loads(encoded.body)))
    changed = [path for path in after if after[path] != before.get(path)]
    words = tuple(dict.fromkeys(entry.rpartition("=")[2] for entry in lost))
    return Verdict(words, tuple(dict.fromkeys(map(_short, changed))), tuple(after[path] for path in changed))


def decoded(parameter: Parameter, source: str) -> ChatRequest:
    """The request with the parameter, as the caller's dialect reads it."""
    return _read(_merged(_plain(parameter, source), parameter.said[source]), source)


def _plain(parameter: Parameter, source: str) -> Json:
    beside = {**(_TOOL[source] if parameter.tools else {}), **parameter.beside.get(source, {})}
    return {**_PLAIN[source], **beside}


def _read(body: Json, source: str) -> ChatRequest:
    dialect = _built_in(source)
    where = Where({"model": "m", "verb": "generateContent"} if source == "gemini" else {}, {})
    raw = json.dumps(body).encode()
    return dialect.decode_request(raw, dialect.read_head(raw, where), where)


def fault(parameter: Parameter, source: str, target: Target) -> str:
    """What is wrong with a verdict: something that vanished unsaid, or is said to be what it is not. "" if nothing."""
    verdict = _verdict(parameter, source, target)
    about = f"{parameter.title}, from {source} to {target.dialect}/{target.model}: {verdict}"
    if source == target.dialect and verdict.words:
        return f"{about}: a caller of the same format must lose nothing"
    if any(word.startswith("refused") for word in verdict.words):
        return ""
    told = parameter.told_to(target.dialect)
    seen = any(type(value) is type(told) and value == told for value in verdict.values)
    if not verdict.words and not seen and {target.dialect, target.model}.isdisjoint(parameter.moot):
        return f"{about}: {told!r} is neither in the body nor told as lost"
    if verdict.words == ("dropped",) and seen:
        return f"{about}: told as dropped and yet in the body"
    if set(verdict.words) - {"dropped"} and not verdict.places:
        return f"{about}: nothing of it is in the body"
    return ""


def _merged(base: Any, more: Any) -> Any:
    if isinstance(base, dict) and isinstance(more, dict):
        return {**base, **{name: _merged(base.get(name), value) for name, value in more.items()}}
    return more


@cache
def _built_in(name: str) -> Dialect:
    kinds = importlib.import_module(f"llmhub_plugins.dialects.{name}").register_dialects()
    kind = next(kind for kind in kinds if kind.name == name)
    dialect: Dialect = kind(kind.Settings())
    return dialect


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def _short(path: str) -> str:
    """The field as its reference names it, without what lies within."""
    names = path.partition("[")[0].split(".")
    return ".".join(names[: 2 if names[0] in _NESTED else 1])


_NESTED = {"generationConfig", "toolConfig", "output_config", "reasoning", "text", "thinking", "metadata"}


# The page.


def page() -> str:
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    for section, rows in SECTIONS.items():
        yield f"## {section}\n"
        yield "| | " + " | ".join(target.title for target in TARGETS) + " |"
        yield "|" + "---|" * (len(TARGETS) + 1)
        for parameter in rows:
            yield f"| {parameter.title} | " + " | ".join(_cell(parameter, target) for target in TARGETS) + " |"
        yield ""


def _cell(parameter: Parameter, target: Target) -> str:
    found = verdicts(parameter, target)
    own = found.pop(target.dialect, None)
    if own is not None and not found:
        return f"{own} (*own*)"
    cells: dict[str, list[str]] = {}
    for source, verdict in found.items():
        cells.setdefault(str(verdict) or "*moot*", []).append(TITLES[source])
    if len(cells) == 1:
        return next(iter(cells))
    return "; ".join(f"{text} (from {', '.join(sources)})" for text, sources in cells.items())
