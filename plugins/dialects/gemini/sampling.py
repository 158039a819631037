"""`generationConfig`: read into the neutral settings, and written from them."""

from __future__ import annotations

from typing import Any, get_args

from llmhub_plugins.dialects.gemini.models import (
    takes_candidates,
    takes_format_with_tools,
    takes_json_schema,
    takes_penalties,
    thinking_config,
)
from llmhub_plugins.dialects.gemini.schema import Reduction, is_more_than_json_schema, json_schema
from llmhub_plugins.dialects.gemini.tools import read_tool_choice
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    RESPONSE_ORDER,
    as_object,
    as_object_untouched,
    beneath,
    wrong_type,
)

from llmhub_core.contracts import AnswerFormat, BadRequest, ChatRequest, Effort, Sampling

_MAX_STOPS = 5
_MAX_TEMPERATURE = 2.0
_INT32 = 2**31

_EFFORTS = frozenset(get_args(Effort))

# Reading.


def read_sampling(config: dict[str, Any], tool_config: dict[str, Any]) -> tuple[Sampling, dict[str, Any]]:
    """The neutral settings, and what only this dialect knows of both objects, as extras of the request."""
    budget, effort, thinking = _read_thinking(config.pop("thinkingConfig", None))
    choice, tools_rest = read_tool_choice(tool_config)
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


# Writing.


def write_config(request: ChatRequest, ordered: object, model: str, adapted: list[str]) -> dict[str, Any]:
    """`generationConfig` for `model`. What came in this dialect is not changed. `ordered` is the `responseSchema` as
    it was read, if it orders properties."""
    sampling, native = request.sampling, request.dialect == NAME
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
        _check(request, model)
        _clamp(config, adapted)
        _write_foreign(config, sampling, model, adapted)
    _write_format(config, sampling.answer_format, ordered, model, native, adapted)
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


def _check(request: ChatRequest, model: str) -> None:
    """Refuse here, while another provider may still be asked, what the provider would refuse for good."""
    sampling = request.sampling
    if sampling.n > 1 and not takes_candidates(model):
        raise BadRequest(
            "`n` must be 1 for this model, which writes one answer at a time; ask as often as answers are wanted.",
            code="unsupported_content",
            param="n",
        )
    wanted = sampling.answer_format
    if wanted is not None and wanted.kind != "text" and request.tools and not takes_format_with_tools(model):
        raise BadRequest(
            "`response_format` cannot stand beside tools with Gemini models before 3; leave out one of the two, or "
            "ask a newer model.",
            code="unsupported_content",
            param="response_format",
        )


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
    if not takes_penalties(model):
        for name, attribute in (("presencePenalty", "presence_penalty"), ("frequencyPenalty", "frequency_penalty")):
            if config.pop(name, 0):
                adapted.append(f"{attribute}=dropped")
    thinking = thinking_config(sampling, model, adapted)
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


def _write_format(
    config: dict[str, Any], wanted: AnswerFormat | None, ordered: object, model: str, native: bool, adapted: list[str]
) -> None:
    if wanted is None:
        return
    if wanted.kind == "text":
        if native:
            config["responseMimeType"] = "text/plain"
        return
    config["responseMimeType"] = "application/json"
    schema = wanted.schema
    if isinstance(ordered, dict) and json_schema(ordered) == schema:
        config["responseSchema"] = ordered
    elif schema is not None:
        if wanted.description is not None:
            schema = {"description": wanted.description, **schema}
        if takes_json_schema(model):
            config["responseJsonSchema"] = schema
        else:
            reduction = Reduction(schema)
            config["responseSchema"] = reduction.schema
            adapted += ["response_format=reduced"] if reduction.lossy else []
