"""The access log: one event, one line, nothing secret in it."""

from __future__ import annotations

import json
import logging
import re
import shlex
from typing import Any, Literal

import pytest
from llmhub_plugins.observers.access_log import LONGEST, AccessLog, AccessLogSettings

from llmhub_core.testing.observer import ObserverSuite
from llmhub_core.testing.records import HOSTILE, a_record, hostile_record, records


class TestText(ObserverSuite):
    @classmethod
    def make(cls) -> AccessLog:
        return AccessLog(AccessLogSettings(format="text"))


class TestJson(ObserverSuite):
    @classmethod
    def make(cls) -> AccessLog:
        return AccessLog(AccessLogSettings(format="json"))


def lines(caplog: pytest.LogCaptureFixture, format: Literal["text", "json"], *finished: Any) -> list[str]:
    log = AccessLog(AccessLogSettings(format=format))
    with caplog.at_level(logging.INFO, "llmhub.access"):
        for record in finished:
            log.finished(record)
    assert {record.name for record in caplog.records} == {"llmhub.access"}
    return [record.getMessage() for record in caplog.records]


def test_a_line_tells_who_asked_what_and_how_it_went(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = lines(caplog, "text", a_record())
    assert line == (
        "at=2025-11-24T12:00:00.000+00:00 id=r-1 client_id=- caller=anyone dialect=openai_chat model=fast route=fast "
        "served_by=b/m2#k stream=true outcome=served status=200 code=- source=- attempts=2 first_byte_ms=90 "
        "total_ms=401.5 input_tokens=100 output_tokens=20 cached_tokens=60 estimated=false cost_usd=0.001234567 "
        "tag.team=red"
    )


def test_json_tells_the_same(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = lines(caplog, "json", a_record())
    assert json.loads(line) == {
        "at": "2025-11-24T12:00:00.000+00:00",
        "id": "r-1",
        "client_id": None,
        "caller": "anyone",
        "dialect": "openai_chat",
        "model": "fast",
        "route": "fast",
        "served_by": "b/m2#k",
        "stream": True,
        "outcome": "served",
        "status": 200,
        "code": None,
        "source": None,
        "attempts": 2,
        "first_byte_ms": 90.0,
        "total_ms": 401.5,
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_tokens": 60,
        "estimated": False,
        "cost_usd": 0.001234567,
        "tags": {"team": "red"},
    }


def test_what_never_happened_is_not_nought(caplog: pytest.LogCaptureFixture) -> None:
    refused = records()[1]
    (line,) = lines(caplog, "text", refused)
    for pair in ("served_by=-", "first_byte_ms=-", "cost_usd=-", "attempts=0", "code=rate_limit_exceeded"):
        assert f" {pair} " in f"{line} "
    assert json.loads(lines(caplog, "json", refused)[-1])["cost_usd"] is None


@pytest.mark.parametrize("format", ["text", "json"])
def test_one_event_is_one_line_of_plain_characters(
    caplog: pytest.LogCaptureFixture, format: Literal["text", "json"]
) -> None:
    (line,) = lines(caplog, format, hostile_record("r-6"))
    assert re.fullmatch(r"[\x20-\x7e]+", line)
    assert len(line.splitlines()) == 1


def test_no_value_can_pass_for_another_pair(caplog: pytest.LogCaptureFixture) -> None:
    forged = a_record(model='m" status=200 outcome=served', caller="a b", tags={"x status": "1 outcome=served"})
    (line,) = lines(caplog, "text", forged)
    pairs = shlex.split(line)
    assert sum(pair.startswith(("status=", "outcome=")) for pair in pairs) == 2
    assert 'model=m" status=200 outcome=served' in pairs
    assert "tag.x status=1 outcome=served" in pairs


def test_a_dash_that_was_sent_differs_from_nothing(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = lines(caplog, "text", a_record(model="-"))
    assert ' model="-" ' in line


def test_hostile_texts_are_whole_in_json(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = lines(caplog, "json", hostile_record("r-6"))
    assert json.loads(line)["model"] == HOSTILE


@pytest.mark.parametrize("format", ["text", "json"])
def test_long_texts_are_cut(caplog: pytest.LogCaptureFixture, format: Literal["text", "json"]) -> None:
    (line,) = lines(caplog, format, a_record(model="m" * 10**6, tags={"t" * 10**6: "v" * 10**6}))
    assert "m" * LONGEST in line
    assert len(line) < 2000


def test_texts_of_providers_stay_out(caplog: pytest.LogCaptureFixture) -> None:
    record = a_record()
    record.attempts[0].detail = "incorrect key sk-proj-abc"
    assert all("sk-proj" not in line for line in lines(caplog, "json", record))


def test_nothing_is_made_when_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "llmhub.access"):
        AccessLog(AccessLogSettings()).finished(a_record())
    assert not caplog.records
