"""What OpenAI's two formats for chats both have and no other knows: asked for in one, it is asked for in the other."""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.openai.models import is_openai_model, takes_verbosity

from llmhub_core.contracts import ChatRequest

CHAT = "openai_chat"
RESPONSES = "openai_responses"

VERBOSITY = {CHAT: "verbosity", RESPONSES: "text.verbosity"}
"""How the extras of either format call it."""

_NAMES = ("service_tier", "prompt_cache_key", "prompt_cache_retention", "metadata", "store", "safety_identifier")


def carried(request: ChatRequest, model: str) -> dict[str, Any]:
    """By the names of its extras, what a request of one of the two formats says for the other; {} for all others.

    Only OpenAI's own models are told: most of the compatible servers refuse fields that they do not know.
    """
    if request.dialect not in VERBOSITY or not is_openai_model(model):
        return {}
    # The reader of Responses keeps apart what others have no loss to report of.
    said = {**getattr(request.extras, "quiet", {}), **request.extras}
    names = (*_NAMES, VERBOSITY[request.dialect])
    found = {name: said[name] for name in names if name in said}
    verbosity = found.get(VERBOSITY[request.dialect])
    if verbosity not in (None, "medium") and not takes_verbosity(model):
        del found[VERBOSITY[request.dialect]]
    return found
