"""Parrot: speaks OpenAI's Chat Completions, and wants its key in `x-parrot-key`.

The place is made up; https://api.parrot.example answers nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmhub_core.contracts import Call, Fetch, Provider, hookimpl


@dataclass(frozen=True, slots=True, kw_only=True)
class ParrotSettings:
    """What a ``[[providers]]`` table of kind ``parrot`` may say, beside what every provider's table may."""

    base_url: str = field(
        default="https://api.parrot.example/v1", metadata={"help": "Where the paths of Chat Completions begin."}
    )
    cage: str = field(default="", metadata={"help": "Cage that is billed, where a key opens several."})


class Parrot(Provider):
    """Says where a call goes and puts the key on it. The hub does all the rest: it makes the call, reads the answer,
    counts, cools down and falls back."""

    name = "parrot"  # the word for `kind` in config.toml
    Settings = ParrotSettings
    speaks = ("openai_chat",)  # the wire format is known already, so there is nothing to translate

    def __init__(self, settings: ParrotSettings) -> None:
        super().__init__(settings)
        self.base_url = settings.base_url.rstrip("/")
        self._cage = settings.cage

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call.url = self.base_url + call.url
        if secret:
            call.headers["x-parrot-key"] = secret  # a header, never the address: addresses are logged on the way
        if self._cage:
            call.headers["x-parrot-cage"] = self._cage
        return call

    def models_call(self) -> Call:
        return Call("/models", {}, b"", method="GET")


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return [Parrot]
