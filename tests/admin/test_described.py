"""What the admin API says of itself, tried by schemathesis on a running hub: no failure of ours, and every answer as
described. The program asks from outside, as anybody would who has the description and an admin token."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from browsers import people_of

from llmhub_core.admin.scripts import NewAdminToken, made
from llmhub_core.testing.house import House
from llmhub_core.testing.records import records

PROGRAM = Path(sys.executable).parent / "schemathesis"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = "^/admin/api/(events|session|setup)"
"""A stream has no end, and a token has no session."""


@pytest.mark.timeout(300)
async def test_every_call_answers_as_described(house: House, tmp_path: Path) -> None:
    if not PROGRAM.exists():
        pytest.skip("schemathesis is not installed: pip install llm-hub[dev]")
    await house.hub.store.append(records())
    token, text = made(NewAdminToken(name="ci", role="owner", lasts="1h"), None)
    await people_of(house).add_admin_token(token)
    command = [
        str(PROGRAM), "run", f"{house.url}/admin/api/openapi.json", "-H", f"authorization: Bearer {text}",
        "--checks", CHECKS, "--exclude-path-regex", LEFT_OUT, "--phases", "examples,coverage,fuzzing",
        "-n", os.environ.get("LLMHUB_EXAMPLES", "4"), "--seed", "1", "--generation-database", "none",
        "--request-timeout", "30", "--suppress-health-check", "all",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-8000:]
