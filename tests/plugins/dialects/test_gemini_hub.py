"""Google's SDK before a whole hub: talks, loops of tools, signatures of every family, counts and vectors."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import types
from yarl import URL

from llmhub_core.contracts import seal
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, ReceivedRequest, json_answer, sse_answer

SIGNATURE = base64.b64encode(b"\xfb\xff of Gemini's own").decode()
CLAUDES = "EqoBCkgIBRABGAIiQL/of+Claude=="


def config(url: str) -> str:
    places = [("gemini", "gemini"), ("anthropic", "anthropic"), ("openai", "openai")]
    routes = [
        ("flash", "gemini", "gemini-3-flash"),
        ("claude", "anthropic", "claude-sonnet-4-5"),
        ("gpt", "openai", "gpt-4o"),
        ("vectors", "gemini", "gemini-embedding-001"),
        ("openai-vectors", "openai", "text-embedding-3-small"),
    ]
    tables = [
        f'[[providers]]\nname = "{name}"\nkind = "{kind}"\nbase_url = "{url}"\n'
        f'  [[providers.keys]]\n  name = "main"\n  secret = "secret-{name}"\n'
        for name, kind in places
    ]
    tables += [
        f'[[routes]]\nmodel = "{model}"\ndeployments = [{{ provider = "{provider}", model = "{deployed}" }}]\n'
        for model, provider, deployed in routes
    ]
    return "\n".join(tables)


class Talk:
    """The hub, the providers behind it, and Google's SDK in front."""

    def __init__(self, house: House, upstream: FakeUpstream) -> None:
        self.house = house
        self.upstream = upstream
        options = types.HttpOptions(base_url=house.url)
        self.genai = genai.Client(api_key="any", http_options=options)
        self.client = self.genai.aio

    @property
    def asked(self) -> list[ReceivedRequest]:
        return self.upstream.requests


@pytest_asyncio.fixture
async def talk() -> AsyncIterator[Talk]:
    async with FakeUpstream() as upstream, House(config(upstream.url)) as house:
        found = Talk(house, upstream)
        try:
            yield found
        finally:
            await found.client.aclose()
            found.genai.close()


# Providers' answers.


def gemini(*parts: Any, finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    ending = {"finishReason": finish} if finish else {}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 12}
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0, **ending, **more}],
        "usageMetadata": usage,
        "modelVersion": "gemini-3-flash",
        "responseId": "r1",
    }


def events(*documents: Any) -> list[bytes]:
    return [b"data: " + json.dumps(document).encode() + b"\r\n\r\n" for document in documents]


def call(name: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args}, **more}


def claude(*blocks: Any, stop: str = "tool_use") -> dict[str, Any]:
    usage = {"input_tokens": 20, "output_tokens": 9}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "usage": usage}
    return {**said, "content": list(blocks), "stop_reason": stop, "stop_sequence": None}


def claude_stream(*blocks: Any, stop: str = "tool_use") -> list[bytes]:
    """The answer in Anthropic's events; each text comes in two pieces."""
    start = {**claude(stop=stop), "content": [], "stop_reason": None}
    told: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks):
        kind = block["type"]
        field = {"thinking": "thinking", "text": "text", "tool_use": "input"}.get(kind)
        empty = {**block, **({field: {} if kind == "tool_use" else ""} if field else {})}
        if kind == "thinking":
            empty["signature"] = ""
        told.append({"type": "content_block_start", "index": index, "content_block": empty})
        text = json.dumps(block["input"]) if kind == "tool_use" else block[field] if field else ""
        delta = {"thinking": "thinking_delta", "text": "text_delta", "tool_use": "input_json_delta"}.get(kind)
        member = {"thinking": "thinking", "text": "text", "tool_use": "partial_json"}.get(kind)
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]) if field else ():
            told.append({"type": "content_block_delta", "index": index, "delta": {"type": delta, member: piece}})
        if kind == "thinking":
            signed = {"type": "signature_delta", "signature": block["signature"]}
            told.append({"type": "content_block_delta", "index": index, "delta": signed})
        told.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": stop, "stop_sequence": None}
    told += [{"type": "message_delta", "delta": ending, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]


def gpt_stream(*deltas: dict[str, Any], finish: str = "tool_calls") -> list[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    told = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    told.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    told.append({**base, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}})
    return [*(f"data: {json.dumps(one)}\n\n".encode() for one in told), b"data: [DONE]\n\n"]


TOOLS: list[Any] = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(
                name=name,
                description="…",
                parameters_json_schema={"type": "object", "properties": {"x": {"type": "integer"}}},
            )
            for name in ("add", "now")
        ]
    )
]
WITH_TOOLS = types.GenerateContentConfig(
    tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
)


