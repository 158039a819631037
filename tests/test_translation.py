"""Every talk, between every two dialects: A in front, B behind.

What is written for B and for A is judged twice: by their own decoders, and by `plain_reading`, which knows none
of them.
"""

import importlib
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import pytest
from plain_reading import ANSWERED, ASKED, Numbers, merged, plain

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    ChatResponse,
    Dialect,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    UpstreamError,
    Usage,
    Where,
    fold,
    load_json,
    unseal_id,
)
from llmhub_core.testing.conversations import Conversation, comparable, decode, encode
from llmhub_core.testing.dialect import DialectSuite

CONVERSATIONS = Path(__file__).parent / "conversations"


def built_in(name: str) -> Dialect:
    kinds = importlib.import_module(f"llmhub_plugins.dialects.{name}").register_dialects()
    kind = next(kind for kind in kinds if kind.name == name)
    dialect: Dialect = kind(kind.Settings())
    return dialect


class TestOpenAIChat(DialectSuite):
    dialect = built_in("openai_chat")
    conversations = CONVERSATIONS
    malformed: ClassVar = [
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
    ]


class TestOpenAIResponses(DialectSuite):
    dialect = built_in("openai_responses")
    conversations = CONVERSATIONS
    messages_field = "input"
    malformed: ClassVar = [
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
    ]

    def test_a_malformed_body_is_refused_by_the_name_of_its_field(self) -> None:
        """As the suite has it, but that `input` may be a text."""
        good, where = load_json(self.talks()[0].request), self.where(False)
        wrong = [({**good, field: value}, field) for field in ("input", "model") for value in (None, [], [1], 5, True)]
        wrong += [
            ({name: value for name, value in good.items() if name != field}, field) for field in ("input", "model")
        ]
        wrong += [({**good, **changes}, param) for changes, param in self.malformed]
        for fields, param in wrong:
            with pytest.raises(BadRequest) as refused:
                self.dialect.read_head(json.dumps(fields).encode(), where)
            assert (refused.value.param or "").startswith(param), (fields, refused.value.param)

    def test_models_are_listed(self) -> None:
        assert self.dialect.models_paths == ()  # openai_chat lists them for both


class TestAnthropic(DialectSuite):
    dialect = built_in("anthropic")
    conversations = CONVERSATIONS
    malformed: ClassVar = [
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
    ]


