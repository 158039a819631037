"""Frames cut anywhere, JSON spliced without touching a byte, texts without secrets."""

import json
import math
import random
import re
import time
from contextlib import suppress
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmhub_core.contracts import (
    MAX_FRAME,
    BadRequest,
    FrameSplitter,
    FrameTooLarge,
    dump_json,
    find_value,
    is_json,
    load_json,
    read_frame,
    replace_string,
    retry_after,
    safe_text,
    set_value,
)

# Frames


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = FrameSplitter()
    frames = [frame for piece in pieces for frame in splitter.feed(piece)]
    return frames, splitter.rest()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


line = st.sampled_from(["data: {}", "event: ping", ": comment", 'data: "\u2028 \u2029 \u0085 \x0b \x0c é 😀"', "x"])
ending = st.sampled_from(["\n", "\r\n"])
frame = st.builds(lambda lines, end: (end.join(lines) + end + end).encode(), st.lists(line, min_size=1), ending)


@given(st.lists(frame), st.sampled_from([b"", b"data: half", b'data: {"a":1}\r\n']), st.lists(st.integers(0, 10_000)))
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    frames: list[bytes], rest: bytes, places: list[int]
) -> None:
    assert split(cut(b"".join(frames) + rest, places)) == (frames, rest)


@given(st.text(alphabet="ab\r\n:\u2028\u0085"), st.lists(st.integers(0, 10_000)))
def test_no_byte_is_lost_and_no_data_changes_whatever_the_line_ends(text: str, places: list[int]) -> None:
    data = text.encode()
    frames, rest = split(cut(data, places))
    assert b"".join(frames) + rest == data
    assert [read for frame in (*frames, rest) for read in lines_of(frame)] == lines_of(data)


def lines_of(data: bytes) -> list[bytes]:
    return [line for line in re.split(rb"\r\n|\r|\n", data) if line]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_three_line_ends_end_a_frame(end: bytes) -> None:
    frame = b"event: a" + end + b"data: 1" + end + end
    assert split([frame * 2 + b"data"])[0][0] == frame
    assert [read_frame(found) for found in split([frame * 2 + b"data"])[0]] == [("a", b"1")] * 2


def test_a_crlf_cut_in_the_middle_is_one_line_end() -> None:
    splitter = FrameSplitter()
    assert splitter.feed(b"data: 1\r") == []
    assert splitter.pending
    assert splitter.feed(b"\ndata: 2\r\n\r") == []
    assert splitter.feed(b"\ndata: 3") == [b"data: 1\r\ndata: 2\r\n\r\n"]
    assert splitter.rest() == b"data: 3"
    assert not splitter.pending


