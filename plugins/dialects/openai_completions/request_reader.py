"""A caller's body as a ChatRequest: one prompt is one turn of a user's.

What no chat can be asked (several prompts, tokens in place of text, a text to arrive at, the prompt repeated in the
answer) is an Opaque part: it passes to a provider of this format, and others refuse it by its name.
"""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.openai_completions.words import NAME

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    ContentPart,
    Message,
    Opaque,
    RequestHead,
    Sampling,
    Text,
    load_json,
)

Json = dict[str, Any]


def decode_request(body: bytes, head: RequestHead) -> ChatRequest:
    """The whole request; BadRequest with `param` for what is malformed."""
    try:
        fields: Json = load_json(body)
    except ValueError:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    # Each reader takes out of `fields` what it understood; the rest are extras. null means: not said.
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in ("model", "stream", "max_tokens", "n"):
        fields.pop(name, None)
    _leave_out_nothings(fields, head)
    message = Message("user", (_prompt(fields),))
    return ChatRequest(
        dialect=NAME,
        model=head.model,
        messages=(message,),
        sampling=_sampling(fields, head),
        stream=head.stream,
        framing=head.framing,
        asked_usage=head.asked_usage,
        extras=fields,
    )


def _leave_out_nothings(fields: Json, head: RequestHead) -> None:
    """What says nothing is no loss to anybody."""
    if fields.get("best_of") == head.n:
        del fields["best_of"]
    for name, nothing in (("logit_bias", {}), ("suffix", ""), ("echo", False)):
        if fields.get(name) == nothing:
            del fields[name]
    options = fields.pop("stream_options", {})
    rest = {name: value for name, value in options.items() if name != "include_usage"}
    if rest:
        fields["stream_options"] = rest


def _prompt(fields: Json) -> ContentPart:
    prompt = fields.pop("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    beside: Json = {str(name): fields.pop(name) for name in ("suffix", "echo") if name in fields}
    if isinstance(prompt, str) and not beside:
        return Text(prompt)
    kind = next(iter(beside), "prompt of several texts or of tokens")
    return Opaque(NAME, kind, {"prompt": prompt, **beside})


def _sampling(fields: Json, head: RequestHead) -> Sampling:
    stop = fields.pop("stop", ())
    logprobs = fields.pop("logprobs", None)
    return Sampling(
        max_output=head.max_output,
        temperature=fields.pop("temperature", None),
        top_p=fields.pop("top_p", None),
        top_k=fields.pop("top_k", None),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=fields.pop("seed", None),
        presence_penalty=fields.pop("presence_penalty", None),
        frequency_penalty=fields.pop("frequency_penalty", None),
        n=head.n,
        logprobs=None if logprobs is None else True,
        top_logprobs=logprobs,
        user=fields.pop("user", None),
    )
