"""LangChain's ChatOpenAI, over Chat Completions and over Responses."""

from __future__ import annotations

from functools import cache, reduce
from operator import add
from typing import Any

import openai
from cases import TOOL_TEXT, Json, Weather, answer_cases, prompt, weather_at
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


@tool(description=TOOL_TEXT)
def get_weather(city: str, unit: str = "celsius") -> str:
    return weather_at(city)


def chat(case: Json) -> ChatOpenAI:
    return made_for(case["front"], case["model"], case["url"])


@cache
def made_for(front: str, name: str, url: str) -> ChatOpenAI:
    responses = front == "openai_responses"
    more: Json = {"store": False, "include": ["reasoning.encrypted_content"]} if responses else {}
    return ChatOpenAI(
        model=name,
        base_url=url + "/v1",
        api_key="test",
        max_retries=0,
        stream_usage=True,
        use_responses_api=responses,
        **more,
    )


def said(message: Any) -> Json:
    usage, told = message.usage_metadata or {}, message.response_metadata
    finish = told.get("finish_reason") or (told.get("incomplete_details") or {}).get("reason") or told.get("status")
    reasoning = [block for block in message.content_blocks if block["type"] == "reasoning"]
    return {
        "text": message.text,
        "thoughts": "".join(block.get("reasoning", "") for block in reasoning),
        "calls": [[call["name"], call["args"]] for call in message.tool_calls],
        "finish": finish,
        "tokens": [
            usage.get("input_tokens"),
            usage.get("input_token_details", {}).get("cache_read", 0),
            usage.get("output_tokens"),
            usage.get("output_token_details", {}).get("reasoning", 0),
        ],
    }


def whole(model: Any, messages: Any) -> Any:
    return model.invoke(messages)


def streamed(model: Any, messages: Any) -> Any:
    return reduce(add, model.stream(messages))


def loop(case: Json, ask: Any) -> Json:
    model, ran = chat(case).bind_tools([get_weather]), []
    messages: list[Any] = [HumanMessage(prompt(case))]
    while True:
        answer: AIMessage = ask(model, messages)
        if not answer.tool_calls:
            return {"text": answer.text, "ran": ran}
        messages.append(answer)
        for call in answer.tool_calls:
            ran.append([call["name"], call["args"]])
            messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))


def structured(case: Json, method: str, **more: Any) -> Any:
    return chat(case).with_structured_output(Weather, method=method, **more)


def embed(case: Json) -> Json:
    # Without the check the texts themselves are sent; else token numbers, for which LangChain loads a vocabulary.
    made = OpenAIEmbeddings(
        model=case["model"],
        base_url=case["url"] + "/v1",
        api_key="test",
        max_retries=0,
        check_embedding_ctx_length=False,
    )
    return {"vectors": made.embed_documents(case["texts"])}


answer_cases(
    {
        "whole": lambda case: said(whole(chat(case).bind_tools([get_weather]), prompt(case))),
        "stream": lambda case: said(streamed(chat(case).bind_tools([get_weather]), prompt(case))),
        "loop": lambda case: loop(case, whole),
        "loop_stream": lambda case: loop(case, streamed),
        "object": lambda case: structured(case, "json_schema").invoke(prompt(case)).model_dump(),
        "object_stream": lambda case: list(structured(case, "json_schema").stream(prompt(case)))[-1].model_dump(),
        "strict_tool": lambda case: structured(case, "function_calling", strict=True).invoke(prompt(case)).model_dump(),
        "embed": embed,
    },
    own=(openai.OpenAIError,),
)
