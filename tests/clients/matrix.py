"""Clients × the dialects that they speak × the providers behind the hub, as parameters of tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hubs import BEHIND, FRONTS, model
from programs import CLIENTS, Client, Json, Program

Programs = Callable[[Client], Program]


def every(verb: str = "", behind: Sequence[str] = BEHIND, sparse: bool = False) -> pytest.MarkDecorator:
    """Each client (that knows the verb), by each dialect that it speaks, before each provider.

    `sparse`: clients that are built on others meet one provider each, in turn; enough where it is the other's part
    that counts.
    """
    pairs = [
        (client, front)
        for client in CLIENTS
        for front in client.fronts
        if front in FRONTS and (not verb or verb in client.verbs)
    ]
    return pytest.mark.parametrize(
        ("client", "front", "behind"),
        [
            pytest.param(client, front, provider, id=f"{client.name}-{front}-{provider}")
            for number, (client, front) in enumerate(pairs)
            for place, provider in enumerate(each for each in behind if each in BEHIND)
            if client.official or not sparse or place == number % len(BEHIND)
        ],
    )


def case(verb: str, url: str, front: str, behind: str, scene: str) -> Json:
    return {"do": verb, "url": url, "front": front, "model": model(front, behind), "scene": scene}
