"""What becomes of each parameter is true, and the page says so."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from parameter_page import TARGETS, Target, decoded, fault, page
from parameters import SECTIONS, Parameter

from llmhub_core.contracts import Sampling

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"
ROWS = [parameter for rows in SECTIONS.values() for parameter in rows]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.dialect}-{target.model}")
@pytest.mark.parametrize("parameter", ROWS, ids=lambda parameter: parameter.title.replace(" ", "-"))
def test_what_is_said_is_in_the_body_and_what_is_not_is_told(parameter: Parameter, target: Target) -> None:
    assert [found for source in parameter.said if (found := fault(parameter, source, target))] == []


def test_every_setting_has_a_row() -> None:
    """Read from requests: a new field of Sampling needs a row that sets it."""
    plain = Sampling()
    settings = [decoded(parameter, source).sampling for parameter in ROWS for source in parameter.said]
    unset = [
        field.name
        for field in fields(Sampling)
        if all(getattr(each, field.name) == getattr(plain, field.name) for each in settings)
    ]
    assert unset == []


def test_the_page_says_what_goes_out() -> None:
    assert PAGE.read_text("utf-8") == page(), "docs/parameters.md is stale; run: python -m tests.compatibility"
