"""Which place a deployment of LiteLLM's configuration leads to, and what that place is called here.

The prefixes of model names are those of https://docs.litellm.ai/docs/providers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PRESETS: Mapping[str, tuple[str, str]] = {
    "groq": ("groq", "GROQ_API_KEY"),
    "mistral": ("mistral", "MISTRAL_API_KEY"),
    "deepseek": ("deepseek", "DEEPSEEK_API_KEY"),
    "xai": ("xai", "XAI_API_KEY"),
    "together_ai": ("together", "TOGETHERAI_API_KEY"),
    "openrouter": ("openrouter", "OPENROUTER_API_KEY"),
    "cerebras": ("cerebras", "CEREBRAS_API_KEY"),
    "fireworks_ai": ("fireworks", "FIREWORKS_AI_API_KEY"),
    "perplexity": ("perplexity", "PERPLEXITYAI_API_KEY"),
    "sambanova": ("sambanova", "SAMBANOVA_API_KEY"),
    "nvidia_nim": ("nvidia", "NVIDIA_NIM_API_KEY"),
    "deepinfra": ("deepinfra", "DEEPINFRA_API_KEY"),
    "moonshot": ("moonshot", "MOONSHOT_API_KEY"),
    "zai": ("zai", "ZAI_API_KEY"),
    "dashscope": ("qwen", "DASHSCOPE_API_KEY"),
    "minimax": ("minimax", "MINIMAX_API_KEY"),
    "github": ("github", "GITHUB_API_KEY"),
    "huggingface": ("huggingface", "HF_TOKEN"),
    "cohere": ("cohere", "COHERE_API_KEY"),
    "cohere_chat": ("cohere", "COHERE_API_KEY"),
    "vercel_ai_gateway": ("vercel", "VERCEL_AI_GATEWAY_API_KEY"),
    "ollama": ("ollama", ""),
    "ollama_chat": ("ollama", ""),
    "hosted_vllm": ("vllm", ""),
    "lm_studio": ("lm_studio", ""),
}
"""The prefix there, and the preset here with the variable in which LiteLLM looks for a key that is not named."""

OWN: Mapping[str, tuple[str, str]] = {
    "openai": ("openai", "OPENAI_API_KEY"),
    "anthropic": ("anthropic", "ANTHROPIC_API_KEY"),
    "gemini": ("gemini", "GEMINI_API_KEY"),
}

_BARE = (
    (re.compile(r"gpt-|o[1-9]\b|chatgpt-|text-embedding-|whisper-|tts-|dall-e|omni-moderation"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
)

_AZURE = re.compile(r"https://([a-z0-9-]+)\.openai\.azure\.com/?$", re.IGNORECASE)


class NoPlace(Exception):
    """Half a sentence about why a deployment cannot be carried."""


@dataclass(slots=True)
class Place:
    """`table` is what ``[[providers]]`` says of it, `model` its name for the model, `variable` where its key is looked
    for if none is named ("": it needs none). `used` are the parameters that have become part of it."""

    table: dict[str, Any]
    model: str
    variable: str = ""
    used: set[str] = field(default_factory=set)


def place_of(params: Mapping[str, Any]) -> Place:
    """NoPlace if it cannot be told, or there is nothing like it here."""
    full = params.get("model")
    if not isinstance(full, str) or not full:
        raise NoPlace("has no model")
    prefix, slash, model = full.partition("/")
    if params.get("custom_llm_provider"):
        named = str(params["custom_llm_provider"])
        prefix, model = named, model if slash and prefix == named else full
    elif not slash:
        found = next((place for pattern, place in _BARE if pattern.match(full)), "")
        if not found:
            raise NoPlace(f"names {full} without a provider in front of it")
        prefix, model = found, full
    base = str(params.get("api_base") or params.get("base_url") or "").rstrip("/")
    place = _place(prefix, model, base, params)
    place.used |= {"model", "custom_llm_provider", "api_base", "base_url"}
    return place


def _place(prefix: str, model: str, base: str, params: Mapping[str, Any]) -> Place:
    if prefix.startswith("text-completion-"):
        prefix = prefix.removeprefix("text-completion-")
    if prefix in ("azure", "azure_text"):
        return _azure(model, base, params)
    if prefix == "bedrock" and (region := params.get("aws_region_name")):
        name = model.removeprefix("converse/").removeprefix("invoke/")
        return Place({"kind": "bedrock", "region": _plain(region)}, name, "", {"aws_region_name"})
    if prefix == "vertex_ai" and (project := params.get("vertex_project")):
        table = {
            "kind": "vertex",
            "project": _plain(project),
            "location": _plain(params.get("vertex_location", "global")),
        }
        publisher = {"publisher": "anthropic"} if model.startswith("claude") else {}
        return Place(table | publisher, model, "", {"vertex_project", "vertex_location"})
    if prefix in ("bedrock", "vertex_ai"):
        missing = "aws_region_name" if prefix == "bedrock" else "vertex_project"
        raise NoPlace(f"has no {missing}, without which {prefix} cannot be called")
    if prefix in OWN:
        kind, variable = OWN[prefix]
        if prefix == "openai" and base and not base.startswith("https://api.openai.com"):
            return Place({"kind": "openai_compatible", "base_url": _plain(base)}, model, variable)
        own = {"base_url": _plain(_root(base) if kind != "openai" else base)} if base else {}
        return Place({"kind": kind, **own}, model, variable)
    if prefix in PRESETS:
        preset, variable = PRESETS[prefix]
        if base and preset == "ollama" and not base.endswith("/v1"):
            base += "/v1"
        return Place({"kind": "openai_compatible", "preset": preset, **({"base_url": _plain(base)} if base else {})},
                     model, variable)  # fmt: skip
    if base:
        return Place({"kind": "openai_compatible", "base_url": _plain(base)}, f"{prefix}/{model}" if model else prefix)
    raise NoPlace(f"is at {prefix}, which is not known here; if it speaks OpenAI's format, give it an api_base")


def _azure(model: str, base: str, params: Mapping[str, Any]) -> Place:
    if not base:
        raise NoPlace("is at Azure and has no api_base, which names the resource")
    version = params.get("api_version")
    preset = "azure_deployments" if version else "azure"
    table: dict[str, Any] = {"kind": "openai_compatible", "preset": preset}
    found = _AZURE.match(_plain(base))
    if found is not None:
        table["account"] = found[1]
    else:
        table["base_url"] = _plain(base) + ("/openai" if version else "/openai/v1")
    if version:
        table["api_version"] = _plain(version)
    return Place(table, model, "AZURE_API_KEY", {"api_version"})


def _plain(value: Any) -> str:
    text = str(value)
    if text.startswith("os.environ/"):
        raise NoPlace(f"takes a setting from the variable {text.removeprefix('os.environ/')}; here it is written out")
    return text


def _root(base: str) -> str:
    """Anthropic's and Google's addresses are named here without the version."""
    return re.sub(r"/v1(beta)?(/messages)?$", "", base)


def name_of(place: Place, taken: Mapping[str, Any]) -> str:
    """A name that tells where it is, and is free."""
    table = place.table
    name = str(table.get("account") or table.get("preset") or table["kind"])
    if "account" in table:
        name = f"azure-{name}"
    elif table["kind"] == "openai_compatible" and "preset" not in table:
        name = re.sub(r"[^a-z0-9]+", "-", (urlsplit(table["base_url"]).netloc or "other").lower()).strip("-")
        name = name if name[:1].isalpha() else f"host-{name}"
    if table.get("publisher"):
        name += "-claude"
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
