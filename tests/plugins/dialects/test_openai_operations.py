"""The operations beside chat of OpenAI's family, each against the suite that any author can use."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from llmhub_plugins.dialects.openai_operations.embeddings import OpenAIEmbeddings
from llmhub_plugins.dialects.openai_operations.images import OpenAIImages
from llmhub_plugins.dialects.openai_operations.moderations import DEFAULT_MODEL, OpenAIModerations
from llmhub_plugins.dialects.openai_operations.rerank import OpenAIRerank
from llmhub_plugins.dialects.openai_operations.speech import OpenAISpeech
from llmhub_plugins.dialects.openai_operations.transcriptions import OpenAITranscriptions

from llmhub_core.contracts import (
    BadRequest,
    NoSettings,
    UnsupportedMedia,
    UpstreamModelMissing,
    Usage,
    Where,
    load_json,
)
from llmhub_core.testing.passing_dialect import PassingDialectSuite, Talk

WHERE = Where({}, {})
STEERED = b'"api_base":"http://127.0.0.1/"'


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def events(*said: dict[str, object]) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in said)


BOUNDARY = "5f2a--9c"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(*parts: tuple[str, str | bytes], boundary: str = BOUNDARY, head: str = "", file: str = "file") -> bytes:
    """A form of fields and, first, a file whose bytes look like everything that a form is made of."""
    sound = b'ID3\x00\xff\r\n\r\nContent-Disposition: form-data; name="model"\r\n\r\nno\r\n--\r\n'
    out = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{file}"; filename="a \\"b\\".mp3"\r\n'
        f"Content-Type: audio/mpeg\r\n\r\n"
    ).encode() + sound
    for name, value in parts:
        raw = value.encode() if isinstance(value, str) else value
        out += f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + raw
    return out + f"\r\n--{boundary}--\r\n".encode()


class TestEmbeddings(PassingDialectSuite):
    dialect = OpenAIEmbeddings(NoSettings())
    answer = body(
        object="list",
        data=[{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
        model="m-1",
        usage={"prompt_tokens": 8, "total_tokens": 8},
    )
    talks = (
        Talk("text", b'{ "model" : "m", "input": "Hi" }', answer, usage=Usage(8)),
        Talk("texts", body(model="m", input=["Hi"], dimensions=2, user="u"), answer, usage=Usage(8)),
        Talk("tokens", body(model="m", input=[1, 2, 3]), answer, usage=Usage(8)),
        Talk("tokens-of-each", body(model="m", input=[[1, 2, 3]]), answer, usage=Usage(8)),
        Talk("packed", body(model="m", input="Hi", encoding_format="base64"), answer, usage=Usage(8)),
        Talk("an-image", body(model="m", input=[{"image": "https://a.b/c"}, "Hi"]), answer.replace(b"]}", b"]},{}"),
             usage=Usage(8)),
        Talk("usage-unsaid", body(model="m", input="Hi"), b'{"data":[{"embedding":"AACAPw=="}],"usage":{}}'),
    )  # fmt: skip
    malformed = (
        (b'{"input":"Hi"}', "model"),
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":""}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"m","input":[""]}', "input[0]"),
        (b'{"model":"m","input":[[]]}', "input[0]"),
        (b'{"model":"m","input":["a",1]}', "input"),
        (b'{"model":"m","input":[[1],2]}', "input"),
        (b'{"model":"m","input":[-1]}', "input[0]"),
        (b'{"model":"m","input":[[[1]]]}', "input[0][0]"),
        (b'{"model":"m","input":5}', "input"),
        (b'{"model":"m","input":[' + b'"a",' * 100_000 + b'"a"]}', "input"),
        (b'{"model":"m","input":"Hi","dimensions":0}', "dimensions"),
        (b'{"model":"m","input":"Hi","encoding_format":"int8"}', "encoding_format"),
        (b'{"model":"m","input":"Hi","model":"n"}', "model"),
        (b'{"model":"m","input":"Hi",' + STEERED + b"}", "api_base"),
        (b'{"model":"m","input":"\\ud800"}', ""),
    )


class TestModerations(PassingDialectSuite):
    dialect = OpenAIModerations(NoSettings())
    answer = body(id="modr-1", model="m-1", results=[{"flagged": False, "categories": {}, "category_scores": {}}])
    talks = (
        Talk("text", body(model="m", input="Hi"), answer),
        Talk("no-model", b'{"input":["Hi","Ho"]}', answer, model=DEFAULT_MODEL),
        Talk(
            "image",
            body(model="m", input=[{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]),
            answer.replace(b"}]}", b'}],"usage":{"prompt_tokens":7,"total_tokens":9,"completion_tokens":2}}'),
            usage=Usage(7, 2),
        ),
    )
    malformed = (
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":5}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"m","input":[[]]}', "input[0]"),
        (b'{"model":"m","input":[{}]}', "input[0].type"),
        (
            b'{"input":["a",{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}]}',
            "input[1].image_url.url",
        ),
        (b'{"input":"Hi",' + STEERED + b"}", "api_base"),
    )


IMAGES = body(
    created=1,
    data=[{"b64_json": "iVBORw0KGgo="}],
    usage={
        "input_tokens": 10,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 10},
        "output_tokens": 4160,
        "total_tokens": 4170,
    },
)


class TestImages(PassingDialectSuite):
    dialect = OpenAIImages(NoSettings())
    generations = {"task": "generations"}  # noqa: RUF012
    edits = {"task": "edits"}  # noqa: RUF012
    talks = (
        Talk("generated", body(model="m", prompt="a cat", n=1), IMAGES, usage=Usage(10, 4160), path=generations),
        Talk("by-url", body(model="m", prompt="a cat"), b'{"data":[{"url":"https://a.b/c.png"}]}', path=generations),
        Talk(
            "streamed",
            body(model="m", prompt="a cat", stream=True, partial_images=1),
            stream=events(
                {"type": "image_generation.partial_image", "b64_json": "completedrror", "partial_image_index": 0},
                {
                    "type": "image_generation.completed",
                    "b64_json": "iVBORw0KGgo=",
                    "usage": {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30},
                },
            ),
            usage=Usage(10, 20),
            path=generations,
        ),
        Talk(
            "edited",
            form(("prompt", "a hat"), ("model", "m"), file="image[]"),
            IMAGES,
            usage=Usage(10, 4160),
            media=FORM,
            path=edits,
        ),
        Talk(
            "edited-by-address",
            body(model="m", prompt="a hat", images=[{"image_url": "https://a.b/c.png"}, {"file_id": "f"}]),
            IMAGES,
            usage=Usage(10, 4160),
            path=edits,
        ),
        Talk(
            "edited-streamed",
            form(("prompt", "a hat"), ("stream", "true"), ("model", "m"), file="image"),
            stream=events({"type": "image_edit.completed", "b64_json": "iVBORw0KGgo="}),
            media=FORM,
            path=edits,
        ),
    )
    malformed = (
        (b'{"prompt":"a cat"}', "model"),
        (b'{"model":"m"}', "prompt"),
        (b'{"model":"m","prompt":""}', "prompt"),
        (b'{"model":"m","prompt":"x","n":0}', "n"),
        (b'{"model":"m","prompt":"x","stream":"yes"}', "stream"),
        (b'{"model":"m","prompt":"x","images":[{"image_url":"file:///etc/passwd"}]}', "images[0].image_url"),
        (b'{"model":"m","prompt":"x",' + STEERED + b"}", "api_base"),
    )

    def test_a_form_makes_no_image_of_words_alone(self) -> None:
        with pytest.raises(UnsupportedMedia):
            self.dialect.read_head(form(("model", "m"), ("prompt", "x")), Where(self.generations, {}, FORM))


class TestSpeech(PassingDialectSuite):
    dialect = OpenAISpeech(NoSettings())
    free_answers = True
    talks = (
        Talk("sound", body(model="m", input="Hi", voice="alloy", speed=1.5), answer=b"ID3\x04\xff\xfb"),
        Talk(
            "events",
            body(model="m", input="Hi", voice={"id": "voice_1"}, stream_format="sse"),
            stream=events(
                {"type": "speech.audio.delta", "audio": "//uQxAAA"},
                {
                    "type": "speech.audio.done",
                    "usage": {"input_tokens": 5, "output_tokens": 60, "total_tokens": 65},
                },
            ),
            usage=Usage(5, 60, audio_output_tokens=60),
        ),
    )
    malformed = (
        (b'{"input":"Hi"}', "model"),
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":""}', "input"),
        (b'{"model":"m","input":"Hi","voice":5}', "voice"),
        (b'{"model":"m","input":"Hi","speed":9}', "speed"),
        (b'{"model":"m","input":"Hi","stream_format":"x"}', "stream_format"),
        (b'{"model":"m","input":"Hi",' + STEERED + b"}", "api_base"),
    )

    def test_no_sound_is_no_answer(self) -> None:
        with pytest.raises(ValueError, match="no sound"):
            self.dialect.inspect_answer(b"", self.head(self.talks[1]))


class TestTranscriptions(PassingDialectSuite):
    dialect = OpenAITranscriptions(NoSettings())
    path = {"task": "transcriptions"}  # noqa: RUF012
    tokens = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "input_token_details": {"audio_tokens": 13}}  # noqa: RUF012
    talks = (
        Talk(
            "json",
            form(("model", "m"), ("include[]", "logprobs")),
            body(text="Hi there.", usage=tokens),
            usage=Usage(14, 45, audio_input_tokens=13),
            media=FORM,
            path=path,
        ),
        Talk(
            "by-the-second",
            form(("response_format", "verbose_json"), ("model", "m")),
            body(text="Hi there.", duration=3.0, segments=[], usage={"type": "duration", "seconds": 3}),
            media=FORM,
            path=path,
        ),
        Talk(
            "subtitles",
            form(("response_format", "srt"), ("model", "m")),
            b"1\n00:00:00,000 --> 00:00:02,000\nHi there.\n",
            media=FORM,
            path=path,
        ),
        Talk("silence", form(("response_format", "text"), ("model", "m")), b"\n", media=FORM, path=path),
        Talk(
            "streamed",
            form(("model", "m"), ("stream", "True")),
            stream=events(
                {"type": "transcript.text.delta", "delta": "Hi. All done.done"},
                {"type": "transcript.text.done", "text": "Hi.", "usage": tokens},
            )
            + b"data: [DONE]\n\n",
            usage=Usage(14, 45, audio_input_tokens=13),
            media=FORM,
            path=path,
        ),
        Talk(
            "translated",
            form(("model", "m")),
            b'{"text":"Hi there."}',
            media=FORM.replace("multipart/form-data", "Multipart/Form-Data").replace(BOUNDARY, f'"{BOUNDARY}"'),
            path={"task": "translations"},
        ),
    )
    malformed = (
        (form(("prompt", "x")), "model"),
        (form(("model", "")), "model"),
        (form(("model", "a\r\nb")), "model"),
        (form(("model", b"\xff")), "model"),
        (form(("model", "m"), ("model", "n")), "model"),
        (form(("model", "m"), ("stream", "perhaps")), "stream"),
        (form(("model", "m"), file="sound"), "file"),
        (form(("model", "m"), file="model"), "model"),
        (form(("model", "m" * 2000)), "model"),
        (form(("model", "m"), ("api_base", "http://127.0.0.1/")), "api_base"),
        (form(("model", "m"), ("url", "http://169.254.169.254/x.mp3")), "url"),
        # What two readers could understand differently.
        (form(("model", "m"), boundary="other"), ""),
        (b"preamble\r\n" + form(("model", "m")), ""),
        (form(("model", "m")) + b"more", ""),
        (form(("model", "m"))[:-8], ""),
        (form(("model", "m")).replace(b"\r\n", b"\n"), ""),
        (form(("model", "m"), ("prompt", f"\n--{BOUNDARY}\n")), ""),
        (form(("model", "m"), ("mod%65l", "n")), ""),
        (form(("model", "m"), ("mod\\el", "n")), ""),
        (form(("model", "m"), head='; name="prompt"'), ""),
        (form(("model", "m"), head="; name*=utf-8''n"), ""),
        (form(("model", "m"), head="\r\nContent-Transfer-Encoding: base64"), ""),
        (form(("model", "m"), head='\r\nContent-Disposition: form-data; name="n"'), ""),
        (form(("model", "m"), head="\r\n folded: x"), ""),
        (form(("model", "m"), head="\r\nx: a\rb"), ""),
    )

    def test_translations_are_asked_for_at_their_own_path(self) -> None:
        heads = [self.head(talk) for talk in self.talks]
        assert {self.dialect.path(head, "m") for head in heads} == {"/audio/transcriptions", "/audio/translations"}
        assert heads[-1].operation == "audio/translations"

    def test_the_length_of_a_part_is_told_anew(self) -> None:
        """Java's clients give each part one."""
        there = "\r\nContent-Length: 5"
        sent = form(("model", "first"), ("prompt", "fives"), head=there)
        where = Where(self.path, {}, FORM)
        out = self.dialect.outgoing_body(sent, self.dialect.read_head(sent, where), "a-longer-one")
        assert out.count(b"Content-Length: 12\r\n\r\na-longer-one\r\n") == 1
        assert out.count(b"Content-Length: 5\r\n\r\nfives") == 1

    @pytest.mark.parametrize(
        ("media", "head"),
        [
            ("multipart/form-data; boundary=B", 'Content-Disposition: form-data; name="model"'),
            (
                'multipart/form-data; boundary="B"',
                "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model",
            ),
            ("multipart/form-data;boundary=B", 'content-disposition:form-data;name="model"'),
            (
                "Multipart/Form-Data; charset=utf-8; boundary=B",
                'Content-Disposition: form-data; name="model";\r\nContent-Transfer-Encoding: 8BIT',
            ),
        ],
        ids=["python", "dotnet", "bare", "ruby"],
    )
    def test_forms_of_all_clients_are_read(self, media: str, head: str) -> None:
        named = "form-data; name=file; filename=\"a.mp3\"; filename*=utf-8''a%20b.mp3"
        sent = f"--B\r\nContent-Disposition: {named}\r\n\r\nID3\r\n--B\r\n{head}\r\n\r\nm\r\n--B--".encode()
        found = self.dialect.read_head(sent, Where(self.path, {}, media))
        assert self.dialect.outgoing_body(sent, found, "other") == sent.replace(b"\r\nm\r\n", b"\r\nother\r\n")

    @pytest.mark.parametrize("piece", [";a=", ';a="', '\\"', "; ;", " ", "x: y\r\n"])
    def test_a_hostile_form_costs_no_time(self, piece: str) -> None:
        hostile = form(("model", "m"), head=piece * (15_000 // len(piece)))
        began = time.thread_time()
        with contextlib.suppress(BadRequest):
            self.dialect.read_head(hostile, Where(self.path, {}, FORM + piece * 3000))
        with contextlib.suppress(BadRequest):
            self.dialect.read_head(hostile, Where(self.path, {}, FORM))
        assert time.thread_time() - began < 0.2

    @pytest.mark.parametrize(
        "media",
        [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            f"multipart/form-data; boundary={'x' * 71}",
            "multipart/form-data; boundary=a\x00b",
        ],
    )
    def test_a_form_without_a_boundary_is_refused(self, media: str) -> None:
        with pytest.raises(BadRequest, match="boundary"):
            self.dialect.read_head(form(("model", "m"), boundary="a"), Where(self.path, {}, media))

    def test_a_page_is_no_transcript(self) -> None:
        for talk in self.talks[2:4]:
            with pytest.raises(ValueError, match="page"):
                self.dialect.inspect_answer(b"\n<!DOCTYPE html><p>busy", self.head(talk))


class TestRerank(PassingDialectSuite):
    dialect = OpenAIRerank(NoSettings())
    talks = (
        Talk(
            "jina",
            body(model="m", query="q", documents=["a", {"text": "b"}], top_n=1),
            b'{"model":"m","usage":{"total_tokens":23},"results":[{"index":0,"relevance_score":0.5}]}',
            usage=Usage(23),
        ),
        Talk(
            "voyage",
            body(model="m", query="q", documents=["a"], top_k=1),
            b'{"object":"list","data":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":26}}',
            usage=Usage(26),
        ),
        Talk(
            "cohere",
            body(model="m", query="q", documents=["a"]),
            b'{"id":"x","results":[{"index":0,"relevance_score":0.5}],"meta":{"billed_units":{"search_units":1}}}',
        ),
        Talk(
            "cohere-in-tokens",
            body(model="m", query={"image": "https://a.b/c"}, documents=["a"]),
            b'{"results":[],"meta":{"billed_units":{"input_tokens":4},"tokens":{"input_tokens":9}}}',
            usage=Usage(4),
        ),
    )
    malformed = (
        (b'{"query":"q","documents":["a"]}', "model"),
        (b'{"model":"m","documents":["a"]}', "query"),
        (b'{"model":"m","query":"q"}', "documents"),
        (b'{"model":"m","query":"q","documents":[]}', "documents"),
        (b'{"model":"m","query":"q","documents":[5]}', "documents[0]"),
        (b'{"model":"m","query":"q","documents":["a"],"top_n":0}', "top_n"),
        (b'{"model":"m","query":"q","documents":["a"],' + STEERED + b"}", "api_base"),
    )


def test_a_moderation_without_a_model_asks_for_the_default_one() -> None:
    dialect = OpenAIModerations(NoSettings())
    asked = b'{"input":"Hi"}'
    head = dialect.read_head(asked, WHERE)
    assert load_json(dialect.outgoing_body(asked, head, "deployed")) == {"model": "deployed", "input": "Hi"}


def test_a_missing_model_is_known_by_its_code() -> None:
    said = (
        b'{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","code":"model_not_found"}}'
    )
    assert isinstance(OpenAIEmbeddings(NoSettings()).decode_error(404, {}, said), UpstreamModelMissing)
