"""How deeply the model shall think and whether its thoughts are shown, for the callers of other formats.

Thoughts of OpenAI's models are shown as summaries, which have to be asked for. OpenAI refuses to make any for
organizations that it has not verified (400, `param` ``reasoning.summary``; help.openai.com/en/articles/10910291), so
that they can be switched off by a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmhub_plugins.dialects.openai.models import foreign_effort, is_reasoning_model
from llmhub_plugins.dialects.openai_responses.words import Json

from llmhub_core.contracts import ChatRequest

Summary = Literal["auto", "concise", "detailed", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the dialect."""

    reasoning_summary: Summary = field(
        default="auto",
        metadata={
            "help": "How OpenAI's models sum up their thoughts for callers whose format shows thoughts (Anthropic with "
            "thinking on, Gemini with includeThoughts). `none` asks for no summaries, which OpenAI refuses to "
            "organizations that it has not verified."
        },
    )


def foreign_reasoning(
    request: ChatRequest, model: str, summary: Summary, adapted: list[str]
) -> tuple[Json, frozenset[str]]:
    """`reasoning` for the caller of another format ({}: nothing has to be said), and which of the request's extras
    are thereby done as asked. `adapted` gets what was lost of the effort."""
    effort = foreign_effort(request.sampling, model, adapted)
    written: Json = {} if effort is None else {"effort": effort}
    shown, extras = _shown(request)
    if shown and (summary == "none" or not is_reasoning_model(model)):
        return written, frozenset()
    if shown:
        written["summary"] = summary
    return written, extras


def _shown(request: ChatRequest) -> tuple[bool, frozenset[str]]:
    """Whether the caller's format shows thoughts (Anthropic's once thinking is on, Gemini's if asked to), and the
    extras that say nothing but that."""
    budget, extras = request.sampling.reasoning_tokens, request.extras
    if request.dialect == "anthropic":
        said: Any = extras.get("thinking")
        said = said if isinstance(said, Mapping) else {}
        shown = budget not in (None, 0) and said.get("display") != "omitted"
        return shown, frozenset({"thinking"}) if said.keys() == {"display"} else frozenset()
    if request.dialect == "gemini":
        return budget != 0 and extras.get(_GEMINI) is True, frozenset({_GEMINI})
    return False, frozenset()


_GEMINI = "generationConfig.thinkingConfig.includeThoughts"
