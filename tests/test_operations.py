"""The operations beside chat through a whole hub, asked for with OpenAI's own SDK over real sockets."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from google import genai
from houses import provider, route

from llmhub_core.contracts import Record
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer, sse_answer

NAMES = ("small", "text-embedding-3-small", "gpt-image-1", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-tts")


def config(url: str, keys: int = 1, kind: str = "openai") -> str:
    text = f'[[providers]]\nname = "openai"\nkind = "{kind}"\nbase_url = "{url}/v1"\n'
    for number in range(1, keys + 1):
        text += f'[[providers.keys]]\nname = "k{number}"\nsecret = "sk-{number}"\npriority = {number}\n'
    return text + "".join(route(f"my-{name}", f"openai/{name}") for name in NAMES)


@asynccontextmanager
async def asking(house: House, **how: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, **how) as client:
        yield client


async def only_record(house: House) -> Record:
    (record,) = await house.records()
    return record


def vectors(*embeddings: Any, **more: Any) -> Answer:
    data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(embeddings)]
    usage = {"prompt_tokens": 1000, "total_tokens": 1000}
    return json_answer({"object": "list", "data": data, "model": "m-1", "usage": usage, **more})


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


# Embeddings.


NUMBERS, PACKED = ([1.0, 0.25], [0.5, -2]), (packed(1, 0.25), packed(0.5, -2))


@pytest.mark.parametrize(
    ("given", "wish"),
    [(NUMBERS, None), (NUMBERS, "float"), (NUMBERS, "base64"), (PACKED, None), (PACKED, "base64")],
    ids=["default-numbers", "numbers", "packed-here", "default-packed", "packed-there"],
)
async def test_embeddings_come_as_they_were_asked_for(upstream: FakeUpstream, given: Any, wish: str | None) -> None:
    upstream.script(vectors(*given))
    how: Any = {} if wish is None else {"encoding_format": wish}
    async with House(config(upstream.url)) as house, asking(house) as client:
        answer = await client.embeddings.create(
            model="my-text-embedding-3-small", input=["a", "b"], dimensions=2, **how
        )
        record = await only_record(house)
    got = [each.embedding for each in answer.data]
    assert got == ([packed(1, 0.25), packed(0.5, -2)] if wish == "base64" else [[1.0, 0.25], [0.5, -2.0]])
    assert answer.usage.prompt_tokens == 1000
    (request,) = upstream.requests
    assert (request.path, request.headers["authorization"]) == ("/v1/embeddings", "Bearer sk-1")
    sent = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 2}
    assert request.json == {**sent, "encoding_format": wish or "base64"}
    assert (record.operation, record.dialect, record.lane, record.outcome) == (
        "embeddings",
        "openai_embeddings",
        "verbatim",
        "served",
    )
    assert (record.input_tokens, record.output_tokens, record.usage_estimated) == (1000, 0, False)
    assert record.cost == 20_000, "1000 tokens at 0.02 USD a million"


async def test_usage_of_embeddings_is_estimated_where_the_provider_says_none(upstream: FakeUpstream) -> None:
    upstream.script(vectors([1.0], usage=None))
    async with House(config(upstream.url)) as house, asking(house) as client:
        await client.embeddings.create(model="my-small", input="some words to count")
        record = await only_record(house)
    assert record.usage_estimated
    assert record.input_tokens > 4


async def test_too_few_vectors_are_asked_for_elsewhere(upstream: FakeUpstream) -> None:
    upstream.script(vectors([1.0]), vectors([1.0], [2.0]))
    async with House(config(upstream.url, keys=2)) as house, asking(house) as client:
        answer = await client.embeddings.create(model="my-small", input=["a", "b"], encoding_format="float")
        record = await only_record(house)
    assert [each.embedding for each in answer.data] == [[1.0], [2.0]]
    assert [attempt.reason for attempt in record.attempts] == ["upstream_protocol_error", "ok"]


async def test_refusals_and_errors_reach_the_sdk_as_its_own(upstream: FakeUpstream) -> None:
    slow = json_answer(
        {"error": {"message": "slow down", "type": "requests"}}, status=429, headers={"retry-after": "7"}
    )
    bad = json_answer({"error": {"message": "too many", "param": "input", "code": "x_y"}}, status=400)
    gone = json_answer(
        {"error": {"message": "The model `small` does not exist", "code": "model_not_found"}}, status=404
    )
    upstream.script(bad, gone, slow)
    async with House(config(upstream.url)) as house, asking(house) as client:
        with pytest.raises(openai.BadRequestError) as here:
            await client.embeddings.create(model="my-small", input="")
        assert (here.value.param, upstream.requests) == ("input", [])
        with pytest.raises(openai.BadRequestError) as there:
            await client.embeddings.create(model="my-small", input="a")
        assert (there.value.code, there.value.param) == ("x_y", "input")
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="my-small", input="a")
        with pytest.raises(openai.RateLimitError) as limited:
            await client.embeddings.create(model="my-small", input="a")
        assert float(limited.value.response.headers["retry-after"]) >= 7


async def test_an_operation_that_a_provider_lacks_is_refused_by_name(upstream: FakeUpstream) -> None:
    async with (
        House(provider("claude", upstream.url, kind="anthropic") + route("fast", "claude/small")) as house,
        asking(house) as client,
    ):
        for ask in (
            client.embeddings.create(model="fast", input="a"),
            client.moderations.create(model="fast", input="a"),
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                await ask
            assert refused.value.code == "unsupported_operation"
    assert upstream.requests == []


# Moderations and images.


async def test_a_moderation_passes_with_its_model_replaced(upstream: FakeUpstream) -> None:
    verdict = {"flagged": True, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    upstream.script(json_answer({"id": "modr-1", "model": "m-1", "results": [verdict]}))
    text = config(upstream.url) + route("omni-moderation-latest", "openai/omni-moderation-latest")
    async with House(text) as house, asking(house) as client:
        first = await client.moderations.create(model="my-small", input="a")
        second = await client.moderations.create(input=["a"])
        records = await house.records()
    assert first.results[0].flagged
    assert second.model == "m-1"
    assert [request.json["model"] for request in upstream.requests] == ["small", "omni-moderation-latest"]
    for record in records:
        assert (record.operation, record.outcome, record.cost, record.usage_estimated) == (
            "moderations",
            "served",
            None,
            False,
        )


IMAGE_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 10},
    "output_tokens": 4160,
    "total_tokens": 4170,
}


async def test_an_image_is_made_and_counted(upstream: FakeUpstream) -> None:
    upstream.script(json_answer({"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}], "usage": IMAGE_USAGE}))
    async with House(config(upstream.url)) as house, asking(house) as client:
        answer = await client.images.generate(model="my-gpt-image-1", prompt="a cat", n=1, size="1024x1024")
        record = await only_record(house)
    assert answer.data is not None
    assert answer.data[0].b64_json == "iVBORw0KGgo="
    assert upstream.requests[0].path == "/v1/images/generations"
    assert upstream.requests[0].json == {"model": "gpt-image-1", "prompt": "a cat", "n": 1, "size": "1024x1024"}
    assert (record.operation, record.input_tokens, record.output_tokens) == ("images/generations", 10, 4160)
    assert record.cost == 166_450_000


PREVIEW = 300_000  # more than one read of a socket holds


async def test_previews_of_an_image_are_streamed(upstream: FakeUpstream) -> None:
    about = {"created_at": 1, "size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    frames = [
        {"type": "image_generation.partial_image", "b64_json": "A" * PREVIEW, "partial_image_index": 0, **about},
        {"type": "image_generation.completed", "b64_json": "B" * PREVIEW, "usage": IMAGE_USAGE, **about},
    ]
    upstream.script(sse_answer([f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n" for frame in frames]))
    async with House(config(upstream.url)) as house, asking(house) as client:
        seen: list[Any] = [
            event
            async for event in await client.images.generate(
                model="my-gpt-image-1", prompt="a cat", stream=True, partial_images=1
            )
        ]
        record = await only_record(house)
    assert [event.type for event in seen] == [frame["type"] for frame in frames]
    assert seen[-1].b64_json == "B" * PREVIEW
    assert (record.stream, record.outcome, record.output_tokens) == (True, "served", 4160)


async def test_a_stream_of_images_that_breaks_off_raises(upstream: FakeUpstream) -> None:
    preview = {"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0}
    upstream.script(sse_answer([f"data: {json.dumps(preview)}\n\n"]))
    async with House(config(upstream.url)) as house, asking(house) as client:
        stream = await client.images.generate(model="my-gpt-image-1", prompt="a cat", stream=True)
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        record = await only_record(house)
    assert (record.outcome, record.code) == ("failed", "upstream_protocol_error")


async def test_an_image_is_edited_by_a_form_of_which_only_the_model_changes(upstream: FakeUpstream) -> None:
    upstream.script(json_answer({"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}]}))
    images = [("a.png", b"\x89PNG\r\n\r\n--x", "image/png"), ("b.png", b"\x89PNG2", "image/png")]
    async with House(config(upstream.url)) as house, asking(house) as client:
        await client.images.edit(model="my-gpt-image-1", image=images, prompt="a hat")
        record = await only_record(house)
    (request,) = upstream.requests
    assert request.path == "/v1/images/edits"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"\r\n\r\ngpt-image-1\r\n" in request.body
    assert b"my-gpt-image-1" not in request.body
    assert b"\x89PNG\r\n\r\n--x\r\n" in request.body
    assert (record.operation, record.cost) == ("images/edits", None)


# Sound.


SOUND = [b"ID3\x04", bytes(range(256)) * 50, b"\r\n\r\ndata: {\n\n", b"\xff\xfb\x90end"]


@pytest.mark.parametrize("how", [{}, {"piece": 1000}, {"close_delimited": True}], ids=str)
async def test_speech_is_passed_on_as_it_is_spoken(upstream: FakeUpstream, how: Any) -> None:
    upstream.script(Answer(200, {"Content-Type": "audio/mpeg"}, chunks=SOUND, **how))
    async with House(config(upstream.url)) as house, asking(house) as client:
        asked = client.audio.speech.with_streaming_response.create(
            model="my-gpt-4o-mini-tts", voice="alloy", input="Hi"
        )
        async with asked as answer:
            heard = b"".join([piece async for piece in answer.iter_bytes()])
            kind = answer.headers["content-type"]
        record = await only_record(house)
    assert (heard, kind) == (b"".join(SOUND), "audio/mpeg")
    assert upstream.requests[0].json == {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hi"}
    assert (record.operation, record.outcome, record.cost, record.lane) == ("audio/speech", "served", None, "verbatim")
    assert record.first_byte_ms is not None


async def test_sound_that_breaks_off_ends_without_a_word_in_it(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(Answer(200, {"Content-Type": "audio/mpeg"}, chunks=SOUND, cut_after=5000, reset=False, piece=2000))
    heard = b""
    async with House(config(upstream.url)) as house:
        body = {"model": "my-small", "voice": "alloy", "input": "Hi"}
        async with client.post(f"{house.url}/v1/audio/speech", json=body) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                async for piece in answer.content.iter_any():
                    heard += piece
        record = await only_record(house)
    assert b"".join(SOUND).startswith(heard)
    assert len(heard) > 1000
    assert (record.outcome, record.source) == ("failed", "network")


async def test_speech_fails_over_before_its_first_byte(upstream: FakeUpstream) -> None:
    upstream.script(json_answer({"error": {"message": "busy"}}, status=503), Answer(200, {}, chunks=SOUND))
    async with House(config(upstream.url, keys=2)) as house, asking(house) as client:
        answer = await client.audio.speech.create(model="my-small", voice="alloy", input="Hi")
        assert answer.content == b"".join(SOUND)


async def test_speech_in_events_tells_its_usage(upstream: FakeUpstream) -> None:
    usage = {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}
    frames = [{"type": "speech.audio.delta", "audio": "AAAA"}, {"type": "speech.audio.done", "usage": usage}]
    upstream.script(sse_answer([f"data: {json.dumps(frame)}\n\n" for frame in frames]))
    async with House(config(upstream.url)) as house, asking(house) as client:
        asked = client.audio.speech.with_streaming_response.create(
            model="my-gpt-4o-mini-tts", voice="alloy", input="Hi", stream_format="sse"
        )
        async with asked as answer:
            text = await answer.text()
        record = await only_record(house)
    assert [json.loads(line[6:]) for line in text.split("\n\n") if line] == frames
    assert (record.input_tokens, record.output_tokens, record.audio_output_tokens) == (10, 100, 100)
    assert record.cost == 1_206_000


async def test_sound_in_place_of_events_passes(upstream: FakeUpstream) -> None:
    upstream.script(Answer(200, {"Content-Type": "audio/mpeg"}, b"".join(SOUND)))
    async with House(config(upstream.url)) as house, asking(house) as client:
        answer = await client.audio.speech.create(model="my-small", voice="alloy", input="Hi", stream_format="sse")
        assert answer.content == b"".join(SOUND)
        assert answer.response.headers["content-type"] == "audio/mpeg"


# Transcriptions.


CLIP = ('clip "a".mp3', b"ID3\r\n--\r\nmodel\x00\xff" * 1000, "audio/mpeg")


async def test_sound_is_transcribed_with_only_the_model_of_its_form_changed(upstream: FakeUpstream) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "input_token_details": {"audio_tokens": 14}}
    upstream.script(json_answer({"text": "Hi there.", "usage": usage}))
    async with House(config(upstream.url)) as house, asking(house) as client:
        answer = await client.audio.transcriptions.create(
            model="my-gpt-4o-transcribe", file=CLIP, include=["logprobs"], language="en"
        )
        record = await only_record(house)
    assert answer.text == "Hi there."
    (request,) = upstream.requests
    assert request.path == "/v1/audio/transcriptions"
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    values = [part.partition(b"\r\n\r\n")[2] for part in request.body.split(b"--" + boundary)[1:-1]]
    assert sorted(values) == sorted(value + b"\r\n" for value in (b"gpt-4o-transcribe", b"logprobs", b"en", CLIP[1]))
    assert (record.operation, record.model) == ("audio/transcriptions", "my-gpt-4o-transcribe")
    assert (record.input_tokens, record.output_tokens, record.audio_input_tokens) == (14, 45, 14)
    assert record.cost is not None


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # translations, in OpenAI's SDK
@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
async def test_transcripts_of_other_kinds_pass(upstream: FakeUpstream, kind: Any) -> None:
    upstream.script(Answer(200, {"Content-Type": "text/plain; charset=utf-8"}, "Grüß Gott\n".encode()))
    async with House(config(upstream.url)) as house, asking(house) as client:
        answer: Any = await client.audio.transcriptions.create(model="my-whisper-1", file=CLIP, response_format=kind)
        raw = await client.audio.translations.with_raw_response.create(
            model="my-whisper-1", file=CLIP, response_format=kind
        )
        records = await house.records()
    assert answer == "Grüß Gott\n"
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert [record.operation for record in records] == ["audio/transcriptions", "audio/translations"]
    assert all((record.outcome, record.cost) == ("served", None) for record in records)


async def test_transcripts_are_streamed(upstream: FakeUpstream) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}
    frames = [
        {"type": "transcript.text.delta", "delta": "Hi "},
        {"type": "transcript.text.delta", "delta": "there."},
        {"type": "transcript.text.done", "text": "Hi there.", "usage": usage},
    ]
    upstream.script(sse_answer([f"data: {json.dumps(frame)}\n\n" for frame in frames]))
    async with House(config(upstream.url)) as house, asking(house) as client:
        stream = await client.audio.transcriptions.create(model="my-gpt-4o-transcribe", file=CLIP, stream=True)
        seen = [event async for event in stream]
        record = await only_record(house)
    assert [event.type for event in seen] == [frame["type"] for frame in frames]
    assert (record.stream, record.input_tokens, record.output_tokens) == (True, 14, 3)


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8"])
async def test_a_model_that_does_not_stream_answers_whole(
    upstream: FakeUpstream, client: aiohttp.ClientSession, kind: str
) -> None:
    """The older models pass over the wish; what comes is what the caller gets."""
    said = b'{"text":"Hi there."}'
    upstream.script(Answer(200, {"Content-Type": kind}, said))
    form = aiohttp.FormData({"model": "my-whisper-1", "stream": "true"})
    form.add_field("file", CLIP[1], filename="clip.mp3")
    async with (
        House(config(upstream.url)) as house,
        client.post(f"{house.url}/v1/audio/transcriptions", data=form) as answer,
    ):
        assert (answer.status, answer.headers["content-type"], await answer.read()) == (200, kind, said)
        assert (await only_record(house)).outcome == "served"


async def test_forms_that_are_refused_are_never_sent_on(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with House(config(upstream.url)) as house:
        url = f"{house.url}/v1/audio/transcriptions"
        async with client.post(url, json={"model": "my-small"}) as answer:
            assert answer.status == 415
        async with client.post(url, data={"model": "my-small"}) as answer:
            assert answer.status == 415, "a form of another kind"
        form = aiohttp.FormData([("model", "my-small"), ("model", "other")])
        form.add_field("file", b"x", filename="x.mp3")
        async with client.post(url, data=form) as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, "model")
        async with client.get(url) as answer:
            assert answer.status == 405
    assert upstream.requests == []


async def test_a_token_that_may_not_use_a_model_may_not_by_a_form(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    token = mint()
    text = config(upstream.url)
    text += f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nmodels = ["my-small"]\n[auth]\napi = "token"\n'
    async with House(text) as house:
        for headers, status in (({}, 401), ({"authorization": f"Bearer {token}"}, 403)):
            form = aiohttp.FormData({"model": "my-whisper-1"})
            form.add_field("file", b"x", filename="x.mp3")
            url = f"{house.url}/v1/audio/transcriptions"
            async with client.post(url, data=form, headers=headers) as answer:
                assert answer.status == status
    assert upstream.requests == []


# Across formats.


def gemini_vectors(*embeddings: Any) -> Answer:
    return json_answer({"embeddings": [{"values": each} for each in embeddings]})


@pytest.mark.parametrize("wish", ["float", "base64"])
async def test_openais_sdk_embeds_with_gemini(upstream: FakeUpstream, wish: Any) -> None:
    upstream.script(gemini_vectors([1.0, 0.25], [0.5, -2]))
    text = provider("google", upstream.url, kind="gemini") + route("fast", "google/gemini-embedding-001")
    async with House(text) as house, asking(house) as client:
        raw = await client.embeddings.with_raw_response.create(
            model="fast", input=["a", "b"], dimensions=2, user="u", encoding_format=wish
        )
        record = await only_record(house)
    answer = raw.parse()
    given = [packed(1, 0.25), packed(0.5, -2)] if wish == "base64" else [[1.0, 0.25], [0.5, -2.0]]
    assert [each.embedding for each in answer.data] == given
    assert answer.usage.prompt_tokens > 0
    assert raw.headers["x-llmhub-adapted"] == "user=dropped"
    (request,) = upstream.requests
    assert request.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert [entry["content"]["parts"] for entry in request.json["requests"]] == [[{"text": "a"}], [{"text": "b"}]]
    assert request.json["requests"][0]["outputDimensionality"] == 2
    assert (record.lane, record.operation, record.usage_estimated) == ("translated", "embeddings", True)
    assert record.adapted == ["user=dropped"]


async def test_tokens_of_one_family_are_not_given_to_another(upstream: FakeUpstream) -> None:
    text = provider("google", upstream.url, kind="gemini") + route("fast", "google/gemini-embedding-001")
    async with House(text) as house, asking(house) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.embeddings.create(model="fast", input=[[1, 2]])
        assert (refused.value.code, refused.value.param) == ("unsupported_content", "input[0]")
        with pytest.raises(openai.BadRequestError) as lossy:
            await client.embeddings.create(model="fast", input="a", user="u", extra_headers={"x-llmhub-strict": "1"})
        assert (lossy.value.code, lossy.value.param) == ("adaptation_refused", "user")
    assert upstream.requests == []


async def test_googles_sdk_embeds_with_openai(upstream: FakeUpstream) -> None:
    upstream.script(vectors([1.0, 0.25], packed(0.5, -2)))
    async with House(config(upstream.url)) as house:
        where = genai.types.HttpOptions(base_url=house.url, retry_options=genai.types.HttpRetryOptions(attempts=1))
        client = genai.Client(api_key="any", http_options=where)
        how = genai.types.EmbedContentConfig(output_dimensionality=2, task_type="RETRIEVAL_QUERY")
        answer = await client.aio.models.embed_content(
            model="my-text-embedding-3-small", contents=["a", "b"], config=how
        )
        await client.aio.aclose()
        record = await only_record(house)
    assert answer.embeddings is not None
    assert [each.values for each in answer.embeddings] == [[1.0, 0.25], [0.5, -2.0]]
    (request,) = upstream.requests
    assert request.path == "/v1/embeddings"
    assert request.json == {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 2}
    assert (record.dialect, record.lane, record.adapted) == ("gemini_embeddings", "translated", ["taskType=dropped"])
    assert (record.operation, record.input_tokens, record.cost) == ("embeddings", 1000, 20_000)


async def test_the_next_provider_embeds_in_its_own_format(upstream: FakeUpstream) -> None:
    upstream.on(
        lambda request: gemini_vectors([1.0]) if "gemini" in request.path else json_answer({"error": {}}, status=503)
    )
    text = provider("openai", upstream.url, kind="openai") + provider("google", upstream.url, kind="gemini")
    text += route("fast", "openai/small", "google/gemini-embedding-001")
    async with House(text) as house, asking(house) as client:
        answer = await client.embeddings.create(model="fast", input="a")
        record = await only_record(house)
    assert answer.data[0].embedding == [1.0]
    assert [attempt.provider for attempt in record.attempts] == ["openai", "google"]


# Limits.


@pytest.mark.parametrize("limit", ["tpm = 4000", "rpm = 1"])
async def test_what_an_operation_uses_counts_against_limits(upstream: FakeUpstream, limit: str) -> None:
    upstream.script(json_answer({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": IMAGE_USAGE}))
    token = mint()
    text = config(upstream.url) + f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nlimits = {{ {limit} }}\n'
    async with House(text) as house, asking(house) as client:
        asker = client.with_options(api_key=token)
        await asker.images.generate(model="my-gpt-image-1", prompt="a cat")
        with pytest.raises(openai.RateLimitError):
            await asker.embeddings.create(model="my-small", input="a")
        records = await house.records()
    assert [(record.caller, record.outcome) for record in records] == [("t", "served"), ("t", "refused")]
    assert len(upstream.requests) == 1


# Without a provider.


async def test_a_newcomer_can_count_tokens_in_any_format(client: aiohttp.ClientSession) -> None:
    async with House('[[providers]]\nname = "echo"\nkind = "echo"\n') as house:
        said = [{"role": "user", "content": "one two three"}]
        for path, body, told in (
            ("/v1/messages/count_tokens", {"model": "echo", "messages": said}, "input_tokens"),
            ("/v1/responses/input_tokens", {"model": "echo", "input": said}, "input_tokens"),
            (
                "/v1beta/models/echo:countTokens",
                {"contents": [{"role": "user", "parts": [{"text": "one two three"}]}]},
                "totalTokens",
            ),
        ):
            async with client.post(house.url + path, json=body) as answer:
                assert (answer.status, answer.headers.get("x-llmhub-adapted")) == (200, None)
                assert (await answer.json())[told] == 3
        records = await house.records()
    assert {(record.operation, record.outcome, record.provider) for record in records} == {
        ("count_tokens", "served", "echo")
    }


async def test_a_newcomer_can_try_them_without_a_key() -> None:
    async with House('[[providers]]\nname = "echo"\nkind = "echo"\n') as house, asking(house) as client:
        answer = await client.embeddings.create(
            model="echo", input=["the cat sat", "the cat sat down", "rising prices"]
        )
        cat, other_cat, prices = (each.embedding for each in answer.data)
        near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (other_cat, prices))
        assert near > far
        verdict = await client.moderations.create(model="echo", input="violence")
        assert verdict.results[0].categories.violence
        assert not verdict.results[0].categories.hate
        records = await house.records()
    assert [(record.operation, record.outcome) for record in records] == [
        ("embeddings", "served"),
        ("moderations", "served"),
    ]
    assert records[0].input_tokens == 9


def test_every_path_is_told_in_the_readme() -> None:
    table = (Path(__file__).parents[1] / "README.md").read_text("utf-8").partition("| format | paths |")[2]
    for dialect in Registry().discover().dialects:
        for path in (spelled for pattern in dialect.paths for spelled in _spelled(pattern)):
            told = path[path.rindex(":") :] if "{" in path else path
            assert f"{told}`" in table, f"{dialect.name}: {path}"


def _spelled(pattern: str) -> list[str]:
    """A path pattern with each of the words that its last variable may be."""
    found = re.search(r"\{\w+:([\w|]+)\}", pattern)
    return [pattern.replace(found[0], word) for word in found[1].split("|")] if found else [pattern]
