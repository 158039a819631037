#!/usr/bin/env python3
"""Prints a root key of llm-hub that HashiCorp Vault's transit engine (or OpenBao's) keeps wrapped.

    [secrets]
    keys = ["cmd:/srv/llm-hub/from_transit.py llm-hub /srv/llm-hub/root.key.wrapped"]

The first argument names the transit key, the second the file with the ciphertext (``vault:v1:…``). The service is found
by VAULT_ADDR, and believes VAULT_TOKEN or, where an agent renews it, the file that VAULT_TOKEN_FILE names. The
ciphertext comes from

    llm-hub secrets new | tr -d '\\n' | base64 -w0 |
        xargs -I{} vault write -field=ciphertext transit/encrypt/llm-hub plaintext={} > root.key.wrapped

Other services are as short: ``aws kms decrypt``, ``gcloud kms decrypt`` and ``az keyvault key decrypt`` print keys too.
Needs nothing but Python.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

PATIENCE = 10.0
"""Seconds."""


def token() -> str:
    path = os.environ.get("VAULT_TOKEN_FILE")
    return Path(path).read_text().strip() if path else os.environ["VAULT_TOKEN"]


def unwrapped(name: str, ciphertext: str) -> str:
    """What the service says that `ciphertext` means."""
    address = os.environ.get("VAULT_ADDR", "https://127.0.0.1:8200").rstrip("/")
    request = urllib.request.Request(  # noqa: S310 — the operator's own address
        f"{address}/v1/transit/decrypt/{quote(name, safe='')}",
        data=json.dumps({"ciphertext": ciphertext}).encode(),
        headers={"X-Vault-Token": token(), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        return base64.b64decode(json.load(answer)["data"]["plaintext"]).decode()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: from_transit.py NAME-OF-TRANSIT-KEY FILE")
    try:
        print(unwrapped(sys.argv[1], Path(sys.argv[2]).read_text().strip()))
    except KeyError as error:
        sys.exit(f"set {error.args[0]}")
    except urllib.error.HTTPError as error:
        sys.exit(f"the service refused with {error.code}")
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
