"""`generationConfig` and `toolConfig`: read into the neutral settings, and written from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from llmhub_plugins.dialects.gemini.schema import is_more_than_json_schema, json_schema
from llmhub_plugins.dialects.gemini.words import (
    RESPONSE_ORDER,
    as_object,
    as_object_untouched,
    as_text,
    beneath,
    model_version,
    wrong_type,
)

from llmhub_core.contracts import AnswerFormat, BadRequest, Effort, Sampling, ToolChoice

_MAX_STOPS = 5
_MAX_TEMPERATURE = 2.0
_INT32 = 2**31

_EFFORTS = frozenset(get_args(Effort))

_BUDGETS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
}
"""Thinking tokens for models that take no level: the values of Google's own OpenAI compatibility layer."""

_LEVELS: Mapping[Effort, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
}


# Reading.


def read_sampling(config: dict[str, Any], tool_config: dict[str, Any]) -> tuple[Sampling, dict[str, Any]]:
    """The neutral settings, and what only this dialect knows of both objects, as extras of the request."""
    budget, effort, thinking = _read_thinking(config.pop("thinkingConfig", None))
    choice, tools_rest = _read_tool_choice(tool_config)
    sampling = Sampling(
        max_output=_integer(config, "maxOutputTokens"),
        temperature=_number(config, "temperature"),
        top_p=_number(config, "topP"),
        top_k=_integer(config, "topK"),
        stop=_texts(config, "stopSequences"),
        seed=_integer(config, "seed"),
        presence_penalty=_number(config, "presencePenalty"),
        frequency_penalty=_number(config, "frequencyPenalty"),
        n=_integer(config, "candidateCount") or 1,
        logprobs=_truth(config, "responseLogprobs"),
        top_logprobs=_integer(config, "logprobs"),
        effort=effort,
        reasoning_tokens=budget,
        answer_format=_read_format(config),
        tool_choice=choice,
    )
    config |= beneath("thinkingConfig", thinking)
    return sampling, {**beneath("generationConfig", config), **beneath("toolConfig", tools_rest)}


def _number(config: dict[str, Any], name: str) -> float | None:
    value = config.pop(name, None)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise _wrong(name, "a number") from None


def _integer(config: dict[str, Any], name: str) -> int | None:
    value = config.pop(name, None)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(name, "an integer") from None


def _truth(config: dict[str, Any], name: str) -> bool | None:
    value = config.pop(name, None)
    if not isinstance(value, bool | None):
        raise _wrong(name, "true or false")
    return value


def _texts(config: dict[str, Any], name: str) -> tuple[str, ...]:
    value = config.pop(name, None)
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(name, "an array of strings")
    return tuple(texts)


def _wrong(name: str, kind: str) -> BadRequest:
    return wrong_type(f"generationConfig.{name}", kind)


def _read_thinking(value: object) -> tuple[int | None, Effort | None, dict[str, Any]]:
    if value is None:
        return None, None, {}
    thinking = as_object(value, "generationConfig.thinkingConfig")
    budget = _integer(thinking, "thinkingBudget")
    level = thinking.get("thinkingLevel")
    for effort in _EFFORTS:
        if isinstance(level, str) and level.lower() == effort:
            del thinking["thinkingLevel"]
            return budget, effort, thinking
    return budget, None, thinking


def _read_format(config: dict[str, Any]) -> AnswerFormat | None:
    """What shape the answer shall have, taken out of `config`."""
    media_type = config.get("responseMimeType")
    if media_type == "text/plain":
        del config["responseMimeType"]
        return AnswerFormat("text")
    if media_type != "application/json":
        return None
    del config["responseMimeType"]
    if "responseJsonSchema" in config:
        schema = as_object_untouched(config.pop("responseJsonSchema"), "generationConfig.responseJsonSchema")
        return AnswerFormat("json_schema", schema)
    if "responseSchema" not in config:
        return AnswerFormat("json_object")
    schema = as_object_untouched(config.pop("responseSchema"), "generationConfig.responseSchema")
    if is_more_than_json_schema(schema):
        config[RESPONSE_ORDER.removeprefix("generationConfig.")] = schema
    return AnswerFormat("json_schema", json_schema(schema))


def _read_tool_choice(tool_config: dict[str, Any]) -> tuple[ToolChoice | None, dict[str, Any]]:
    value = tool_config.pop("functionCallingConfig", None)
    if value is None:
        return None, tool_config
    calling = as_object(value, "toolConfig.functionCallingConfig")
    mode = as_text(calling.pop("mode", "AUTO"), "toolConfig.functionCallingConfig.mode").upper()
    names = calling.get("allowedFunctionNames")
    choice = ToolChoice("auto")
    if mode == "NONE":
        choice = ToolChoice("none")
    elif mode == "ANY" and isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
        choice = ToolChoice("named", names[0])
        del calling["allowedFunctionNames"]
    elif mode == "ANY":
        choice = ToolChoice("required")
    elif mode != "AUTO":
        calling["mode"] = mode
    return choice, {**tool_config, **beneath("functionCallingConfig", calling)}


