"""Configurations and requests that tests of the gateway share."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from llmhub_core.cli.common import known
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load

CHAT = {"model": "fast", "messages": [{"role": "user", "content": "Say hello."}]}

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "small-2026",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-small",
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 3},
}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "small-2026"}
    return "data: " + json.dumps({**body, "choices": [choice], **more}) + "\n\n"


USAGE_CHUNK = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"small-2026",'
    '"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}\n\n'
)

STREAM = [
    chunk({"role": "assistant", "content": ""}, usage=None),
    chunk({"content": "Hel"}, usage=None),
    chunk({"content": "lo!"}, usage=None),
    chunk({}, "stop", usage=None),
    USAGE_CHUNK,
    "data: [DONE]\n\n",
]


def provider(name: str, url: str, keys: int = 1, kind: str = "openai_compatible", more: str = "") -> str:
    base = url if kind in ("anthropic", "gemini") else url + "/v1"
    text = f'[[providers]]\nname = "{name}"\nkind = "{kind}"\nbase_url = "{base}"\n'
    for number in range(1, keys + 1):
        text += f'[[providers.keys]]\nname = "k{number}"\nsecret = "sk-{name}-{number}"\npriority = {number}\n{more}\n'
    return text


def route(model: str, *deployments: str, strategy: str = "priority", more: str = "") -> str:
    entries = []
    for place, deployment in enumerate(deployments, 1):
        name, _, behind = deployment.partition("/")
        entries.append(f'{{ provider = "{name}", model = "{behind}", priority = {place} }}')
    return f'[[routes]]\nmodel = "{model}"\nstrategy = "{strategy}"\ndeployments = [{", ".join(entries)}]\n{more}\n'


def one_provider(url: str, keys: int = 1, more: str = "") -> str:
    return provider("main", url, keys) + route("fast", "main/small", more=more)


async def raw_request(url: str, data: bytes) -> bytes:
    """Bytes to the hub and everything that it answers until it closes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 15)
    finally:
        writer.close()


async def ask(client: aiohttp.ClientSession, url: str, body: Any = None, **how: Any) -> aiohttp.ClientResponse:
    """A chat request, its answer read whole."""
    path = how.pop("path", "/v1/chat/completions")
    response = await client.post(url + path, json=CHAT if body is None else body, **how)
    await response.read()
    return response


def hub_of(text: str, folder: Path, registry: Registry) -> Hub:
    """A hub that is not started: what can be asked of its configuration alone."""
    path = folder / "config.toml"
    path.write_text(text)
    return Hub(load(path, {}, known(registry)).settings, registry, folder / "data", folder)
