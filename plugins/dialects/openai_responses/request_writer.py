"""A ChatRequest as a body for a provider that speaks the Responses API; its settings, as answers repeat them too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmhub_plugins.dialects.openai.carried import CHAT, VERBOSITY, carried
from llmhub_plugins.dialects.openai.models import calls_one_tool_at_a_time, is_reasoning_model
from llmhub_plugins.dialects.openai.schema import foreign_format, foreign_tool
from llmhub_plugins.dialects.openai_responses.input_writer import InputWriter, drop_foreign
from llmhub_plugins.dialects.openai_responses.thinking import Summary, foreign_reasoning
from llmhub_plugins.dialects.openai_responses.words import (
    COUNT,
    ENCRYPTED,
    LOGPROBS,
    NAME,
    Json,
    listed,
)

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    EncodedRequest,
    OpaqueTool,
    Sampling,
    Tool,
    ToolChoice,
    dump_json,
)

_LEAST_OUTPUT = 16  # tokens; OpenAI refuses a lower limit
_LACKING = ("top_k", "seed", "presence_penalty", "frequency_penalty", "stop")
_REFUSED_BY_REASONING = frozenset({"temperature", "top_p", "logprobs", "top_logprobs"})


def encode_request(request: ChatRequest, model: str, summary: Summary = "auto") -> EncodedRequest:
    """The body for `model` and what of the request it does not say. `summary` is how thoughts are summed up where the
    caller's format shows them."""
    adapted: list[str] = []
    body = _body(request, model, adapted)
    _write_sampling(body, request, model, adapted)
    if is_own(request):
        _write_own(body, request)
    else:
        _speak_of_json(body, adapted)
        _write_foreign(body, request, model, summary, adapted)
    return EncodedRequest(dump_json(body), tuple(dict.fromkeys(adapted)))


def encode_count(request: ChatRequest, model: str) -> EncodedRequest:
    """The same for counting: how to answer costs no tokens, and the counting endpoint takes none of it."""
    adapted: list[str] = []
    body = _body(request, model, adapted)
    reasoning = reasoning_json(request) if is_own(request) else foreign_reasoning(request, model, "none", [])[0]
    if reasoning:
        body["reasoning"] = reasoning
    if request.dialect == COUNT:
        body.update(request.extras)
    return EncodedRequest(dump_json(body), tuple(dict.fromkeys(adapted)))


def is_own(request: ChatRequest) -> bool:
    """Whether the request came in this format."""
    return request.dialect in (NAME, COUNT)


def quiet_of(request: ChatRequest) -> Mapping[str, Any]:
    """What the caller said in this format that no other has to know."""
    said: Mapping[str, Any] = getattr(request.extras, "quiet", {})
    return said


def _body(request: ChatRequest, model: str, adapted: list[str]) -> Json:
    if request.sampling.n != 1:
        raise BadRequest(
            "`n` must be 1: an OpenAI Responses provider gives one answer; ask as often as you want answers.",
            code="unsupported_content",
            param="n",
        )
    writer = InputWriter(request, adapted)
    items = writer.items()
    body: Json = {"model": model, "input": items} if items or not writer.own else {"model": model}
    if writer.instructions is not None:
        body["instructions"] = writer.instructions
    tools = tools_json(request, adapted)
    if tools:
        body["tools"] = tools
    choice = tool_choice_json(request)
    if choice is not None and (tools or writer.own):  # OpenAI refuses it where there are no tools
        body["tool_choice"] = choice
    parallel = request.sampling.parallel_tools
    if parallel is not None and (tools or writer.own):
        if calls_one_tool_at_a_time(model) and not writer.own:
            adapted.append("parallel_tools=dropped")  # such a model refuses the word
        else:
            body["parallel_tool_calls"] = parallel
    text = text_json(request, adapted)
    if text:
        body["text"] = text
    return body


