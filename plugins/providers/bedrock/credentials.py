"""Who calls AWS, and the signature (SigV4) that says so; both by botocore, which is imported on first use."""

from __future__ import annotations

import asyncio
from typing import Any

from llmhub_core.contracts import Call, UpstreamDenied, load_json

_NONE = "No AWS credentials were found for the provider; the operator has been told."


class Signer:
    """Puts credentials on calls. One object serves all keys of its table: each key's are kept under its own secret."""

    def __init__(self, region: str, profile: str) -> None:
        self._region = region
        self._profile = profile
        self._static: dict[str, Any] = {}
        self._chain: Any = None
        self._lock = asyncio.Lock()

    async def sign(self, call: Call, secret: str) -> None:
        """Add the headers that authorize `call`, whose address and body must be final. UpstreamDenied without any."""
        if secret and not secret.startswith("{") and ":" not in secret:
            call.headers["authorization"] = f"Bearer {secret}"
            return
        credentials = self._of_key(secret) if secret else await self._of_chain()
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=call.method, url=call.url, data=call.body, headers=call.headers)
        SigV4Auth(credentials, "bedrock", self._region).add_auth(request)
        call.headers = {name.lower(): value for name, value in request.headers.items()}

    def _of_key(self, secret: str) -> Any:
        from botocore.credentials import Credentials

        credentials = self._static.get(secret)
        if credentials is None:
            credentials = self._static[secret] = Credentials(*read_secret(secret))
        return credentials

    async def _of_chain(self) -> Any:
        """What the machine has: variables, profiles, roles. In a thread, for some of it is asked for over the network
        and renewed from time to time; one at a time, for botocore's own lock would hold up as many threads."""
        async with self._lock:
            return await asyncio.to_thread(self._frozen)

    def _frozen(self) -> Any:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            if self._chain is None:
                self._chain = Session(profile=self._profile or None).get_credentials()
            if self._chain is not None:
                return self._chain.get_frozen_credentials()
        except BotoCoreError as error:
            # Its text may name accounts and paths: they are for the record, not for callers.
            raise UpstreamDenied(_NONE).said(detail=type(error).__name__) from None
        raise UpstreamDenied(_NONE)


def read_secret(secret: str) -> tuple[str, str, str | None]:
    """Access key id, secret access key and session token, of ``ID:SECRET``, ``ID:SECRET:TOKEN`` or the JSON object that
    ``aws sts`` and credential processes write. UpstreamDenied if it is neither."""
    if secret.startswith("{"):
        try:
            value = load_json(secret)
        except ValueError:
            value = None
        said = value if isinstance(value, dict) else {}
        said = said.get("Credentials", said)
        parts = [
            said.get(f"aws_{snake}") or said.get(snake) or said.get(camel)
            for snake, camel in (
                ("access_key_id", "AccessKeyId"),
                ("secret_access_key", "SecretAccessKey"),
                ("session_token", "SessionToken"),
            )
        ]
    else:
        parts = [*secret.split(":", 2), None, None][:3]
    id, key, token = parts
    if not (isinstance(id, str) and id and isinstance(key, str) and key):
        raise UpstreamDenied("The provider key cannot be read as AWS credentials; the operator has been told.")
    return id, key, token if isinstance(token, str) and token else None
