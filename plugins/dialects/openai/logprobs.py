"""Log probabilities as Chat and Responses write them: tokens with their bytes and with what else was likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmhub_core.contracts import TokenLogprob


def read_tokens(tokens: Any) -> tuple[TokenLogprob, ...]:
    """The tokens of a list as it came; what is none of them is passed over."""
    if not isinstance(tokens, list):
        return ()
    return tuple(_read(token) for token in tokens if _is_token(token))


def _is_token(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("token"), str) and _is_number(token.get("logprob"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(token: dict[str, Any]) -> TokenLogprob:
    raw = token.get("bytes")
    return TokenLogprob(
        token["token"],
        float(token["logprob"]),
        bytes(raw) if isinstance(raw, list) and all(type(one) is int and 0 <= one < 256 for one in raw) else None,
        read_tokens(token.get("top_logprobs")),
    )


def write_tokens(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """The same list again."""
    return [{**_written(token), "top_logprobs": [_written(other) for other in token.top]} for token in tokens]


def _written(token: TokenLogprob) -> dict[str, Any]:
    raw = token.raw if token.raw is not None else token.token.encode("utf-8", "replace")
    return {"token": token.token, "logprob": token.logprob, "bytes": list(raw)}