# Writing.


def write_config(sampling: Sampling, ordered: object, model: str, native: bool, adapted: list[str]) -> dict[str, Any]:
    """`generationConfig` for `model`. `native` means that the request came in this dialect: then nothing is
    changed. `ordered` is the `responseSchema` as it was read, if it orders properties."""
    wanted = {
        "maxOutputTokens": sampling.max_output,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "stopSequences": list(sampling.stop) or None,
        "seed": sampling.seed,
        "presencePenalty": sampling.presence_penalty,
        "frequencyPenalty": sampling.frequency_penalty,
        "candidateCount": sampling.n if sampling.n != 1 else None,
    }
    config: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if native:
        _write_native(config, sampling)
    else:
        _clamp(config, adapted)
        _write_foreign(config, sampling, model, adapted)
    _write_format(config, sampling.answer_format, ordered, native)
    return config


def _write_native(config: dict[str, Any], sampling: Sampling) -> None:
    if sampling.logprobs is not None:
        config["responseLogprobs"] = sampling.logprobs
    if sampling.top_logprobs is not None:
        config["logprobs"] = sampling.top_logprobs
    thinking: dict[str, Any] = {}
    if sampling.reasoning_tokens is not None:
        thinking["thinkingBudget"] = sampling.reasoning_tokens
    if sampling.effort is not None:
        thinking["thinkingLevel"] = sampling.effort.upper()
    if thinking:
        config["thinkingConfig"] = thinking


def _write_foreign(config: dict[str, Any], sampling: Sampling, model: str, adapted: list[str]) -> None:
    """What the format lacks is listed: the neutral events have no place for log probabilities either."""
    for name, value in (
        ("logprobs", sampling.logprobs),
        ("top_logprobs", sampling.top_logprobs),
        ("user", sampling.user),
    ):
        if value:
            adapted.append(f"{name}=dropped")
    if sampling.parallel_tools is False:
        adapted.append("parallel_tools=dropped")
    thinking = _thinking(sampling, model, adapted)
    if thinking:
        config["thinkingConfig"] = thinking


def _clamp(config: dict[str, Any], adapted: list[str]) -> None:
    if config.get("temperature", 0.0) > _MAX_TEMPERATURE:
        config["temperature"] = _MAX_TEMPERATURE
        adapted.append("temperature=clamped")
    if len(config.get("stopSequences", ())) > _MAX_STOPS:
        config["stopSequences"] = config["stopSequences"][:_MAX_STOPS]
        adapted.append("stop=clamped")
    if not -_INT32 <= config.get("seed", 0) < _INT32:
        config["seed"] %= _INT32
        adapted.append("seed=clamped")


def _thinking(sampling: Sampling, model: str, adapted: list[str]) -> dict[str, Any]:
    """Budget or level, never both, by what the generation of `model` takes: levels from 3 on, budgets in 2.5,
    nothing before."""
    budget, effort = sampling.reasoning_tokens, sampling.effort
    if budget is None and effort is None:
        return {}
    version = model_version(model)
    if (version is not None and version < (2, 5)) or "gemma" in model:
        adapted.append("effort=dropped" if budget is None else "reasoning_tokens=dropped")
        return {}
    if budget is None and effort is not None and version is not None and version < (3, 0):
        budget = _BUDGETS[effort]
        adapted.append("effort=renamed")
    if budget is not None:
        return {"thinkingBudget": budget, **({"includeThoughts": True} if budget else {})}
    return {"thinkingLevel": _level(effort or "medium", model, adapted), "includeThoughts": effort != "none"}


def _level(effort: Effort, model: str, adapted: list[str]) -> str:
    level = _LEVELS[effort]
    if "pro" in model:
        # Pro models always think at least a little; the first of them know only two levels.
        level = {"MINIMAL": "LOW", "MEDIUM": "HIGH" if "gemini-3-pro" in model else "MEDIUM"}.get(level, level)
    if level != effort.upper():
        adapted.append("effort=clamped")
    return level


def _write_format(config: dict[str, Any], wanted: AnswerFormat | None, ordered: object, native: bool) -> None:
    if wanted is None:
        return
    if wanted.kind == "text":
        if native:
            config["responseMimeType"] = "text/plain"
        return
    config["responseMimeType"] = "application/json"
    if isinstance(ordered, dict) and json_schema(ordered) == wanted.schema:
        config["responseSchema"] = ordered
    elif wanted.schema is not None:
        config["responseJsonSchema"] = wanted.schema


def write_tool_config(choice: ToolChoice | None, native: bool, callable_tools: bool) -> dict[str, Any]:
    """`toolConfig`. A choice without functions to choose from is an error to the API, and means nothing."""
    config: dict[str, Any] = {}
    if choice is not None and (native or callable_tools):
        mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}[choice.mode]
        config["functionCallingConfig"] = {"mode": mode}
        if choice.mode == "named":
            config["functionCallingConfig"]["allowedFunctionNames"] = [choice.name]
    return config