def results(*calls: Any) -> list[types.Part]:
    return [
        types.Part(function_response=types.FunctionResponse(id=one.id, name=one.name, response={"result": "ok"}))
        for one in calls
    ]


async def send(chat: Any, message: Any, stream: bool) -> list[Any]:
    """The parts of the answer, by either way of asking."""
    if stream:
        chunks = [chunk async for chunk in await chat.send_message_stream(message)]
    else:
        chunks = [await chat.send_message(message)]
    return [part for chunk in chunks for part in (chunk.candidates[0].content.parts or [])]


def calls_of(parts: list[Any]) -> list[Any]:
    return [part.function_call for part in parts if part.function_call]


# Google's own models.


async def test_a_talk_with_a_gemini_model(talk: Talk) -> None:
    talk.upstream.script(json_answer(gemini({"text": "Hello!"})))
    answer = await talk.client.models.generate_content(model="flash", contents="Hi")
    assert answer.text == "Hello!"
    assert (answer.usage_metadata.thoughts_token_count, answer.usage_metadata.total_token_count) == (2, 12)
    talk.upstream.script(sse_answer(events(gemini({"text": "Hel"}, finish=None), gemini({"text": "lo!"}))))
    seen = [chunk async for chunk in await talk.client.models.generate_content_stream(model="flash", contents="Hi")]
    assert "".join(chunk.text or "" for chunk in seen) == "Hello!"
    whole, streamed = talk.asked
    assert whole.path == "/v1beta/models/gemini-3-flash:generateContent"
    assert (streamed.path.rpartition(":")[2], streamed.query) == ("streamGenerateContent", {"alt": "sse"})
    for record in await talk.house.records():
        assert (record.input_tokens, record.output_tokens, record.reasoning_tokens) == (7, 5, 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_keeps_geminis_signatures(talk: Talk, stream: bool) -> None:
    signed = call("add", {"x": 1}, thoughtSignature=SIGNATURE)
    documents = [gemini(signed, finish=None), gemini(call("now", {}), finish=None), gemini({"text": ""})]
    whole = gemini(signed, call("now", {}))
    talk.upstream.script(
        sse_answer(events(*documents)) if stream else json_answer(whole),
        sse_answer(events(gemini({"text": "Two."}))) if stream else json_answer(gemini({"text": "Two."})),
        sse_answer(events(gemini({"text": "Bye."}))) if stream else json_answer(gemini({"text": "Bye."})),
    )
    chat = talk.client.chats.create(model="flash", config=WITH_TOOLS)
    called = calls_of(await send(chat, "Add.", stream))
    assert [one.name for one in called] == ["add", "now"]
    parts = await send(chat, results(*called), stream)
    assert "".join(part.text or "" for part in parts) == "Two."
    await send(chat, "Thanks.", stream)
    back = [part for content in talk.asked[-1].json["contents"] for part in content["parts"] if "functionCall" in part]
    given = back[0]["thoughtSignature"]
    assert base64.urlsafe_b64decode(given) == base64.b64decode(SIGNATURE)
    assert "thoughtSignature" not in back[1]


# Signatures of other families, in the SDK's hands.

THOUGHT = {"type": "thinking", "thinking": "Two numbers, one sum …", "signature": CLAUDES}
REDACTED = {"type": "redacted_thinking", "data": "EmwKAhgBEgy…"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"x": 1}}


