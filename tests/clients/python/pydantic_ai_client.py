"""Pydantic AI: its models for OpenAI, Anthropic and Google, alone and as agents with a tool."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
from cases import TOOL_TEXT, Json, Weather, answer_cases, prompt, weather_at
from google import genai
from google.genai import errors as google_errors
from pydantic_ai import Agent, ModelRequest, NativeOutput, ToolDefinition, ToolOutput
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.exceptions import AgentRunError
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
    "required": ["city"],
}
WITH_TOOL = ModelRequestParameters(
    function_tools=[ToolDefinition(name="get_weather", description=TOOL_TEXT, parameters_json_schema=SCHEMA)],
    allow_text_output=True,
)


def model_of(case: Json) -> Model:
    front, name = case["front"], case["model"]
    provider: Any = provider_of(front, case["url"])
    if front == "anthropic":
        return AnthropicModel(name, provider=provider)
    if front == "gemini":
        return GoogleModel(name, provider=provider)
    if front == "openai_chat":
        return OpenAIChatModel(name, provider=provider)
    return OpenAIResponsesModel(name, provider=provider, settings=OpenAIResponsesModelSettings(openai_store=False))


@functools.cache
def provider_of(front: str, url: str) -> Any:
    """Made once, for each SDK reads all certificates when it starts."""
    if front == "anthropic":
        client = anthropic.AsyncAnthropic(base_url=url, api_key="test", max_retries=0)
        return AnthropicProvider(anthropic_client=client)
    if front == "gemini":
        options = genai.types.HttpOptions(base_url=url)
        return GoogleProvider(client=genai.Client(api_key="test", http_options=options))
    return OpenAIProvider(openai_client=openai.AsyncOpenAI(base_url=url + "/v1", api_key="test", max_retries=0))


def said(response: ModelResponse) -> Json:
    usage = response.usage
    return {
        "text": response.text or "",
        "thoughts": response.thinking or "",
        "calls": [[call.tool_name, call.args_as_dict()] for call in response.tool_calls],
        "finish": response.finish_reason,
        "tokens": [
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.output_tokens,
            usage.output_reasoning_tokens,
        ],
    }


async def whole(case: Json) -> Json:
    messages = [ModelRequest.user_text_prompt(prompt(case))]
    return said(await model_request(model_of(case), messages, model_request_parameters=WITH_TOOL))


async def stream(case: Json) -> Json:
    messages = [ModelRequest.user_text_prompt(prompt(case))]
    async with model_request_stream(model_of(case), messages, model_request_parameters=WITH_TOOL) as events:
        async for _ in events:
            pass
        return said(events.get())


def agent(case: Json, ran: list[Any], **how: Any) -> Agent[None, Any]:
    made = Agent(model_of(case), retries=0, **how)

    @made.tool_plain(description=TOOL_TEXT, sequential=True)
    def get_weather(city: str, unit: str | None = None) -> str:
        ran.append(["get_weather", {"city": city} if unit is None else {"city": city, "unit": unit}])
        return weather_at(city)

    return made


async def loop(case: Json) -> Json:
    ran: list[Any] = []
    result = await agent(case, ran).run(prompt(case))
    return {"text": result.output, "ran": ran}


async def loop_stream(case: Json) -> Json:
    """Node by node, for `run_stream` takes the first text for the end."""
    ran: list[Any] = []
    made = agent(case, ran)
    async with made.iter(prompt(case)) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as events:
                    async for _ in events:
                        pass
    assert run.result is not None
    return {"text": run.result.output, "ran": ran}


async def structured(case: Json, output: Any) -> Json:
    result = await Agent(model_of(case), output_type=output, retries=0).run(prompt(case))
    return result.output.model_dump()


async def structured_stream(case: Json, output: Any) -> Json:
    async with Agent(model_of(case), output_type=output, retries=0).run_stream(prompt(case)) as result:
        return (await result.get_output()).model_dump()


runner = asyncio.Runner()


def sync(verb: Callable[[Json], Awaitable[Json]]) -> Callable[[Json], Json]:
    """All in the same event loop, for clients keep their connections in it."""
    return lambda case: runner.run(verb(case))


answer_cases(
    {
        "whole": sync(whole),
        "stream": sync(stream),
        "loop": sync(loop),
        "loop_stream": sync(loop_stream),
        "object": sync(functools.partial(structured, output=NativeOutput(Weather))),
        "object_stream": sync(functools.partial(structured_stream, output=NativeOutput(Weather))),
        "strict_tool": sync(functools.partial(structured, output=ToolOutput(Weather, strict=True))),
        "strict_tool_stream": sync(functools.partial(structured_stream, output=ToolOutput(Weather, strict=True))),
    },
    own=(AgentRunError, openai.OpenAIError, anthropic.AnthropicError, google_errors.APIError),
)
