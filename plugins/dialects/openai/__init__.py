"""What OpenAI's wire formats (Chat, Responses, and the operations beside them) have in common; no plugin itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


def is_openai_sdk(headers: Mapping[str, str]) -> bool:
    """OpenAI's SDKs name themselves; Anthropic's present their key in the same way but say a version."""
    return headers.get("user-agent", "").startswith(("OpenAI/", "AsyncOpenAI/"))


def credentials(headers: Mapping[str, str]) -> str | None:
    """The caller's token, as OpenAI's SDKs present it."""
    found = _BEARER.fullmatch(headers.get("authorization", ""))
    return None if found is None else found[1]