def _write_sampling(body: Json, request: ChatRequest, model: str, adapted: list[str]) -> None:
    sampling, own = request.sampling, is_own(request)
    left_out = frozenset() if own or not is_reasoning_model(model) else _REFUSED_BY_REASONING
    for name in ("temperature", "top_p", "top_logprobs", "user"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if name in left_out:
            adapted.append(f"{name}=dropped")
        else:
            body[quiet_of(request).get(name, name) if name == "user" else name] = value
    limit = sampling.max_output
    if limit is not None:
        body["max_output_tokens"] = limit if own else max(limit, _LEAST_OUTPUT)
        if not own and limit < _LEAST_OUTPUT:
            adapted.append("max_output=clamped")
    adapted += [f"{name}=dropped" for name in _LACKING if getattr(sampling, name) not in (None, ())]
    if sampling.logprobs and "logprobs" in left_out:
        adapted.append("logprobs=dropped")
    if request.stream:
        body["stream"] = True


def _write_own(body: Json, request: ChatRequest) -> None:
    reasoning, said = reasoning_json(request), quiet_of(request)
    if reasoning:
        body["reasoning"] = reasoning
    body.update((name, value) for name, value in said.items() if name not in ("instructions", "user", "reasoning"))
    body.update((name, value) for name, value in request.extras.items() if "." not in name)


def _write_foreign(body: Json, request: ChatRequest, model: str, summary: Summary, adapted: list[str]) -> None:
    reasoning, done = foreign_reasoning(request, model, summary, adapted)
    if reasoning:
        body["reasoning"] = reasoning
    include = [ENCRYPTED] if is_reasoning_model(model) else []
    if request.sampling.logprobs and not is_reasoning_model(model):
        include.append(LOGPROBS)
    if include:
        body["include"] = include
    # The hub's other formats leave nothing behind at a provider, and thoughts come back encrypted for it.
    body["store"] = False
    said = carried(request, model)
    adapted += [f"{name}=dropped" for name in request.extras if name not in said and name not in done]
    if VERBOSITY[CHAT] in said:
        body["text"] = {**body.get("text", {}), "verbosity": said.pop(VERBOSITY[CHAT])}
    body.update(said)


def _speak_of_json(body: Json, adapted: list[str]) -> None:
    """OpenAI refuses `json_object` where no message of the input speaks of JSON; instructions are none."""
    if body.get("text", {}).get("format") == {"type": "json_object"} and not _speaks_of_json(body["input"]):
        body["input"].insert(0, {"role": "system", "content": "Answer in JSON."})
        adapted.append("answer_format=emulated")


def _speaks_of_json(items: list[Json]) -> bool:
    contents = [item.get("content", ()) for item in items]
    texts = [part.get("text", "") for parts in contents if not isinstance(parts, str) for part in parts]
    return any("json" in text.lower() for text in (*texts, *(text for text in contents if isinstance(text, str))))


# Settings that answers repeat.


def tools_json(request: ChatRequest, adapted: list[str]) -> list[Json]:
    """`tools`; BadRequest for one that only another format knows."""
    own = is_own(request)
    tools = [_any_tool(tool, own, f"tools[{index}]", adapted) for index, tool in enumerate(request.tools)]
    for index, tool in enumerate(request.tools):
        if isinstance(tool, Tool):
            drop_foreign(tool.extras, f"tools[{index}]", adapted)
    return tools


def _any_tool(tool: Tool | OpaqueTool, own: bool, path: str, adapted: list[str]) -> Json:
    if isinstance(tool, Tool):
        return _tool(tool if own else foreign_tool(tool, path, adapted), own)
    if tool.origin == NAME:
        return dict(tool.body)
    raise BadRequest(
        f"`{path}` is a {tool.kind} tool, which an OpenAI Responses provider does not have; leave it out.",
        code="unsupported_content",
        param=path,
    )


def _tool(tool: Tool, own: bool) -> Json:
    more = listed(tool.extras)
    if "custom" in more:
        return {**more["custom"], "type": "custom", "name": tool.name}
    written: Json = {"type": "function", "name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.parameters is not None or not own:
        written["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    if tool.strict is not None or not own:
        written["strict"] = bool(tool.strict)  # left out it means true here, and false everywhere else
    return {**written, **more}


def is_custom(tool: Any) -> bool:
    """Whether a tool takes free text."""
    return isinstance(tool, Tool) and "custom" in listed(tool.extras)


def tool_choice_json(request: ChatRequest) -> Any:
    """`tool_choice`; None if the caller said nothing."""
    if is_own(request) and "tool_choice" in request.extras:
        return request.extras["tool_choice"]
    choice: ToolChoice | None = request.sampling.tool_choice
    if choice is None or choice.mode != "named":
        return choice and choice.mode
    custom = any(is_custom(tool) and tool.name == choice.name for tool in request.tools if isinstance(tool, Tool))
    return {"type": "custom" if custom else "function", "name": choice.name or ""}


def text_json(request: ChatRequest, adapted: list[str]) -> Json:
    """`text`: the answer's format and whatever else was said of it."""
    written: Json = {}
    format = request.sampling.answer_format
    if format is not None and format.kind == "json_schema" and request.dialect not in VERBOSITY:
        format = foreign_format(format, adapted)
    if format is not None:
        written["format"] = _format(format)
    return {**written, **_members(request, "text.")}


def _format(format: AnswerFormat) -> Json:
    if format.kind != "json_schema":
        return {"type": format.kind}
    written: Json = {"type": "json_schema", "name": format.name or "answer", "schema": format.schema or {}}
    for name in ("description", "strict"):
        value = getattr(format, name)
        if value is not None:
            written[name] = value
    return written


def reasoning_json(request: ChatRequest) -> Json:
    """`reasoning`: effort, and how it is summed up."""
    sampling: Sampling = request.sampling
    written: Json = {} if sampling.effort is None else {"effort": sampling.effort}
    if is_own(request):
        written.update(quiet_of(request).get("reasoning", {}))
    return {**written, **_members(request, "reasoning.")}


def _members(request: ChatRequest, prefix: str) -> Json:
    """What the reader kept of an object whose other members have a place in the neutral request."""
    if not is_own(request):
        return {}
    return {name.removeprefix(prefix): value for name, value in request.extras.items() if name.startswith(prefix)}
