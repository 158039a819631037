"""Log probabilities as Gemini writes them: what was chosen at each step, and beside it what was likeliest there.

Source: LogprobsResult of the API reference, ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmhub_core.contracts import TokenLogprob


def read_result(result: Any) -> tuple[TokenLogprob, ...]:
    """A candidate's ``logprobsResult``."""
    if not isinstance(result, dict):
        return ()
    chosen, likeliest = result.get("chosenCandidates"), result.get("topCandidates")
    tops = likeliest if isinstance(likeliest, list) else []
    read = []
    for step, one in enumerate(chosen if isinstance(chosen, list) else []):
        top = tops[step] if step < len(tops) else None
        others = top.get("candidates") if isinstance(top, dict) else None
        read.append(_token(one, tuple(_token(other) for other in others or () if isinstance(other, dict))))
    return tuple(read)


def _token(one: Any, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    said = one if isinstance(one, dict) else {}
    chance = said.get("logProbability")
    return TokenLogprob(
        str(said.get("token", "")), float(chance) if isinstance(chance, int | float) else 0.0, None, top
    )


def write_result(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """The members of a candidate that tell the same."""
    result: dict[str, Any] = {"chosenCandidates": [_written(token) for token in tokens]}
    if any(token.top for token in tokens):
        result["topCandidates"] = [{"candidates": [_written(other) for other in token.top]} for token in tokens]
    return {"avgLogprobs": sum(token.logprob for token in tokens) / len(tokens), "logprobsResult": result}


def _written(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logProbability": token.logprob}
