"""Root keys that a program gives: the example for a key management service, and programs that fail."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_cli import ECHO, config, run

from llmhub_core.contracts import StartError
from llmhub_core.hub.vault.opening import given_keys, new_key
from llmhub_core.testing.house import House

EXAMPLE = Path(__file__).parents[1] / "examples" / "root-key" / "from_transit.py"


class Transit(BaseHTTPRequestHandler):
    """The one call of Vault's transit engine that unwraps, on a real socket."""

    token = "s.agent"
    keys: dict[str, str] = {}  # noqa: RUF012 — of the one server of a test

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = self.keys.get(asked["ciphertext"])
        if self.headers["x-vault-token"] != self.token or self.path != "/v1/transit/decrypt/llm-hub" or known is None:
            self.send_response(403)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": {"plaintext": base64.b64encode(known.encode()).decode()}}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Transit)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("VAULT_TOKEN", Transit.token)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("service")
async def test_a_hub_starts_with_a_key_that_a_service_unwraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Transit.keys, "vault:v1:abc", key := new_key())
    (tmp_path / "wrapped").write_text("vault:v1:abc\n")
    secrets = f'[secrets]\nkeys = ["cmd:{sys.executable} {EXAMPLE} llm-hub wrapped"]\n'
    async with House(secrets + ECHO, folder=tmp_path) as house:
        sealed = house.hub.vault.seal("key", "a/b", "sk-1")
        assert house.hub.vault.keys[0].origin == f"cmd:{sys.executable}"
        assert not (tmp_path / "data" / "root.key").exists(), "none is made where one is given"
    (tmp_path / "plain").write_text(key)
    (alone,) = given_keys([f"file:{tmp_path}/plain"], os.environ, tmp_path, tmp_path)
    assert sealed.split(".")[1] == alone.id
    monkeypatch.setenv("VAULT_TOKEN", "s.other")
    with pytest.raises(StartError, match=r"secrets.keys\[0\] names a program that ended with 1: the service refused"):
        given_keys([f"cmd:{sys.executable} {EXAMPLE} llm-hub wrapped"], os.environ, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("nowhere-to-be-found", "names a program that cannot be run: No such file or directory"),
        ("false", "names a program that ended with 1"),
        ("sh -c 'echo first >&2; echo AccessDenied >&2; exit 3'", "names a program that ended with 3: AccessDenied"),
        ("true", "names a program that printed nothing"),
        ("echo short", "is shorter than 32 characters"),
        ("head -c 70000 /dev/zero", "printed more than 64 KiB"),
        (r"printf '\377\376'", "printed something else than text"),
    ],
)
def test_a_program_that_gives_no_key(tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(StartError, match=said):
        given_keys([f"cmd:{program}"], os.environ, tmp_path, tmp_path)


def test_a_program_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmhub_core.hub.vault.program.PATIENCE", 0.2)
    with pytest.raises(StartError, match="gave no key within"):
        given_keys(["cmd:sleep 60"], os.environ, tmp_path, tmp_path)


def test_checking_a_configuration_runs_no_program(tmp_path: Path) -> None:
    path = config(tmp_path, f'[secrets]\nkeys = ["cmd:touch {tmp_path}/ran"]\n{ECHO}')
    assert run("check", "--config", path).exit_code == 0
    assert not (tmp_path / "ran").exists()
    for reference, said in (("cmd:", "must have a program after cmd:"), ("cmd:a 'b", "has quotes that do not end")):
        path = config(tmp_path, f'[secrets]\nkeys = ["{reference}"]\n{ECHO}')
        assert said in run("check", "--config", path).stderr
