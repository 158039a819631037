"""What happens in a run, all of it drawn from one seed: accounts, how the hub knows them, callers, bad days."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from accounts import Account

STRATEGIES = ("priority", "round_robin", "weighted", "least_busy", "lowest_latency", "most_quota_left", "cheapest")


@dataclass(frozen=True)
class Request:
    """`output` is the maximum that the caller states. What nobody knows: `used` tokens in all, where between
    two bounds the time of the answer lies (`pace`), and whether the first attempt fails (`luck`), both from 0 to 1."""

    number: int
    at: float
    caller: int
    inputs: int
    output: int
    used: int
    pace: float
    luck: float


@dataclass
class Scenario:
    """`told` says whether the limits of an account are in the hub's configuration. `callers` have so many requests a
    minute, 0: any number. `steps` are (when, seconds) by which the clock on the wall is set."""

    seed: int
    accounts: list[list[Account]]
    keys: dict[str, int]
    told: bool
    strategy: str
    priorities: list[int]
    callers: list[int]
    patience: float
    seconds: float
    requests: list[Request]
    steps: list[tuple[float, float]] = field(default_factory=list)
    kind: str = "calm"

    def config(self, quota: str = "memory:") -> str:
        text = f'[storage]\nquota = "{quota}"\nmetadata = "sqlite:///x.db"\n[server]\n[auth]\napi = "token"\n'
        deployments = []
        for number, accounts in enumerate(self.accounts):
            text += f'[[providers]]\nname = "p{number}"\nkind = "openai_compatible"\n'
            text += f'base_url = "http://p{number}.test/v1"\nlearn_limits = "{"show" if self.told else "bind"}"\n'
            for account in accounts:
                for key in range(self.keys[account.name]):
                    text += (
                        f'[[providers.keys]]\nname = "{account.name}-{key}"\nsecret = "sk-{account.name}"\n'
                        f'group = "{account.name}"\npriority = {1 + key % 2}\n'
                    )
                    known = {
                        name: getattr(account, name)
                        for name in ("rpm", "tpm", "rpd", "concurrency")
                        if getattr(account, name)
                    }
                    if self.told and known:
                        text += "limits = { " + ", ".join(f"{name} = {many}" for name, many in known.items()) + " }\n"
            deployments.append(
                f'{{ provider = "p{number}", model = "m{number}", priority = {self.priorities[number]} }}'
            )
        text += f'[[routes]]\nmodel = "fast"\nstrategy = "{self.strategy}"\ndeployments = [{", ".join(deployments)}]\n'
        return text


def drawn(seed: int) -> Scenario:
    chance = Random(seed)
    kind = chance.choice(
        ("calm", "calm", "days", "callers", "noise", "outage", "steps", "hidden", "hidden", "misleading")
    )
    seconds = 150.0
    accounts: list[list[Account]] = []
    keys: dict[str, int] = {}
    names = 0
    most = 0.0  # requests a second that all accounts take together
    for _ in range(chance.randint(1, 3)):
        accounts.append([])
        for _ in range(chance.randint(1, 2)):
            account = Account(f"a{names}")
            names += 1
            of = chance.choice(("rpm", "rpm", "tpm", "concurrency", "rpm tpm", "rpm concurrency"))
            if kind == "days":  # of which the last request shall be used, whichever comes first
                of = "rpd"
            if "rpm" in of:
                account.rpm = chance.choice((5, 8, 12, 20, 30))
            if "tpm" in of:
                account.tpm = chance.choice((10_000, 30_000, 60_000))
            if "concurrency" in of:
                account.concurrency = chance.choice((1, 2, 3, 5))
            if "rpd" in of:
                account.rpd = chance.randint(5, 40)
            account.seconds = (chance.uniform(0.2, 1.0), chance.uniform(1.0, 5.0))
            keys[account.name] = chance.randint(1, 3)
            accounts[-1].append(account)
            most += min(
                account.rpm / 60 if account.rpm else 9e9,
                account.rpd / 120 if account.rpd else 9e9,
                account.tpm / 60 / 900 if account.tpm else 9e9,
                account.concurrency / sum(account.seconds) * 2 if account.concurrency else 9e9,
            )
    every = [account for some in accounts for account in some]
    callers = [0] * chance.randint(1, 4)
    if kind == "callers":
        callers = [chance.choice((0, 10, 30)) for _ in callers]
    if kind == "noise":
        for account in every:
            account.noise = chance.uniform(0.0, 0.03)
    if kind == "outage":
        for account in chance.choice(accounts):
            begin = chance.uniform(20, 100)
            account.outages = ((begin, begin + chance.uniform(5, 60), chance.choice((0, 500, 503, 529))),)
    if kind in ("hidden", "misleading"):
        for account in every:
            account.truth = chance.choice(("exact", "whole")) if kind == "hidden" else chance.choice(("none", "short"))
    steps = []
    if kind == "steps":
        steps = [(chance.uniform(5, 200), chance.choice((-3600.0, 3600.0))) for _ in range(3)]
    rate = min(most * chance.choice((0.4, 0.8, 1.0, 1.3, 2.0)), 1.0)
    at, requests = 0.0, []
    while (at := at + chance.expovariate(rate)) < seconds:
        inputs, output = chance.randint(20, 400), chance.choice((64, 256, 1024))
        used = inputs + max(1, int(output * chance.uniform(0.3, 1.0)))
        requests.append(
            Request(
                len(requests),
                at,
                chance.randrange(len(callers)),
                inputs,
                output,
                used,
                chance.random(),
                chance.random(),
            )
        )
    return Scenario(
        seed, accounts, keys, kind not in ("hidden", "misleading"), chance.choice(STRATEGIES),
        [chance.randint(1, 2) for _ in accounts], callers, chance.choice((5.0, 20.0, 60.0)), seconds, requests,
        steps, kind,
    )  # fmt: skip