@pytest.mark.parametrize("stream", [False, True])
async def test_claudes_thoughts_travel_through_googles_sdk(talk: Talk, stream: bool) -> None:
    """Five turns: what Claude signed or encrypted comes back to it to the letter, in its place."""
    blocks = (THOUGHT, REDACTED, {"type": "text", "text": "Let me see."}, USE)
    last = ({"type": "text", "text": "Done."},)
    talk.upstream.on(
        lambda request: (
            (
                (sse_answer(claude_stream(*asked)) if stream else json_answer(claude(*asked)))
                if len(request.json["messages"]) < 9
                else (sse_answer(claude_stream(*last, stop="end_turn")) if stream else json_answer(claude(*last)))
            )
            if (asked := _turn(blocks, len(request.json["messages"])))
            else None
        )
    )
    thinking = types.ThinkingConfig(thinking_budget=2048, include_thoughts=True)
    chat = talk.client.chats.create(model="claude", config=WITH_TOOLS.model_copy(update={"thinking_config": thinking}))
    called = calls_of(await send(chat, "Add.", stream))
    for turn in range(4):
        assert [(one.id, one.name, one.args) for one in called] == [(f"toolu_{turn}", "add", {"x": 1})]
        parts = await send(chat, results(*called), stream)
        called = calls_of(parts)
    assert called == []
    assert "".join(part.text or "" for part in parts if not part.thought) == "Done."
    sent = talk.asked[-1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant"] * 4 + ["user"]
    for turn, message in enumerate(sent[1::2]):
        assert message["content"] == list(_turn(blocks, 2 * turn + 1))
    assert all("reasoning" not in str(record.adapted) for record in await talk.house.records())


def _turn(blocks: tuple[Any, ...], messages: int) -> tuple[Any, ...]:
    """Every turn has thoughts and a call of its own."""
    turn = messages // 2
    thought = {**THOUGHT, "thinking": f"Turn {turn}: two numbers, one sum", "signature": f"{turn}{CLAUDES}"}
    return (thought, *blocks[1:3], {**USE, "id": f"toolu_{turn}"})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_goes_on_with_a_gemini_3_model(talk: Talk, stream: bool) -> None:
    """After Claude's turn Gemini is asked: thoughts stay away, and the call gets what Google documents for it."""
    blocks = (THOUGHT, USE, {**USE, "id": "toolu_2", "name": "now"})
    talk.upstream.script(sse_answer(claude_stream(*blocks)) if stream else json_answer(claude(*blocks)))
    chat = talk.client.chats.create(model="claude", config=WITH_TOOLS)
    called = calls_of(await send(chat, "Add.", stream))
    history = [*chat.get_history(), types.Content(role="user", parts=results(*called))]
    talk.upstream.script(json_answer(gemini({"text": "Two."})))
    await talk.client.models.generate_content(model="flash", contents=history, config=WITH_TOOLS)
    sent = talk.asked[-1].json["contents"]
    assert [content["role"] for content in sent] == ["user", "model", "user"]
    made = [part for part in sent[1]["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in made] == ["skip_thought_signature_validator", None]
    assert not any(part.get("thought") for part in sent[1]["parts"])
    assert "LLMhubSeal" not in talk.asked[-1].body.decode()
    assert (await talk.house.records())[-1].adapted == ["reasoning=dropped"]


async def test_parallel_calls_of_a_stream_are_one_turn_behind(talk: Talk) -> None:
    """The SDK keeps every chunk as a content; OpenAI wants all calls of a turn in one message."""

    def delta(index: int, name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": '{"x":1}'}
        return {"tool_calls": [{"index": index, "id": f"call_{name}", "type": "function", "function": function}]}

    texts = [{"role": "assistant", "content": "Let me "}, {"content": "see."}]
    talk.upstream.script(sse_answer(gpt_stream(*texts, delta(0, "add"), delta(1, "now"))))
    chat = talk.client.chats.create(model="gpt", config=WITH_TOOLS)
    called = calls_of(await send(chat, "Add.", True))
    assert [one.id for one in called] == ["call_add", "call_now"]
    talk.upstream.script(sse_answer(gpt_stream({"content": "Done."}, finish="stop")))
    await send(chat, results(*called), True)
    user, turn, first, second = talk.asked[-1].json["messages"]
    assert (user["role"], turn["content"]) == ("user", "Let me see.")
    assert [one["id"] for one in turn["tool_calls"]] == ["call_add", "call_now"]
    assert [first["tool_call_id"], second["tool_call_id"]] == ["call_add", "call_now"]
    # The same history is good for Gemini as the SDK has it: it goes out untouched.
    talk.upstream.script(json_answer(gemini({"text": "Two."})))
    await talk.client.models.generate_content(model="flash", contents=chat.get_history(), config=WITH_TOOLS)
    contents = talk.asked[-1].json["contents"]
    made = [part for content in contents for part in content["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in made] == ["skip_thought_signature_validator", None]
    assert (await talk.house.records())[-1].lane == "verbatim"


# Counting and embeddings.


async def test_tokens_are_counted_by_the_provider_or_estimated(talk: Talk) -> None:
    answer = {"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}]}
    talk.upstream.script(json_answer(answer))
    assert (await talk.client.models.count_tokens(model="flash", contents="Hi")).total_tokens == 31
    (request,) = talk.asked
    assert request.path == "/v1beta/models/gemini-3-flash:countTokens"
    assert request.json == {"contents": [{"parts": [{"text": "Hi"}], "role": "user"}]}
    talk.upstream.script(json_answer({"error": {"message": "Busy."}}, 503))
    estimated = await talk.client.models.count_tokens(model="gpt", contents="Hi there, how are you?")
    assert 5 < estimated.total_tokens < 60
    adapted = [record.adapted for record in await talk.house.records()]
    assert adapted == [[], ["input_tokens=estimated"]]


async def test_vectors_of_one_and_of_many(talk: Talk) -> None:
    talk.upstream.script(json_answer({"embeddings": [{"values": [0.1, 0.2]}]}))
    wishes = types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", title="T", output_dimensionality=2)
    one = await talk.client.models.embed_content(model="vectors", contents="Hi", config=wishes)
    assert [vector.values for vector in one.embeddings] == [[0.1, 0.2]]
    talk.upstream.script(json_answer({"embeddings": [{"values": [0.1]}, {"values": [0.2]}]}))
    many = await talk.client.models.embed_content(model="vectors", contents=["Hi", "Ho"])
    assert [vector.values for vector in many.embeddings] == [[0.1], [0.2]]
    first, second = talk.asked
    assert first.path == second.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert first.json["requests"][0]["taskType"] == "RETRIEVAL_DOCUMENT"
    assert {entry["model"] for entry in second.json["requests"]} == {"models/gemini-embedding-001"}


async def test_vectors_across_formats(talk: Talk) -> None:
    """Google's SDK before OpenAI's vectors, and OpenAI's SDK before Google's."""
    data = [{"object": "embedding", "index": place, "embedding": [0.5, place]} for place in (0, 1)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    talk.upstream.script(
        json_answer({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}),
        json_answer({"embeddings": [{"values": [0.5, 0.25]}]}),
    )
    wishes = types.EmbedContentConfig(task_type="CLUSTERING", output_dimensionality=2)
    found = await talk.client.models.embed_content(model="openai-vectors", contents=["Hi", "Ho"], config=wishes)
    assert [vector.values for vector in found.embeddings] == [[0.5, 0.0], [0.5, 1.0]]
    assert found.usage_metadata.prompt_token_count == 4
    assert talk.asked[0].json == {"model": "text-embedding-3-small", "input": ["Hi", "Ho"], "dimensions": 2}
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{talk.house.url}/v1", max_retries=0) as client:
        answer = await client.embeddings.create(model="vectors", input="Hi")
    assert answer.data[0].embedding == [0.5, 0.25]
    assert talk.asked[1].path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    first, second = await talk.house.records()
    assert (first.adapted, first.input_tokens, first.usage_estimated) == (["taskType=dropped"], 4, False)
    assert second.usage_estimated


async def test_a_seal_of_another_hub_or_a_damaged_one_harms_nobody(talk: Talk) -> None:
    good = seal("openai_responses", {"signature": "enc"})
    contents = [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [{"text": "Hm", "thought": True, "thoughtSignature": good}, {"text": "Hello"}]},
        {"role": "model", "parts": [{"text": "Hm", "thought": True, "thoughtSignature": good[:40]}]},
        {"role": "user", "parts": [{"text": "Go on"}]},
    ]
    talk.upstream.script(json_answer(gemini({"text": "Two."})))
    await talk.client.models.generate_content(model="flash", contents=contents)
    assert b"LLMhubSeal" not in talk.asked[0].body
    assert talk.asked[0].json["contents"][1]["parts"][0] == {"text": "Hello"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/flash:{}",
        "/v1/models/flash:{}",
        "/v1beta/models/flash%3A{}",
        # as @ai-sdk/google and others write a name with a slash
        "/v1beta/gemini/gemini-3-flash:{}",
        "/v1/gemini/gemini-3-flash:{}",
        "/v1beta/models/gemini/gemini-3-flash:{}",
        "/v1beta/flash:{}",
    ],
)
async def test_every_verb_has_its_paths(talk: Talk, path: str) -> None:
    content = {"parts": [{"text": "Hi"}]}
    asked = {
        "generateContent": ({"contents": [content]}, gemini({"text": "Hello!"})),
        "countTokens": ({"contents": [content]}, {"totalTokens": 3}),
        "embedContent": ({"content": content}, {"embedding": {"values": [1.5]}}),
        "batchEmbedContents": ({"requests": [{"content": content}]}, {"embeddings": [{"values": [1.5]}]}),
    }
    async with aiohttp.ClientSession() as session:
        for verb, (body, answer) in asked.items():
            talk.upstream.script(json_answer(answer))
            url = URL(talk.house.url + path.format(verb), encoded=True)
            async with session.post(url, json=body) as response:
                assert (response.status, await response.json()) == (200, answer)
            assert talk.asked[-1].path == f"/v1beta/models/gemini-3-flash:{verb}"


async def test_names_without_a_collection_take_no_path_of_others(talk: Talk) -> None:
    """A verb at a path's end is Gemini's; everything else is as it was."""
    served = {path for dialect in talk.house.hub.dialects.values() for path in dialect.paths if "{" not in path}
    assert {"/v1/chat/completions", "/v1/messages", "/v1/embeddings"} < served
    async with aiohttp.ClientSession() as session:
        for path in sorted(served):
            async with session.get(talk.house.url + path) as response:
                assert (response.status, response.headers["allow"]) == (405, "POST"), path
            async with session.post(talk.house.url + path, data=b"{", headers={"content-type": "text/x"}) as response:
                assert response.status == 415, path
        for path in ("/v1beta/flash", "/v1beta/flash:predict", "/v1beta/:generateContent", "/v1beta/cachedContents"):
            async with session.post(talk.house.url + path, json={}) as response:
                assert response.status == 404, path
        for path in ("/v1/models", "/v1beta/models", "/v1/models/flash", "/v1beta/models/flash"):
            async with session.get(talk.house.url + path) as response:
                assert response.status == 200, path


async def test_one_vector_of_another_format(talk: Talk) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    talk.upstream.script(json_answer({"object": "list", "data": data, "model": "m", "usage": usage}))
    url = f"{talk.house.url}/v1beta/models/openai-vectors:embedContent"
    body = {"content": {"parts": [{"text": "Hi"}]}}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        assert (await response.json())["embedding"] == {"values": [0.5]}
