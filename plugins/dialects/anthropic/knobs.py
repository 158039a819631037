"""Tools and sampling settings of a ChatRequest, written as this format's top-level fields."""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.anthropic.thinking import foreign_thinking, generation, native_thinking
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import BadRequest, ChatRequest, OpaqueTool, Sampling, Tool

Json = dict[str, Any]


def write_tools(request: ChatRequest, adapted: list[str]) -> list[Json]:
    """The `tools` list; what other dialects noted beside a tool is dropped and listed."""
    return [_tool(tool, request.dialect == NAME, f"tools[{at}]", adapted) for at, tool in enumerate(request.tools)]


def _tool(tool: Tool | OpaqueTool, native: bool, param: str, adapted: list[str]) -> Json:
    if isinstance(tool, OpaqueTool):
        if tool.origin != NAME:
            raise BadRequest(
                f"{param} ({tool.kind}) is a tool that only the {tool.origin} API has; Anthropic models cannot be "
                "given it. Remove it, or ask a model that has it.",
                code="unsupported_content",
                param=param,
            )
        return dict(tool.body)
    written: Json = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    written["input_schema"] = {"type": "object", **(tool.parameters or {"properties": {}})}
    if tool.strict or (native and tool.strict is not None):  # a default need not be said; older places know none
        written["strict"] = tool.strict
    return with_extras(written, tool.extras, param, adapted)


def with_extras(written: Json, extras: Any, param: str, adapted: list[str]) -> Json:
    """`written` with this dialect's extras; other dialects' are listed as dropped."""
    for dialect, own in extras.items():
        if dialect == NAME:
            written.update(own)
        else:
            adapted += [f"{param}.{name}=dropped" for name in (own if isinstance(own, dict) else (dialect,))]
    return written


def write_tool_choice(sampling: Sampling) -> Json:
    """The `tool_choice` object, empty where the caller said nothing."""
    choice = sampling.tool_choice
    modes = {"auto": "auto", "required": "any", "named": "tool", "none": "none"}
    written: Json = {"type": modes[choice.mode]} if choice else {}
    if choice and choice.mode == "named":
        written["name"] = choice.name
    if sampling.parallel_tools is not None and written.get("type") != "none":
        written = {"type": "auto", **written, "disable_parallel_tool_use": not sampling.parallel_tools}
    return written


def write_native_knobs(request: ChatRequest, adapted: list[str]) -> Json:
    """Settings of a caller of this format, as they were said; leftovers of objects join what was read from them."""
    sampling = request.sampling
    written: Json = {"max_tokens": sampling.max_output}
    written |= {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k")}
    written |= {"stop_sequences": list(sampling.stop) or None, "tool_choice": write_tool_choice(sampling) or None}
    written |= native_thinking(request).fields
    _write_format_and_user(sampling, written, adapted)
    written = {name: value for name, value in written.items() if value is not None}
    for name, value in request.extras.items():
        both = isinstance(value, dict) and isinstance(written.get(name), dict)
        written[name] = {**written[name], **value} if both else value
    return written


_UNKNOWN = {"seed": None, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "top_logprobs": 0}
"""Settings that this format lacks, with the value whose loss changes nothing."""


def write_foreign_knobs(request: ChatRequest, model: str, default_max: int, adapted: list[str]) -> Json:
    """Settings of a caller of another format, as far as this one has them; the rest is listed in `adapted`."""
    sampling = request.sampling
    if sampling.n > 1:
        raise BadRequest(
            f"n={sampling.n} asks for several answers; Anthropic models give one. Ask n times, or leave n out.",
            code="unsupported_content",
            param="n",
        )
    thinking = foreign_thinking(request, model)
    most = sampling.max_output or default_max
    written: Json = {"max_tokens": most if most > thinking.budget else thinking.budget + most}
    written |= thinking.fields
    written |= _numbers(sampling, model, thinking.on, adapted)
    if stop := [text for text in sampling.stop if text.strip()]:
        written["stop_sequences"] = stop
    if len(stop) < len(sampling.stop):  # texts of white space only are refused
        adapted.append("stop=dropped")
    if request.tools and (choice := write_tool_choice(sampling)):
        written["tool_choice"] = choice
    _write_format_and_user(sampling, written, adapted)
    adapted += thinking.adapted
    for name, harmless in _UNKNOWN.items():
        if getattr(sampling, name) not in (None, harmless):
            adapted.append(f"{name}=dropped")
    adapted += [f"{name}=dropped" for name in request.extras]
    return written


def _numbers(sampling: Sampling, model: str, thinking: bool, adapted: list[str]) -> Json:
    """temperature, top_p and top_k, where the model takes them; defaults that it would refuse are no loss."""
    refuses = thinking or generation(model) >= (4, 7)
    written: Json = {}
    temperature, top_p = sampling.temperature, sampling.top_p
    if temperature is not None:
        if not refuses:
            written["temperature"] = min(temperature, 1.0)
        if refuses and temperature != 1:
            adapted.append("temperature=dropped")
        elif temperature > 1:
            adapted.append("temperature=clamped")
    if top_p is not None and top_p != 1:
        # From 4.1 on, models take one of temperature and top_p, not both.
        if refuses or (temperature is not None and generation(model) >= (4, 1)):
            adapted.append("top_p=dropped")
        else:
            written["top_p"] = top_p
    if sampling.top_k is not None:
        if refuses:
            adapted.append("top_k=dropped")
        else:
            written["top_k"] = sampling.top_k
    return written


def _write_format_and_user(sampling: Sampling, written: Json, adapted: list[str]) -> None:
    wanted = sampling.answer_format
    if wanted is not None and wanted.kind == "json_schema" and wanted.schema is not None:
        shape = {"type": "json_schema", "schema": dict(wanted.schema)}
        written["output_config"] = {**written.get("output_config", {}), "format": shape}
    elif wanted is not None and wanted.kind != "text":
        adapted.append("answer_format=dropped")
    if sampling.user is not None:
        written["metadata"] = {"user_id": sampling.user}