def test_a_frame_in_many_reads_costs_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: the bytes that the pattern may look at, over all reads of one long frame."""
    from llmhub_core.contracts import wire

    pattern, looked_at = wire._FRAME_END, 0

    class Counting:
        def search(self, data: bytearray, start: int) -> Any:
            nonlocal looked_at
            looked_at += len(data) - start
            return pattern.search(data, start)

        def finditer(self, data: bytes, start: int = 0) -> Any:
            nonlocal looked_at
            looked_at += len(data) - start
            return pattern.finditer(data, start)

    monkeypatch.setattr(wire, "_FRAME_END", Counting())
    size, piece = 300_000, 100
    splitter = FrameSplitter()
    for _ in range(size // piece):
        assert splitter.feed(b"x" * piece) == []
    assert len(splitter.feed(b"\n\n")) == 1
    assert looked_at < 2 * size


def test_a_frame_beyond_the_limit_is_refused() -> None:
    splitter = FrameSplitter()
    splitter.feed(b"x" * MAX_FRAME)
    with pytest.raises(FrameTooLarge):
        splitter.feed(b"x")


def test_many_frames_may_together_be_larger_than_the_limit() -> None:
    splitter = FrameSplitter()
    one = b"data: " + b"x" * 1_000_000 + b"\n\n"
    assert len(splitter.feed(one * 9)) == 9


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"data: {}\n\n", ("", b"{}")),
        (b"data:{}\n\n", ("", b"{}")),
        (b"data:  two\n\n", ("", b" two")),
        (b"data: {}\r\n\r\n", ("", b"{}")),
        (b"data: {}\r\r", ("", b"{}")),
        (b"data: a\ndata: b\n\n", ("", b"a\nb")),
        (b"data: a\r\ndata\r\ndata: c\r\n\r\n", ("", b"a\n\nc")),
        (b"event: ping\ndata: {}\n\n", ("ping", b"{}")),
        (b"event: ping\r\ndata: {}\r\n\r\n", ("ping", b"{}")),
        (b"event: ping\ndata: a\ndata: b\n\n", ("ping", b"a\nb")),
        (b"event: ping\nid: 7\ndata: {}\n\n", ("ping", b"{}")),
        (b"event: ping\nevent: pong\ndata: {}\n\n", ("pong", b"{}")),
        (b"event: ping\ndata: {}", ("ping", b"{}")),
        (b"event:  a\xff\ndata:  {}\n\n", (" a\ufffd", b" {}")),
        (b"event: \ndata: {}\n\n", ("", b"{}")),
        (b"data: {}\nevent:late\nid: 7\nretry: 5\n\n", ("late", b"{}")),
        (b"event: \xff\n\n", ("\ufffd", b"")),
        (b": comment\n\n", ("", b"")),
        (b"\n\n", ("", b"")),
        (b"", ("", b"")),
        (b"data: no end", ("", b"no end")),
        (b"data: one end\n", ("", b"one end")),
        (b"datax: 1\n\n", ("", b"")),
        (b"data: a\rdata: b\n\n", ("", b"a\nb")),
        (b"data: [DONE]\r\n\r", ("", b"[DONE]")),
        ("data: \u2028 \u2029 \u0085\n\n".encode(), ("", "\u2028 \u2029 \u0085".encode())),
    ],
)
def test_read_frame(raw: bytes, read: tuple[str, bytes]) -> None:
    assert read_frame(raw) == read


# One value of a JSON object

key = st.sampled_from(["model", "mod\\el", 'mo"del', "stream", "a", "", "Model", "modèle", "m", "mo{del", "x,y:z"])
leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(['"model":"x"', "{", "}", "[", "]", ",", ":", "\\", '"', "model"])
)
value = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=3), max_leaves=8
)


def written(of: Any, rng: random.Random) -> str:
    """JSON text of a value, with white space and needless escapes at random."""
    if isinstance(of, dict):
        members = [gap(rng) + written(name, rng) + gap(rng) + ":" + written(item, rng) for name, item in of.items()]
        text = "{" + (",".join(members) or gap(rng)) + "}"
    elif isinstance(of, list):
        text = "[" + (",".join(written(item, rng) for item in of) or gap(rng)) + "]"
    else:
        text = escaped(of, rng.randrange(3)) if isinstance(of, str) else json.dumps(of)
    return gap(rng) + text + gap(rng)


def gap(rng: random.Random) -> str:
    return rng.choice(["", "", "", " ", "\n", "\t \r\n"])


def escaped(text: str, how: int) -> str:
    if how == 0:
        return json.dumps(text, ensure_ascii=False)
    if how == 1:
        return json.dumps(text)
    units = text.encode("utf-16-be", "surrogatepass")
    return '"' + "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2)) + '"'


@st.composite
def documents(draw: st.DrawFn, models: st.SearchStrategy[Any] = value) -> tuple[dict[str, Any], bytes]:
    document = {**draw(st.dictionaries(key, value, max_size=4)), "model": draw(models)}
    names = draw(st.permutations([name for name in document if name != "model" or draw(st.integers(0, 3))]))
    document = {name: document[name] for name in names}
    return document, written(document, random.Random(draw(st.integers(0, 99)))).encode()


@given(documents())
def test_find_value_finds_what_a_parser_finds(document: tuple[dict[str, Any], bytes]) -> None:
    parsed, body = document
    assert json.loads(body) == parsed
    for name in ("model", "stream", "", "modèle", "absent", 'mo"del', "mod\\el"):
        span = find_value(body, name)
        assert (span is not None) == (name in parsed)
        if span is not None:
            found = body[span[0] : span[1]]
            assert json.loads(found) == parsed[name]
            assert found.strip() == found


@given(documents(), value)
def test_set_value_changes_one_member_and_no_other_byte(document: tuple[dict[str, Any], bytes], new: Any) -> None:
    parsed, body = document
    raw = dump_json(new)
    out = set_value(body, "model", raw)
    assert load_json(out) == {**parsed, "model": load_json(raw)}
    span = find_value(out, "model")
    assert span is not None
    if "model" in parsed:
        old = find_value(body, "model")
        assert old is not None
        assert out[: span[0]] + body[old[0] : old[1]] + out[span[1] :] == body
    else:
        brace = body.index(b"{") + 1
        assert (out[:brace], out.endswith(body[brace:])) == (body[:brace], True)


@given(documents(models=st.text()), st.text())
def test_replace_string_changes_the_top_level_string_only(document: tuple[dict[str, Any], bytes], new: str) -> None:
    parsed, body = document
    assume("model" in parsed)
    out = replace_string(body, "model", new)
    assert load_json(out) == {**parsed, "model": new}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","m\\u006fdel":"b"}',
        b'{"m\\u006fdel":1,"x":{},"model":[{}]}',
        b'{"model":{"model":1},"model":2}',
    ],
)
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    for change in (
        lambda: find_value(body, "model"),
        lambda: replace_string(body, "model", "x"),
        lambda: set_value(body, "model", b"1"),
    ):
        with pytest.raises(BadRequest) as refused:
            change()
        assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"metadata":{"model":"x"},"model":"a"}', b'{"metadata":{"model":"x"},"model":"b"}'),
        (b'{"model":"a","metadata":{"model":"x"}}', b'{"model":"b","metadata":{"model":"x"}}'),
        (b'{"text":"\\"model\\":\\"x\\"","model":"a"}', b'{"text":"\\"model\\":\\"x\\"","model":"b"}'),
        (b'{"text":"{\\"model\\": \\"x\\"}","model" :\n"a" }', b'{"text":"{\\"model\\": \\"x\\"}","model" :\n"b" }'),
        (b'{"m\\u006fdel":"a","x":{"model":"y"}}', b'{"m\\u006fdel":"b","x":{"model":"y"}}'),
        (b'{"x":["model","y"],"model":"a"}', b'{"x":["model","y"],"model":"b"}'),
        (b'{"x":"model","model":"a"}', b'{"x":"model","model":"b"}'),
        (b'{"n":1E5,"m":1e-7,"model":"a","k":12345678901234567890123}', None),
    ],
)
def test_replace_string(body: bytes, changed: bytes | None) -> None:
    if changed is None:
        changed = body.replace(b'"a"', b'"b"')
    assert replace_string(body, "model", "b") == changed


def test_replace_string_writes_the_new_value_as_json() -> None:
    out = replace_string(b'{"model":"a"}', "model", 'q"\\\n\u2028é')
    assert json.loads(out) == {"model": 'q"\\\n\u2028é'}


def test_set_value_in_an_empty_object() -> None:
    assert set_value(b" { } ", "stream", b"true") == b' {"stream":true } '


def test_find_value_in_what_is_no_object() -> None:
    for body in (b"", b"[]", b'["model",{"model":1}]', b'"model"', b"7", b'{"model"'):
        assert find_value(body, "model") is None


# JSON


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b'"\\ude00\\ud83d"', "\ude00\ud83d"),
        (b"[Infinity,-Infinity]", [math.inf, -math.inf]),
        (b"[1e400]", [math.inf]),
        (b"12345678901234567890123", 12345678901234567890123),
        ('"\u2028"', "\u2028"),
        (b' {"a" : [1, 2.5, null, true] } ', {"a": [1, 2.5, None, True]}),
    ],
)
def test_load_json_reads_what_providers_send(text: bytes | str, read: Any) -> None:
    assert load_json(text) == read


def test_load_json_reads_nan() -> None:
    assert math.isnan(load_json(b"[NaN]")[0])


@pytest.mark.parametrize("text", [b"", b"{", b"{}{}", b"{'a':1}", b"\xff", b'"\xc3"', b"nul", b"\x00", b'{"a":1,}'])
def test_load_json_refuses_by_value_error_only(text: bytes) -> None:
    with pytest.raises(ValueError):
        load_json(text)


@pytest.mark.parametrize("text", [b"", b"{", b"{}{}", b"{'a':1}", b"nul", b"\x00", b'{"a":1,}', b"[" * 9999, b'"\xc3"'])
def test_is_json_sees_what_is_none(text: bytes) -> None:
    assert not is_json(text)


@pytest.mark.parametrize("depth", [900, 5_000, 200_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_never_raises_anything_but_value_error(depth: int, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for text in (opening * depth, opening * depth + b"1" + closing * depth):
        with suppress(ValueError):
            load_json(text)
        assert is_json(text) in (True, False)


@given(value)
def test_dump_json_and_load_json_are_inverse(document: Any) -> None:
    text = dump_json(document)
    assert load_json(text) == document
    assert is_json(text)
    text.decode()


def test_dump_json_escapes_half_surrogates() -> None:
    assert dump_json({"a": "\ud83d"}) == b'{"a":"\\ud83d"}'
    assert load_json(dump_json(["\ude00é"])) == ["\ude00é"]


@pytest.mark.parametrize("text", [b"{}", b" [1] ", b'"\\ud83d"', b"NaN", b"1e400", b"null"])
def test_is_json_agrees_with_load_json(text: bytes) -> None:
    load_json(text)
    assert is_json(text)


# Texts and headers of providers


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop0123",
        "sk-ant-api03-AbC_dEf-123456",
        "sk-***************1234",
        "xai-0123456789abcdef",
        "lh-0123456789abcdef",
        "lha-0123456789abcdef",
        "AIzaSyA1234567890abcdefghij",
        "key-0123456789abcdef",
    ],
)
def test_safe_text_hides_credentials(secret: str) -> None:
    for text in (f"Incorrect API key provided: {secret}.", f"bearer {secret}", f"({secret})", secret):
        assert secret not in safe_text(text)
        assert secret[-6:] not in safe_text(text)
        assert "***" in safe_text(text)


def test_safe_text_hides_keys_in_addresses_and_keeps_the_rest() -> None:
    assert safe_text("GET /v1?alt=sse&key=abc123&x=1 failed") == "GET /v1?alt=sse&key=***&x=1 failed"
    assert safe_text("Authorization: Bearer abc.def") == "Authorization: ***"
    plain = "The model `gpt-5` does not exist; risk-free key-value task-oriented."
    assert safe_text(plain) == plain


@given(st.text(max_size=2000), st.integers(0, 600))
def test_safe_text_is_never_longer_than_asked(text: str, limit: int) -> None:
    assert len(safe_text(text, limit)) <= limit


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e99"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert found is not None
    assert 95 < found <= 100


@given(st.text(max_size=30))
def test_retry_after_never_raises(text: str) -> None:
    found = retry_after({"retry-after": text, "retry-after-ms": text})
    assert found is None or 0 <= found < 1e9


def test_splitting_agrees_with_reading_everything_at_once() -> None:
    rng = random.Random(7)
    data = b"".join(f"data: {n}{end}{end}".encode() for n in range(200) for end in ("\n", "\r\n"))
    at_once = split([data])
    assert len(at_once[0]) == 400
    for _ in range(20):
        assert split(cut(data, [rng.randrange(len(data)) for _ in range(150)])) == at_once
