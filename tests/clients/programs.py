"""Clients that run as programs of their own: one process answers many cases, a JSON object a line each way."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NODE, PYTHON = HERE / "node", HERE / "python"
INSTALLED = Path(sys.prefix) / "clients"

Json = dict[str, Any]


@dataclass(frozen=True)
class Client:
    """A program in node/ or python/, the dialects that it speaks (`fronts`) and what it can be asked to do.

    `environment` is where .ci/clients put its packages: clients that share one go with the same versions of the SDKs.
    """

    name: str
    program: Path
    fronts: tuple[str, ...]
    verbs: frozenset[str]
    environment: str

    @property
    def official(self) -> bool:
        """Whether it is the SDK of the one whose format it speaks."""
        return self.name in ("openai-node", "anthropic-node", "google-node")

    def ready(self) -> bool:
        """Whether its packages are there."""
        if self.environment == "node":
            return shutil.which("node") is not None and (INSTALLED / "node" / "node_modules").is_dir()
        return (INSTALLED / self.environment / "bin" / "python").is_file()

    def command(self, folder: Path) -> Sequence[str | Path]:
        """The program; `folder` is its own."""
        if self.environment != "node":
            return [INSTALLED / self.environment / "bin" / "python", self.program]
        # Packages are looked for beside the script, and there they would get into everything made of the checkout.
        (folder / "node_modules").symlink_to(INSTALLED / "node" / "node_modules")
        for script in NODE.glob("*.mjs"):
            shutil.copy(script, folder)
        return ["node", folder / self.program.name]


class Program:
    """A client's process."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Does nothing if the client is not installed."""
        if self._process is None and self._client.ready():
            self._process = self._start()

    async def answer(self, cases: Sequence[Json]) -> list[Json]:
        """What the client made of each case; skips the test if it is not installed, which in CI is a failure."""
        self.start()
        if self._process is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{self._client.name} is missing; run .ci/clients")
        # In a thread, for the hub runs in this one.
        return await asyncio.to_thread(self._answer, self._process, cases)

    def _start(self) -> subprocess.Popen[str]:
        # Keys and addresses of the developer's own shell must not be used by any SDK.
        names = ("_API_KEY", "_BASE_URL", "_AUTH_TOKEN", "_PROXY", "_proxy")
        environment = {name: value for name, value in os.environ.items() if not name.endswith(names)}
        return subprocess.Popen(
            self._client.command(self._folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if "-s" in sys.argv else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**environment, "LANGSMITH_TRACING": "false"},
        )

    def _answer(self, process: subprocess.Popen[str], cases: Sequence[Json]) -> list[Json]:
        assert process.stdin is not None
        assert process.stdout is not None
        # A client that never answers must not stop the tests for good.
        watch = threading.Timer(150, process.kill)
        watch.start()
        try:
            answers = []
            for case in cases:
                process.stdin.write(json.dumps(case) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                assert line, f"{self._client.name} ended at {case}"
                answers.append(json.loads(line))
            return answers
        finally:
            watch.cancel()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


OPENAI = ("openai_chat", "openai_responses")
EVERY = (*OPENAI, "anthropic", "gemini")

TALK = frozenset({"whole", "stream", "loop", "loop_stream"})
OBJECTS = frozenset({"object", "object_stream", "strict_tool"})
STREAMED_TOOL = frozenset({"strict_tool_stream"})
THREADS = frozenset({"thread", "thread_stream"})

CLIENTS = [
    Client("openai-node", NODE / "openai.mjs", OPENAI, TALK | OBJECTS | {"embed"}, "node"),
    Client("anthropic-node", NODE / "anthropic.mjs", ("anthropic",), TALK | OBJECTS | THREADS, "node"),
    Client("google-node", NODE / "google.mjs", ("gemini",), TALK | OBJECTS | {"embed"}, "node"),
    Client("vercel-ai", NODE / "vercel.mjs", EVERY, TALK | OBJECTS | {"output", "embed"}, "node"),
    Client("langchain", PYTHON / "langchain_client.py", OPENAI, TALK | OBJECTS | {"embed"}, "frameworks"),
    Client("pydantic-ai", PYTHON / "pydantic_ai_client.py", EVERY, TALK | OBJECTS | STREAMED_TOOL, "frameworks"),
    Client(
        "instructor",
        PYTHON / "instructor_client.py",
        (*OPENAI, "anthropic"),
        OBJECTS - {"object_stream"} | STREAMED_TOOL,
        "instructor",
    ),
]
