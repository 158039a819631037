"""The gateways that run.py knows: how each is started, configured, called and installed.

In commands, files, headers and environment these stand for the run's own values: {python} {bench} (this folder) {dir}
(an empty folder of the target's own) {port} (where it must listen) {upstream} (the pretend provider's port).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_INHERITED = frozenset({"DATABASE_URL", "PYTHONDONTWRITEBYTECODE"})
"""A database would be taken up unasked. And an install has its bytecode: a checkout keeps it after one start, too."""
HUB_TOKEN = "lh-" + hashlib.sha256(b"benchmark").hexdigest()[:40]


@dataclass(frozen=True)
class Target:
    name: str
    command: str  # "": no gateway, the load speaks to the upstream itself
    model: str = "mock-model"
    translated_model: str = ""  # a model whose provider speaks another dialect; "": cannot be measured
    token: str = "sk-bench"
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # name in {dir} -> text
    needs: str = ""  # a program or file without which it cannot start


# One worker, as everything shares one core. Unbuffered, since a stream must not wait; the body buffer holds the large
# request, so that nothing touches the disk.
NGINX = """\
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; client_max_body_size 64m; client_body_buffer_size 4m;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream provider { server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:{port} backlog=4096;
    location / {
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }
  }
}
"""

# Everything on: the token is checked, quota reserved on token and key, every request metered durably.
HUB = f"""\
[server]
host = "127.0.0.1"
[auth]
api = "token"
[[providers]]
name = "openai"
kind = "openai_compatible"
base_url = "http://127.0.0.1:{{upstream}}/v1"
  [[providers.keys]]
  name = "main"
  secret = "sk-upstream"
  limits = {{ rpm = 100000000, tpm = 1000000000000, concurrency = 10000 }}
[[providers]]
name = "anthropic"
kind = "anthropic"
base_url = "http://127.0.0.1:{{upstream}}"
  [[providers.keys]]
  name = "main"
  secret = "sk-ant-upstream"
[[routes]]
model = "bench"
strategy = "priority"
deployments = [ {{ provider = "openai", model = "mock-model" }} ]
[[routes]]
model = "bench-translated"
strategy = "priority"
deployments = [ {{ provider = "anthropic", model = "mock-model" }} ]
[[tokens]]
name = "bench"
hash = "sha256:{hashlib.sha256(HUB_TOKEN.encode()).hexdigest()}"
models = ["bench", "bench-translated"]
limits = {{ rpm = 100000000 }}
"""

LITELLM = """\
model_list:
  - model_name: bench
    litellm_params: {model: openai/mock-model, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-upstream}
litellm_settings: {num_retries: 0, request_timeout: 600, telemetry: false}
general_settings: {master_key: sk-bench}
"""


def hub(name: str, command: str) -> Target:
    return Target(
        name,
        command,
        model="bench",
        translated_model="bench-translated",
        token=HUB_TOKEN,
        environment={"PYTHONPATH": str(HERE.parent)},
        files={"hub.toml": HUB},
    )


def _known() -> dict[str, Target]:
    serve = "serve --config {dir}/hub.toml --host 127.0.0.1 --port {port} --data-dir {dir}/data"
    litellm = HERE / ".env-litellm/bin/litellm"
    portkey = HERE / ".env-portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    targets = [
        Target("direct", ""),
        Target("nginx", "nginx -p {dir} -e stderr -c {dir}/nginx.conf", files={"nginx.conf": NGINX}, needs="nginx"),
        Target("aiohttp", "{python} {bench}/passthrough.py --port {port} --upstream {upstream}"),
        hub("llmhub", "{python} -m llmhub_core " + serve),
        Target(
            "litellm",
            f"{litellm} --config {{dir}}/litellm.yaml --host 127.0.0.1 --port {{port}} --num_workers 1",
            model="bench",
            # Its production mode, and the price list from the package rather than from the network.
            environment={
                "LITELLM_MODE": "PRODUCTION",
                "LITELLM_LOG": "ERROR",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
            files={"litellm.yaml": LITELLM},
            needs=str(litellm),
        ),
        Target(
            "portkey",
            f"node {portkey} --port={{port}} --headless",
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": "http://127.0.0.1:{upstream}/v1"},
            needs=str(portkey),
        ),
    ]
    return {target.name: target for target in targets}


KNOWN = _known()


def choose(specs: list[str]) -> list[Target]:
    """Targets from the command line: each spec is either names with commas between, or one NAME=COMMAND."""
    chosen: dict[str, Target] = {}
    for spec in specs:
        name, equals, command = spec.partition("=")
        if equals:
            # A command that reads our hub.toml is another build of llm-hub: it is called, and measured, like one.
            chosen[name] = hub(name, command) if "{dir}/hub.toml" in command else Target(name, command)
            continue
        for known in spec.split(","):
            if known not in KNOWN:
                raise SystemExit(f"unknown target {known!r}: give one of {', '.join(KNOWN)}, or NAME=COMMAND")
            chosen[known] = KNOWN[known]
    return list(chosen.values())


def missing(target: Target) -> str:
    """Why the target cannot be started here; "" if it can."""
    if not target.needs or shutil.which(target.needs) or Path(target.needs).exists():
        return ""
    remedy = f"run.py --install {target.name}" if target.name in INSTALLERS else f"your system's {target.needs} package"
    return f"{target.name}: {target.needs} is not there (try {remedy})"


def _install_litellm() -> None:
    home = HERE / ".env-litellm"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    subprocess.run([home / "bin/pip", "install", "--quiet", "--upgrade", "litellm[proxy]"], check=True)


def _install_portkey() -> None:
    home = HERE / ".env-portkey"
    home.mkdir(exist_ok=True)
    package = {
        "private": True,
        "dependencies": {"@portkey-ai/gateway": "*"},
        # Version 1.15.2 does not stream with the newer releases that its ranges allow.
        "overrides": {"hono": "4.9.7", "@hono/node-server": "1.13.0"},
    }
    (home / "package.json").write_text(json.dumps(package, indent=2))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=home, check=True)


INSTALLERS: dict[str, Callable[[], None]] = {"litellm": _install_litellm, "portkey": _install_portkey}


def environment(target: Target, fill: Callable[[str], str]) -> dict[str, str]:
    """The caller's own, but for what would make a gateway another one than its users have."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return inherited | {name: fill(value) for name, value in target.environment.items()}
