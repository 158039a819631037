"""What leaves for places with quirks: the JSON of requests, rewritten by the table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llmhub_plugins.providers.openai_compatible.outgoing import Outgoing
from llmhub_plugins.providers.openai_compatible.preset import Quirks, Rule
from llmhub_plugins.providers.openai_compatible.presets import PRESETS

from llmhub_core.contracts import BadRequest

CHAT = "/chat/completions"
PLAIN = b'{ "model":"m",  "messages":[{"role":"user","content":"say \\"stop\\" and strict, n, developer"}], "x":1e2}'


def sent(quirks: Quirks, body: Any, path: str = CHAT) -> tuple[dict[str, Any], list[str]]:
    out, lost = Outgoing(quirks).rewrite(path, json.dumps(body).encode())
    return json.loads(out), lost


def preset(name: str, body: Any, path: str = CHAT) -> tuple[dict[str, Any], list[str]]:
    return sent(PRESETS[name].quirks, {"model": "m", "messages": [], **body}, path)


def assistant(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **more}


def called(id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("name", PRESETS)
def test_a_body_without_anything_odd_is_not_touched(name: str) -> None:
    out, lost = Outgoing(PRESETS[name].quirks).rewrite(CHAT, PLAIN)
    assert out is PLAIN
    assert lost == []


@pytest.mark.parametrize("name", PRESETS)
def test_other_operations_bodies_are_nobody_elses(name: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="user"\r\n\r\n"n" "strict"\r\n--x--'
    assert Outgoing(PRESETS[name].quirks).rewrite("/audio/transcriptions", body) == (body, [])


def test_what_is_not_changed_leaves_as_it_was_written() -> None:
    body = (
        b'{"model":"m","temperature":1.50,"messages":[{"role":"user","content":"\\u00e9"}],"max_completion_tokens":7}'
    )
    out, lost = Outgoing(PRESETS["mistral"].quirks).rewrite(CHAT, body)
    assert b'"temperature":1.50' in out
    assert b'[{"role":"user","content":"\\u00e9"}]' in out
    assert b'"max_tokens":7' in out
    assert lost == []


def test_a_key_written_with_escapes_is_found() -> None:
    out, lost = Outgoing(PRESETS["groq"].quirks).rewrite(CHAT, b'{"model":"m","logit\\u005fbias":{"1":2}}')
    assert json.loads(out) == {"model": "m"}
    assert lost == ["logit_bias=dropped"]


def test_fields_are_dropped_and_listed_unless_they_say_nothing() -> None:
    out, lost = preset("groq", {"logprobs": None, "logit_bias": {"1": 1}, "top_logprobs": 2, "seed": 1})
    assert out == {"model": "m", "messages": [], "seed": 1}
    assert lost == ["top_logprobs=dropped", "logit_bias=dropped"]


def test_fields_are_renamed_without_loss() -> None:
    body = {"max_completion_tokens": 5, "seed": 3, "stream_options": {"include_usage": True}}
    out, lost = preset("mistral", body)
    assert out == {"model": "m", "messages": [], "max_tokens": 5, "random_seed": 3}
    assert lost == []
    out, _ = preset("mistral", {"max_completion_tokens": 5, "max_tokens": 4})
    assert (out["max_tokens"], "max_completion_tokens" in out) == (4, False)
    out, _ = preset("mistral", {"input": "x", "dimensions": 8, "encoding_format": "float"}, "/embeddings")
    assert out["output_dimension"] == 8
    assert out["encoding_format"] == "float"


def test_numbers_words_and_lists_are_brought_into_what_the_place_takes() -> None:
    out, lost = preset("zai", {"temperature": 1.7, "top_p": 0, "stop": ["a", "b"], "tool_choice": "required"})
    assert (out["temperature"], out["top_p"], out["stop"], out["tool_choice"]) == (1.0, 0.01, ["a"], "auto")
    assert lost == ["temperature=clamped", "top_p=clamped", "tool_choice=clamped", "stop=clamped"]
    same = {"temperature": 0.5, "stop": "a", "tool_choice": {"type": "function", "function": {"name": "f"}}}
    assert preset("zai", same) == ({"model": "m", "messages": [], **same}, [])


@pytest.mark.parametrize(
    ("model", "dropped"),
    [
        ("grok-4-fast-reasoning", True),
        ("grok-3-mini", True),
        ("grok-code-fast-1", True),
        ("grok-4-fast-non-reasoning", False),
        ("grok-3", False),
    ],
)
def test_some_rules_are_for_some_models(model: str, dropped: bool) -> None:
    out, lost = preset("xai", {"model": model, "stop": ["x"], "presence_penalty": 1})
    assert ("stop" not in out, "presence_penalty" not in out) == (dropped, dropped)
    assert lost == (["presence_penalty=dropped", "stop=dropped"] if dropped else [])


def test_efforts_become_words_that_are_known() -> None:
    assert preset("groq", {"model": "openai/gpt-oss-120b", "reasoning_effort": "xhigh"}) == (
        {"model": "openai/gpt-oss-120b", "messages": [], "reasoning_effort": "high"},
        ["reasoning_effort=clamped"],
    )
    assert preset("groq", {"model": "qwen/qwen3-32b", "reasoning_effort": "low"})[0]["reasoning_effort"] == "default"
    assert preset("xai", {"model": "grok-4-0709", "reasoning_effort": "low"})[1] == ["reasoning_effort=dropped"]
    assert preset("xai", {"model": "grok-4.3", "reasoning_effort": "low"})[1] == []


def test_developers_become_systems_where_nobody_knows_them() -> None:
    body = {"messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}]}
    assert [m["role"] for m in preset("deepseek", body)[0]["messages"]] == ["system", "user"]
    assert [m["role"] for m in preset("xai", body)[0]["messages"]] == ["developer", "user"]


def test_mistral_gets_ids_of_nine_letters_and_digits_the_same_in_every_turn() -> None:
    history = [
        {"role": "user", "content": "go"},
        assistant(tool_calls=[called("call_abcdefghijkl"), called("abcDEF123"), called("toolu_1")]),
        {"role": "tool", "tool_call_id": "toolu_1", "content": "1"},
        {"role": "tool", "tool_call_id": "call_abcdefghijkl", "content": "2"},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "3"},
    ]
    out, lost = preset("mistral", {"messages": history})
    first, kept, second = (call["id"] for call in out["messages"][1]["tool_calls"])
    assert [message["tool_call_id"] for message in out["messages"][2:]] == [second, first, kept]
    assert kept == "abcDEF123"
    assert all(len(id) == 9 and id.isalnum() for id in (first, second))
    assert first != second
    assert lost == []
    later, _ = preset("mistral", {"messages": [*history, {"role": "user", "content": "on"}]})
    assert later["messages"][:5] == out["messages"]


def test_members_of_messages_that_are_refused_are_taken_out() -> None:
    history = [
        {"role": "user", "content": "u", "name": "anna"},
        assistant(refusal=None, annotations=[], audio=None, name="x"),
        {"role": "tool", "tool_call_id": "1", "content": "", "name": "f"},
    ]
    out, lost = preset("groq", {"messages": history})
    assert out["messages"] == [{"role": "user", "content": "u"}, assistant(), history[2]]
    assert lost == ["messages[0].name=dropped", "messages[1].name=dropped"]


def test_reasoning_goes_back_under_the_name_that_the_place_reads() -> None:
    history = {"messages": [assistant(reasoning_content="hm"), {"role": "user", "content": "u"}]}
    assert preset("groq", history)[0]["messages"][0] == assistant(reasoning="hm")
    assert preset("groq", history)[1] == []
    out, lost = preset("mistral", history)
    assert out["messages"][0] == assistant()
    assert lost == ["messages[0].reasoning_content=dropped"]
    assert preset("xai", history)[0]["messages"] == history["messages"]


def test_a_tool_loop_that_began_elsewhere_goes_on_at_deepseek() -> None:
    history = [
        assistant(tool_calls=[called("toolu_1")]),
        assistant(tool_calls=[called("2")], reasoning_content="hm"),
        assistant(content="x"),
    ]
    out, lost = preset("deepseek", {"messages": history})
    assert [message.get("reasoning_content") for message in out["messages"]] == ["", "hm", None]
    assert lost == []


def test_texts_in_parts_become_one_text_where_parts_are_not_known() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    image = [*parts, {"type": "image_url", "image_url": {"url": "data:"}}]
    out, _ = preset("deepseek", {"messages": [{"role": "user", "content": p} for p in (parts, image, [])]})
    assert [message["content"] for message in out["messages"]] == ["a\nb", image, []]


def test_strict_functions_become_ordinary_ones() -> None:
    tools = [{"type": "function", "function": {"name": n, "strict": s}} for n, s in (("a", True), ("b", False))]
    out, lost = preset("deepseek", {"tools": tools})
    assert [tool["function"] for tool in out["tools"]] == [{"name": "a"}, {"name": "b"}]
    assert lost == ["tools[0].function.strict=dropped"]


def test_what_cannot_be_left_out_is_refused_by_name() -> None:
    with pytest.raises(BadRequest) as caught:
        preset("groq", {"n": 2})
    assert (caught.value.code, caught.value.param) == ("unsupported_content", "n")
    assert preset("groq", {"n": 1}) == ({"model": "m", "messages": []}, [])
    with pytest.raises(BadRequest) as caught:
        preset("perplexity", {"tools": [{"type": "function"}]})
    assert (caught.value.code, caught.value.param) == ("unsupported_content", "tools")
    assert preset("perplexity", {"tools": [], "tool_choice": "auto"}) == ({"model": "m", "messages": []}, [])


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "no list", "stop": 1, "tools": {"a": 1}, "n": "x", "reasoning_effort": 3},
        {"messages": [1, None, {"role": 5, "tool_calls": "x", "content": [1]}], "tools": [1, {"function": 2}]},
        {"messages": [{"role": "assistant", "tool_calls": [1, {"id": 5}], "reasoning": {"a": 1}, "strict": 1}]},
        {"messages": [], "response_format": "json_schema", "temperature": "warm", "model": 5},
        {"messages": [], "response_format": {"type": "json_schema", "json_schema": "x"}},
    ],
)
@pytest.mark.parametrize("name", PRESETS)
def test_odd_bodies_are_left_to_the_place(name: str, body: Any) -> None:
    said = json.dumps({**body, "seed": 1, "user": "u"}).encode()
    try:
        out, _ = Outgoing(PRESETS[name].quirks).rewrite(CHAT, said)
    except BadRequest as error:
        assert (name, error.param) == ("perplexity", "tools")
    else:
        assert isinstance(json.loads(out), dict)


def test_half_a_surrogate_pair_passes() -> None:
    body = b'{"messages":[{"role":"developer","content":"\\ud800"}],"logit_bias":{}}'
    out, lost = Outgoing(PRESETS["cerebras"].quirks).rewrite(CHAT, body)
    assert json.loads(out) == {"messages": [{"role": "system", "content": "\ud800"}]}
    assert lost == ["logit_bias=dropped"]


def test_rules_apply_in_their_order() -> None:
    quirks = Quirks(rules=(Rule(rename={"a": "b"}), Rule(clamp={"b": (0, 1)})))
    assert sent(quirks, {"a": 5}) == ({"b": 1}, ["b=clamped"])