class TestGemini(DialectSuite):
    dialect = built_in("gemini")
    conversations = CONVERSATIONS
    messages_field = "contents"
    model_field = None
    stream_field = None
    malformed: ClassVar = [
        ({"contents": [{"role": "robot", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"role": "user", "parts": 5}]}, "contents[0].parts"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
    ]

    @classmethod
    def where(cls, stream: bool) -> Where:
        verb = "streamGenerateContent" if stream else "generateContent"
        return Where({"model": "gemini-3-flash", "verb": verb}, {"alt": "sse"} if stream else {})


SUITES: Mapping[str, type[DialectSuite]] = {
    suite.dialect.name: suite for suite in (TestOpenAIChat, TestOpenAIResponses, TestAnthropic, TestGemini)
}
TALKS = {name: {talk.name: talk for talk in suite.talks()} for name, suite in SUITES.items()}
CASES = [
    pytest.param(talk, front, behind, id=f"{talk}-{front}-{behind}")
    for front, behind in permutations(SUITES, 2)
    for talk in sorted(TALKS[front].keys() & TALKS[behind].keys())
]


# What is inherently lost: talk, front, behind ("*" is any) → what is expected instead, and why.

Losses = Mapping[tuple[str, str, str], dict[str, Any]]

THOUGHTS_SHOWN = "generationConfig.thinkingConfig.includeThoughts=dropped"
REQUEST_LOSSES: Losses = {
    # Claude models of today refuse temperature and top_p together.
    ("sampling", "*", "anthropic"): {"top_p": None, "adapted": ("top_p=dropped",)},
    # Only Anthropic marks what is to be cached; the others cache by themselves.
    ("cached_usage", "anthropic", "*"): {"adapted": ("messages[0].content[0].cache_control=dropped",)},
    # OpenAI knows no budget, only effort in words; nor do the newest Claude models.
    ("reasoning", "*", "openai_chat"): {"adapted": ("reasoning_tokens=renamed",)},
    ("reasoning", "anthropic", "openai_responses"): {"adapted": ("reasoning_tokens=renamed",)},
    ("reasoning", "openai_responses", "openai_chat"): {"adapted": ()},
    # … and Chat has no word for seeing thoughts.
    ("reasoning", "gemini", "*"): {"adapted": ("reasoning_tokens=renamed", THOUGHTS_SHOWN)},
    ("reasoning", "gemini", "openai_responses"): {"adapted": ("reasoning_tokens=renamed",)},
    # OpenAI has no mark for the result of a call that failed.
    ("tool_error_result", "anthropic", "openai_chat"): {"adapted": ("messages[2].content[0].is_error=dropped",)},
    ("tool_error_result", "gemini", "openai_chat"): {"adapted": ("messages[2].content[0].is_error=dropped",)},
    ("tool_error_result", "anthropic", "openai_responses"): {"adapted": ("messages[2].content[0].is_error=dropped",)},
    ("tool_error_result", "gemini", "openai_responses"): {"adapted": ("messages[2].content[0].is_error=dropped",)},
}

ANSWER_LOSSES: Losses = {
    # OpenAI and Gemini say the same word for an end by itself and at a stop text.
    ("stop_sequence", "anthropic", "*"): {"finish": "stop", "stop_text": None, "native": "end_turn"},
    # Gemini does not tell what was newly written to its cache.
    ("cached_usage", "*", "gemini"): {"written": 0},
}


def less(losses: Losses, talk: str, front: str, behind: str, expected: dict[str, Any]) -> dict[str, Any]:
    """What is expected, after the losses of this talk between these dialects."""
    for (name, a, b), changes in losses.items():
        if name == talk and a in ("*", front) and b in ("*", behind):
            expected = {**expected, **{key: value for key, value in changes.items() if key in expected}}
    return expected


def schema(value: Any, loose: bool) -> Any:
    """A JSON Schema; Gemini's older form has types in capitals and no `additionalProperties`."""
    if isinstance(value, dict):
        return {
            name: inner.lower() if loose and name == "type" and isinstance(inner, str) else schema(inner, loose)
            for name, inner in value.items()
            if not (loose and name == "additionalProperties")
        }
    return [schema(item, loose) for item in value] if isinstance(value, list) else value


def level(asked: dict[str, Any], front: str, behind: str) -> dict[str, Any]:
    """The differences between dialects that are no mistakes, evened out."""
    loose = "gemini" in (front, behind)
    nothing = {"type": "object", "properties": {}}
    tools = [
        (name, description, schema(parameters or nothing, loose)) for name, description, parameters in asked["tools"]
    ]
    marks = {"openai_chat", "openai_responses"}.isdisjoint((front, behind))  # no mark for the result of a failed call
    turns = [
        (role, [("result", *piece[1:]) if piece[0] == "error" and not marks else piece for piece in pieces])
        for role, pieces in asked["turns"]
    ]
    return {**asked, "tools": tools, "turns": turns, "max": None}


@pytest.mark.parametrize(("name", "front", "behind"), CASES)
def test_a_request_says_the_same_behind(name: str, front: str, behind: str) -> None:
    a, b = SUITES[front], SUITES[behind]
    mine, theirs = TALKS[front][name], TALKS[behind][name]
    body = load_json(theirs.request)
    encoded = b.dialect.encode_request(a.request(mine), body.get("model", "gemini-3-flash"))

    out = ASKED[behind](load_json(encoded.body))
    expected = less(REQUEST_LOSSES, name, front, behind, {**ASKED[behind](body), "adapted": ()})
    assert level({**out, "adapted": encoded.adapted}, front, behind) == level(expected, front, behind)

    decoded = b.request(replace(theirs, request=encoded.body))
    expected = less(REQUEST_LOSSES, name, front, behind, meaning(b.request(theirs)))
    assert level(meaning(decoded), front, behind) == level(expected, front, behind)

    limit = ASKED[front](load_json(mine.request))["max"]
    # Anthropic requires a limit: where the caller named none, any will do.
    assert out["max"] == decoded.sampling.max_output
    assert out["max"] == limit or (limit is None and behind == "anthropic")


def meaning(request: ChatRequest) -> dict[str, Any]:
    """A decoded request as `plain_reading` has it, from the neutral values; extras are nobody else's business."""
    calls = Numbers()
    turns: list[tuple[str, list[Any]]] = []
    for message in request.messages:
        role = "system" if message.role == "developer" else message.role
        spoken = [part for part in message.content if not isinstance(part, Reasoning)]
        turns.append((role, [piece(part, calls) for part in spoken]))
    sampling = request.sampling
    return {
        "turns": merged(turns),
        "tools": [(tool.name, tool.description, tool.parameters) for tool in request.tools if isinstance(tool, Tool)],
        "choice": sampling.tool_choice,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": sampling.stop,
        "rest": (sampling.n, sampling.seed, sampling.answer_format, sampling.parallel_tools),
        "thinks": sampling.effort is not None or sampling.reasoning_tokens is not None,
        "model": request.model,
    }


def piece(part: Any, calls: Numbers) -> Any:
    if isinstance(part, Text):
        return ("text", part.text)
    if isinstance(part, ToolCall):
        return ("call", calls[part.id], part.name, json.loads(part.arguments or "{}"))
    if isinstance(part, ToolResult):
        value = plain("".join(inner.text for inner in part.content if isinstance(inner, Text)))
        return ("error" if part.is_error else "result", calls[part.call_id], value)
    source = part.source
    return ("link", source.url) if hasattr(source, "url") else ("image", source.media_type, source.data)


def answer_meaning(response: ChatResponse) -> dict[str, Any]:
    usage = response.usage or Usage()
    pieces: list[tuple[str, Any]] = []
    for part in response.parts:
        if part.kind == "tool_call":
            pieces.append(("call", (part.name, json.loads(part.text or "{}"))))
        elif pieces and pieces[-1][0] == part.kind:
            pieces[-1] = (part.kind, pieces[-1][1] + part.text)
        elif part.text:
            pieces.append((part.kind, part.text))
    return {
        "failed": response.failed,
        "pieces": pieces,
        "finish": response.finished[0].reason,
        "stop_text": response.finished[0].stop_text if response.finished[0].reason == "stop_sequence" else None,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_tokens,
        "written": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
    }


def translated(
    talk: Conversation, front: str, behind: str, from_stream: bool, to_stream: bool, size: int | random.Random
) -> bytes:
    """B's answer, read in pieces, as A's bytes."""
    a, b = SUITES[front], SUITES[behind]
    events = b.answer_events(talk, from_stream, size)
    return encode(a.dialect.response_encoder(a.request(TALKS[front][talk.name], to_stream)), events)


@pytest.mark.parametrize("to_stream", [False, True], ids=["to_whole", "to_stream"])
@pytest.mark.parametrize("from_stream", [False, True], ids=["from_whole", "from_stream"])
@pytest.mark.parametrize(("name", "front", "behind"), CASES)
def test_an_answer_says_the_same_in_front(
    name: str, front: str, behind: str, from_stream: bool, to_stream: bool
) -> None:
    a, b = SUITES[front], SUITES[behind]
    mine, theirs = TALKS[front][name], TALKS[behind][name]
    expected = answer_meaning(fold(a.answer_events(mine, to_stream)))
    expected = less(ANSWER_LOSSES, name, front, behind, expected)
    origin = fold(b.answer_events(theirs, from_stream))
    for size in (1 << 30, 1, 7, random.Random(name)):
        written = translated(theirs, front, behind, from_stream, to_stream, size)
        response = fold(decode(a.dialect.response_decoder(to_stream), written, size))
        assert answer_meaning(response) == expected
        assert (response.id, response.model) == (origin.id, origin.model)
        assert ids_of(response) == ids_of(origin)


def ids_of(response: ChatResponse) -> list[str]:
    """As the provider gave them: a front may seal behind them what must come back."""
    plain = [replace(part, id=unseal_id(part.id)[0]) for part in response.parts]
    return [call.id for call in comparable(replace(response, parts=plain)).tool_calls]


@pytest.mark.parametrize("from_stream", [False, True], ids=["from_whole", "from_stream"])
@pytest.mark.parametrize(("name", "front", "behind"), CASES)
def test_an_answer_is_written_as_the_front_would_write_it(
    name: str, front: str, behind: str, from_stream: bool
) -> None:
    written = load_json(translated(TALKS[behind][name], front, behind, from_stream, False, 1 << 30))
    expected = ANSWERED[front](load_json(TALKS[front][name].answer))
    assert ANSWERED[front](written) == less(ANSWER_LOSSES, name, front, behind, expected)


@pytest.mark.parametrize("name", ["long_text", "parallel_tool_calls", "reasoning"])
@pytest.mark.parametrize(("front", "behind"), list(permutations(SUITES, 2)))
def test_a_stream_that_breaks_off_behind_never_looks_finished_in_front(name: str, front: str, behind: str) -> None:
    a, talk = SUITES[front], TALKS[behind][name]
    for share in (0.3, 0.6, 0.8):
        broken = replace(talk, stream=talk.stream[: int(len(talk.stream) * share)])
        written = translated(broken, front, behind, True, True, 64)
        response = fold(decode(a.dialect.response_decoder(True), written))
        assert isinstance(response.failed, UpstreamError)
        assert not response.finished


def test_the_corpus_agrees_with_itself() -> None:
    """Read without any dialect: the three tell the same story, so that a mistake is not in the corpus."""
    for name in TALKS["openai_chat"]:
        there = [dialect for dialect in SUITES if name in TALKS[dialect]]
        answers = {dialect: ANSWERED[dialect](load_json(TALKS[dialect][name].answer)) for dialect in there}
        asked = {dialect: ASKED[dialect](load_json(TALKS[dialect][name].request)) for dialect in there}
        for field in ("text", "calls", "thoughts", "input", "cached", "output", "total"):
            assert len({json.dumps(answer[field]) for answer in answers.values()}) == 1, (name, field)
        for field in ("system", "temperature", "top_p", "stop", "choice", "thinks"):
            assert len({json.dumps(said[field]) for said in asked.values()}) == 1, (name, field)
        turns = [level(said, "openai_chat", "gemini")["turns"] for said in asked.values()]
        assert all(said == turns[0] for said in turns), name
