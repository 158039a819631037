"""Takes personal data and credentials out of requests before they leave.

Looked at are the texts of all messages (results of tools too) and the strings in arguments of tool calls. Not looked
at: images, sounds, files, reasoning, definitions of tools, and parts that only one dialect knows.
A request in which nothing is found leaves as the bytes that came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from llmhub_core.contracts import (
    API_KEY,
    ChatRequest,
    ContentPart,
    Exchange,
    Interceptor,
    Message,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    dump_json,
    hookimpl,
    load_json,
)

# All are bounded and begin where the character before cannot belong to a match, so that even megabytes of base64
# are read once and not once a character.

EMAIL = r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}"

CARD_NUMBER = (
    r"(?<![0-9])(?<![0-9]\.)"
    r"(?P<luhn>[0-9]{13,19}"
    r"|[0-9]{4}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}"
    r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{5})"
    r"(?![0-9])"
)
"""In one piece, or spaced as on the card; decimals of a number are none."""


def _a_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression; {error}") from None
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactSettings:
    """What is taken out, and what stands there instead."""

    patterns: tuple[str, ...] = field(
        default=(EMAIL, API_KEY, CARD_NUMBER),
        metadata={
            "help": "Regular expressions (Python's) of what is taken out; those built in find e-mail addresses, API "
            "keys and card numbers. What a group named `luhn` matches must also have a card number's check digit.",
            "parse": _a_regex,
        },
    )
    replacement: str = field(default="[redacted]", metadata={"help": "What stands there instead."})


class Redact(Interceptor):
    """Sees requests only: answers keep their lane, and streams stay streams."""

    name = "redact"
    Settings = RedactSettings
    sees = frozenset({"request"})

    def __init__(self, settings: RedactSettings) -> None:
        super().__init__(settings)
        self._patterns = tuple(re.compile(pattern) for pattern in settings.patterns)
        self._replacement = settings.replacement

    async def request(self, exchange: Exchange) -> ChatRequest | None:
        request = exchange.request
        messages = tuple(self._message(message) for message in request.messages)
        unchanged = all(new is old for new, old in zip(messages, request.messages, strict=True))
        return None if unchanged else replace(request, messages=messages)

    # Everything below returns the very object that it was given if nothing was found in it.

    def _message(self, message: Message) -> Message:
        content = self._parts(message.content)
        return message if content is message.content else replace(message, content=content)

    def _parts(self, parts: tuple[ContentPart, ...]) -> tuple[ContentPart, ...]:
        changed = tuple(self._part(part) for part in parts)
        return parts if all(new is old for new, old in zip(changed, parts, strict=True)) else changed

    def _part(self, part: ContentPart) -> ContentPart:
        if isinstance(part, Text | Refusal):
            text = self._text(part.text)
            return part if text is part.text else replace(part, text=text)
        if isinstance(part, ToolResult):
            content = self._parts(part.content)
            return part if content is part.content else replace(part, content=content)
        if isinstance(part, ToolCall):
            arguments = self._arguments(part.arguments)
            return part if arguments is part.arguments else replace(part, arguments=arguments)
        return part

    def _arguments(self, arguments: str) -> str:
        """JSON stays JSON: only strings within it are changed."""
        try:
            value = load_json(arguments)
            changed = self._value(value)
        except (ValueError, RecursionError):  # no JSON, or nested beyond reason
            return self._text(arguments)
        return arguments if changed == value else dump_json(changed).decode()

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            return {name: self._value(item) for name, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        for pattern in self._patterns:
            text = self._without(pattern, text)
        return text

    def _without(self, pattern: re.Pattern[str], text: str) -> str:
        kept, since, at = [], 0, 0
        while at <= len(text) and (match := pattern.search(text, at)) is not None:
            if match.end() == match.start() or not _has_check_digit(match):
                at = match.start() + 1  # another one may begin inside what was none
                continue
            kept += [text[since : match.start()], self._replacement]
            since = at = match.end()
        return "".join([*kept, text[since:]]) if kept else text


def _has_check_digit(match: re.Match[str]) -> bool:
    """Whether the number that the group `luhn` found passes the Luhn test (ISO/IEC 7812-1); True without the group."""
    number = match.groupdict().get("luhn")
    if number is None:
        return True
    digits = [int(character) for character in reversed(number) if character.isdecimal()]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total % 10 == 0


@hookimpl
def register_interceptors() -> Iterable[type[Interceptor]]:
    """Redaction of requests."""
    return [Redact]
