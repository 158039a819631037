"""A request's body as a place takes it. A body in which nothing is odd for the place passes without being parsed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from llmhub_plugins.providers.openai_compatible import structured
from llmhub_plugins.providers.openai_compatible.body import Body
from llmhub_plugins.providers.openai_compatible.preset import CHAT_PATH, Quirks, Rule

from llmhub_core.contracts import BadRequest

_THOUGHTS = ("reasoning_content", "reasoning")


class Outgoing:
    """Rewrites bodies for one place; keeps nothing between requests."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        paths = {CHAT_PATH, *(rule.path for rule in quirks.rules)}
        self._rules = {path: tuple(rule for rule in quirks.rules if rule.path == path) for path in paths}
        self._told = {path: _pattern(self._words(path)) for path in paths}

    def rewrite(self, path: str, body: bytes) -> tuple[bytes, list[str]]:
        """`body` for the place, and what got lost. BadRequest (`unsupported_content`) for what cannot be left out."""
        told = self._told.get(path)
        if told is None or not told(body):
            return body, []
        parsed = Body(body)
        for rule in self._rules[path]:
            _apply(rule, parsed)
        if path == CHAT_PATH:
            self._chat(parsed)
        return parsed.bytes(), parsed.adapted

    def _words(self, path: str) -> Iterator[str]:
        """Whatever a body must hold, between quotes, if anything in it is to be changed."""
        for rule in self._rules[path]:
            yield from (*rule.drop, *rule.forget, *rule.rename, *rule.clamp, *rule.words, *rule.longest)
        if path != CHAT_PATH:
            return
        quirks = self._quirks
        yield from quirks.message_drop
        if not quirks.developer:
            yield "developer"
        if quirks.plain_text:
            yield "text"
        if quirks.tool_id_length or quirks.thoughts_required:
            yield from ("tool_calls", "tool_call_id")
        if quirks.thoughts != "*":
            yield from (name for name in _THOUGHTS if name != quirks.thoughts)
        if not quirks.strict_tools:
            yield "strict"
        if not quirks.tools:
            yield from ("tools", "functions")
        if not quirks.several:
            yield "n"
        yield from structured.words(quirks)

    def _chat(self, body: Body) -> None:
        quirks = self._quirks
        if not quirks.several:
            _one_choice(body)
        if not quirks.tools:
            _no_tools(body)
        if not quirks.strict_tools:
            _loose_tools(body)
        self._messages(body)
        structured.apply(quirks, body)

    # messages

    def _messages(self, body: Body) -> None:
        messages = body.get("messages")
        if not isinstance(messages, list):
            return
        before = len(body.adapted)
        changed = False
        for index, message in enumerate(messages):
            if isinstance(message, dict):
                changed |= self._message(message, f"messages[{index}]", body.adapted)
        if changed or len(body.adapted) > before:
            body.set("messages", messages)

    def _message(self, message: dict[str, Any], path: str, adapted: list[str]) -> bool:
        quirks = self._quirks
        changed = False
        if message.get("role") == "developer" and not quirks.developer:
            message["role"], changed = "system", True
        for name in quirks.message_drop:
            # A function's name beside its result is every place's.
            if name in message and not (name == "name" and message.get("role") in ("tool", "function")):
                if message.pop(name) not in (None, "", []):
                    adapted.append(f"{path}.{name}=dropped")
                changed = True
        if message.get("role") == "assistant" and quirks.thoughts != "*":
            changed |= self._thoughts(message, path, adapted)
        if quirks.plain_text:
            changed |= _as_text(message)
        if quirks.tool_id_length:
            changed |= self._ids(message)
        return changed

    def _thoughts(self, message: dict[str, Any], path: str, adapted: list[str]) -> bool:
        wanted = self._quirks.thoughts
        changed = False
        for name in _THOUGHTS:
            if name == wanted or name not in message:
                continue
            said = message.pop(name)
            changed = True
            if wanted and isinstance(said, str):
                message.setdefault(wanted, said)
            elif said:
                adapted.append(f"{path}.{name}=dropped")
        if self._quirks.thoughts_required and message.get("tool_calls") and message.get(wanted) is None:
            message[wanted], changed = "", True
        return changed

    def _ids(self, message: dict[str, Any]) -> bool:
        changed = False
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict):
                changed |= self._short(call, "id")
        return self._short(message, "tool_call_id") or changed

    def _short(self, holder: dict[str, Any], name: str) -> bool:
        id, length = holder.get(name), self._quirks.tool_id_length
        if not isinstance(id, str) or (len(id) == length and id.isascii() and id.isalnum()):
            return False
        # Made of the id alone, so that call and result agree in every turn, whoever sends them.
        holder[name] = hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:length]
        return True


def _pattern(words: Iterator[str]) -> Callable[[bytes], bool]:
    """A search for any of `words` as a whole JSON string; a key written with escapes makes it look closer, too."""
    found = sorted(set(words))
    if not found:
        return lambda body: False
    # The first letters alone rule most strings out: a prompt may hold a hundred thousand of them.
    firsts, choices = "".join(sorted({word[0] for word in found})), "|".join(map(re.escape, found))
    plain = re.compile(f'"(?=[{firsts}])(?:{choices})"'.encode()).search
    return lambda body: plain(body) is not None or (b"\\u00" in body and _ESCAPED(body) is not None)


_ESCAPED = re.compile(rb"\\u00[2-7]").search
"""A letter of ASCII written as an escape, which nobody needs to do."""


# Single fields.


def _apply(rule: Rule, body: Body) -> None:
    if rule.models:
        model = body.get("model")
        if not isinstance(model, str) or re.search(rule.models, model) is None:
            return
    for name in rule.drop:
        body.drop(name)
    for name in rule.forget:
        body.pop(name)
    for name, other in rule.rename.items():
        body.rename(name, other)
    for name, (least, most) in rule.clamp.items():
        value = body.get(name)
        if isinstance(value, int | float) and not least <= value <= most:
            body.set(name, min(max(value, least), most))
            body.adapted.append(f"{name}=clamped")
    for name, words in rule.words.items():
        value = body.get(name)
        if isinstance(value, str) and value in words:
            body.set(name, words[value])
            body.adapted.append(f"{name}=clamped")
    for name, most_entries in rule.longest.items():
        value = body.get(name)
        if isinstance(value, list) and len(value) > most_entries:
            body.set(name, value[:most_entries])
            body.adapted.append(f"{name}=clamped")


def _one_choice(body: Body) -> None:
    wanted = body.get("n")
    if isinstance(wanted, int) and wanted > 1:
        raise _unsupported("n", "answers one choice at a time; ask as often as choices are wanted")
    body.pop("n")


def _no_tools(body: Body) -> None:
    for name in ("tools", "functions"):
        if body.get(name):
            raise _unsupported(name, "calls no functions; leave them out")
        body.pop(name)
    for name in ("tool_choice", "function_call", "parallel_tool_calls"):
        body.pop(name)


def _loose_tools(body: Body) -> None:
    tools = body.get("tools")
    if not isinstance(tools, list):
        return
    changed = False
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and "strict" in function:
            changed = True
            if function.pop("strict"):
                body.adapted.append(f"tools[{index}].function.strict=dropped")
    if changed:
        body.set("tools", tools)


def _as_text(message: dict[str, Any]) -> bool:
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return False
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) < len(content):
        return False  # a place that cannot see refuses it in its own words
    message["content"] = "\n".join(str(text) for text in texts)
    return True


def _unsupported(name: str, does: str) -> BadRequest:
    return BadRequest(
        f"`{name}`: the provider of this model {does}, or use another model.", code="unsupported_content", param=name
    )
