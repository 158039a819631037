"""Looking for words in large bodies: `skim` leaves out the inside of long strings, and nothing that counts."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import LONG_STRING, BadRequest, replace_string, skim

LONG = "iVBORw0KGgoA" * (LONG_STRING // 10)


def test_a_small_body_stays_as_it_is() -> None:
    body = b'{"model":"a","messages":[]}'
    assert skim(body) is body


def test_a_large_body_of_many_short_strings_stays_as_it_is() -> None:
    body = json.dumps({"words": ["word"] * LONG_STRING}).encode()
    assert skim(body) is body


def test_of_an_image_only_the_quotes_are_left() -> None:
    body = json.dumps({"model": "a", "image": LONG, "then": "b"}).encode()
    assert json.loads(skim(body)) == {"model": "a", "image": "", "then": "b"}


PIECES = st.lists(st.sampled_from(['"model"', "model", '"', "x", LONG, " ", '\\"']), max_size=12)


@given(PIECES)
def test_words_between_quotes_are_as_many_as_before(pieces: list[str]) -> None:
    body = "".join([*pieces, LONG]).encode()
    assert skim(body).count(b'"model"') == body.count(b'"model"')
    assert skim(body).count(b'"') == body.count(b'"')


@given(st.sampled_from([0, 1, 2]), st.booleans(), st.sampled_from(["a", "é", "\\", '"']))
def test_the_model_of_a_large_body_is_replaced_wherever_it_stands(place: int, nested: bool, odd: str) -> None:
    image = {"model": "inner", "data": LONG} if nested else LONG
    fields = [("image", image), ("text", odd * 9)]
    fields.insert(place, ("model", "outer"))
    body = json.dumps(dict(fields), ensure_ascii=False).encode()
    assert json.loads(replace_string(body, "model", "new")) == {**dict(fields), "model": "new"}


def test_a_model_that_stands_twice_around_an_image_is_refused() -> None:
    body = b'{"model":"a","image":"' + LONG.encode() + b'","model":"b"}'
    try:
        replace_string(body, "model", "c")
    except BadRequest as refused:
        assert refused.param == "model"
    else:
        raise AssertionError("taken")
