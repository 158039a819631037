"""Instructor over OpenAI's and Anthropic's SDKs: it asks for objects only."""

from __future__ import annotations

from functools import cache
from typing import Any

import anthropic
import instructor
import openai
from cases import Json, Weather, answer_cases, prompt
from instructor import Mode
from instructor.core import InstructorError


@cache
def client(front: str, url: str, mode: Mode) -> Any:
    if front == "anthropic":
        return instructor.from_anthropic(anthropic.Anthropic(base_url=url, api_key="test", max_retries=0), mode=mode)
    made = openai.OpenAI(base_url=url + "/v1", api_key="test", max_retries=0)
    if front == "openai_responses":
        mode = Mode.RESPONSES_TOOLS
    return instructor.from_openai(made, mode=mode)


def request(case: Json) -> Json:
    body: Json = {
        "model": case["model"],
        "messages": [{"role": "user", "content": prompt(case)}],
        "response_model": Weather,
        "max_retries": 1,
    }
    return {**body, "max_tokens": 2000} if case["front"] == "anthropic" else body


def ask(case: Json, mode: Mode) -> Json:
    result: Json = client(case["front"], case["url"], mode).create(**request(case)).model_dump()
    return result


def stream(case: Json, mode: Mode) -> Json:
    last = None
    for part in client(case["front"], case["url"], mode).create_partial(**request(case)):
        last = part
    assert last is not None
    return Weather.model_validate(last.model_dump()).model_dump()


answer_cases(
    {
        "object": lambda case: ask(case, Mode.JSON_SCHEMA if "openai" in case["front"] else Mode.JSON),
        "strict_tool": lambda case: ask(case, Mode.TOOLS),
        "strict_tool_stream": lambda case: stream(case, Mode.TOOLS),
    },
    own=(InstructorError, openai.OpenAIError, anthropic.AnthropicError),
)
