"""LiteLLM's ``config.yaml`` as a configuration of this hub, and what of it could not be carried, line by line.

The form is that of https://docs.litellm.ai/docs/proxy/config_settings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.vault import Secret
from llmhub_core.moving.litellm_places import NoPlace, Place, name_of, place_of
from llmhub_core.moving.yaml_lines import Document, Path

VARIABLE = "os.environ/"

STRATEGIES: Mapping[str, str] = {
    "simple-shuffle": "weighted",
    "least-busy": "least_busy",
    "latency-based-routing": "lowest_latency",
    "usage-based-routing": "most_quota_left",
    "usage-based-routing-v2": "most_quota_left",
    "cost-based-routing": "cheapest",
}

NEEDLESS: Mapping[str, str] = {
    "drop_params": "done by itself: what a model cannot be told is left out and named in a header",
    "set_verbose": "llm-hub serve --log-level debug",
    "json_logs": 'server.log_format = "json"',
    "enable_pre_call_checks": "done by itself where a limit is known",
    "store_model_in_db": "what is added on the pages rests in the database by itself",
    "supports_function_calling": "known of each model",
    "supports_vision": "known of each model",
    "mode": "told by the path that a caller asks",
    "base_model": "prices are those of the model that is named; else set input_price and output_price",
    "id": "a deployment has no id of its own here",
    "database_url": "its tables are others; usage and virtual keys do not come along",
    "prometheus": "add a table [observers.prometheus]",
}
"""Why something is left out that need not, or cannot, be said here."""

NO_PLACE = "has no place here"
NO_ROUTE = "is no model of this file that could be carried"


@dataclass(frozen=True, slots=True)
class Told:
    """A word about a line: it was carried in another way, or left."""

    line: int
    what: str
    why: str
    carried: bool = False


@dataclass(slots=True)
class Converted:
    """`secrets` are those that stand in the file, by the key's id: they are not repeated in the document."""

    document: dict[str, Any] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    secrets: dict[str, Secret] = field(default_factory=dict, repr=False)
    variables: dict[str, str] = field(default_factory=dict)


class Converter:
    """One file."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        if not isinstance(document.value, dict) or not {"model_list", *_SECTIONS} & set(document.value):
            raise StartError("That is no config.yaml of LiteLLM: it has no model_list, router_settings or the like.")
        self._file = document
        self._environ = environ
        self._made = Converted()
        self._providers: dict[str, dict[str, Any]] = {}
        self._routes: dict[str, dict[str, Any]] = {}
        self._where: dict[tuple[str, str], list[tuple[str, Path]]] = {}
        self._settings: dict[str, dict[str, Any]] = {}
        self._tokens: list[dict[str, Any]] = []

    def convert(self) -> Converted:
        value = self._file.value
        for number, entry in enumerate(_list(value.get("model_list"))):
            self._deployment(entry, ("model_list", number))
        for key in sorted(set(value) - {"model_list", *_SECTIONS}):
            self._leave((key,), key, "is not known here")
        for section in _SECTIONS:
            table = value.get(section)
            for key, each in (table if isinstance(table, dict) else {}).items():
                self._setting(section, key, each, (section, key))
        self._limit_keys()
        made = self._made
        made.document = {**{name: table for name, table in self._settings.items() if table}}
        made.document |= {"providers": list(self._providers.values()), "routes": list(self._routes.values())}
        if self._tokens:
            made.document["tokens"] = self._tokens
        self._mind_fallbacks()
        made.told.sort(key=lambda told: told.line)
        return made

    def _leave(self, path: Path, what: str, why: str) -> None:
        self._made.told.append(Told(self._file.line(path), what, why))

    def _say(self, path: Path, what: str, how: str) -> None:
        self._made.told.append(Told(self._file.line(path), what, how, carried=True))

    # --- model_list

    def _deployment(self, entry: Any, path: Path) -> None:
        name = entry.get("model_name") if isinstance(entry, dict) else None
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(params, dict):
            self._leave(path, "model_list", "an entry needs model_name and litellm_params")
            return
        try:
            place = place_of(params)
            provider = self._provider(place)
            key = self._key(provider, place, params, (*path, "litellm_params"))
        except NoPlace as problem:
            self._leave((*path, "litellm_params", "model"), name, f"{problem}")
            return
        if key:
            self._where.setdefault((provider["name"], key), []).append((place.model, (*path, "litellm_params")))
        if "*" in name or "*" in place.model:
            self._say(path, name, f"ask for {provider['name']}/MODEL: every model of a provider is served by that name")
        else:
            self._add(name, provider, place, params, path)
        info = entry.get("model_info")
        for field_ in info if isinstance(info, dict) else ():
            if field_ not in _PRICES:
                self._leave(
                    (*path, "model_info", field_), f"{name}: {field_}", NEEDLESS.get(field_, "has no place here")
                )
        for field_ in sorted(set(entry) - {"model_name", "litellm_params", "model_info"}):
            self._leave((*path, field_), f"{name}: {field_}", "is not known here")

    def _provider(self, place: Place) -> dict[str, Any]:
        for table in self._providers.values():
            if {key: each for key, each in table.items() if key not in ("name", "keys")} == place.table:
                return table
        name = name_of(place, self._providers)
        self._providers[name] = {"name": name, **place.table}
        return self._providers[name]

    def _key(self, provider: dict[str, Any], place: Place, params: Mapping[str, Any], path: Path) -> str:
        """Its name; "" where the place needs none."""
        given = params.get("api_key")
        place.used.add("api_key")
        if given is None and not place.variable:
            if provider["kind"] in ("bedrock", "vertex"):
                provider["keys"] = [{"name": "main", "secret": ""}]
            return ""
        keys = provider.setdefault("keys", [])
        if given is None or str(given).startswith(VARIABLE):
            variable = place.variable if given is None else str(given).removeprefix(VARIABLE)
            secret, name = f"env:{variable}", variable.lower().replace("_", "-")
        else:
            held = Secret(str(given))
            known = next((id for id, each in self._made.secrets.items()
                          if each == held and id.startswith(f"{provider['name']}/")), "")  # fmt: skip
            name = known.partition("/")[2] or f"key-{len(keys) + 1}"
            variable = re.sub(r"[^A-Z0-9]+", "_", f"{provider['name']}_{name}".upper())
            secret = f"env:{variable}"
            if not known:
                self._made.secrets[f"{provider['name']}/{name}"] = held
                self._made.variables[f"{provider['name']}/{name}"] = variable
                self._say((*path, "api_key"), f"the secret of {provider['name']}/{name}",
                          f"stands in the file and is not repeated: put it into the variable {variable}, "
                          "or take --apply, which stores it sealed")  # fmt: skip
        if not any(each["name"] == name for each in keys):
            keys.append({"name": name, "secret": secret})
        return str(name)

    def _add(self, name: str, provider: dict[str, Any], place: Place, params: Mapping[str, Any], path: Path) -> None:
        route = self._routes.setdefault(name, {"model": name, "deployments": []})
        deployment: dict[str, Any] = {"provider": provider["name"], "model": place.model}
        here = (*path, "litellm_params")
        for key, value in params.items():
            if key in place.used or key in ("rpm", "tpm"):
                continue
            if key == "weight" and isinstance(value, int):
                deployment["weight"] = value
            elif key == "order" and isinstance(value, int):
                deployment["priority"] = value
            elif key in _PRICES and isinstance(value, int | float):
                deployment[_PRICES[key]] = round(value * 1e6, 9)
            elif key == "timeout" and _is_number(value):
                route.setdefault("timeouts", {})["total"] = f"{value} s"
            elif key == "stream_timeout" and _is_number(value):
                route.setdefault("timeouts", {})["first_token"] = f"{value} s"
            elif key == "max_parallel_requests" and isinstance(value, int):
                continue  # with the limits of the key
            else:
                self._leave((*here, key), f"{name}: {key}", NEEDLESS.get(key, NO_PLACE))
        info = self._at((*path, "model_info"))
        for key, ours in _PRICES.items():
            if isinstance(info, dict) and _is_number(info.get(key)):
                deployment.setdefault(ours, round(info[key] * 1e6, 9))
        if ("input_price" in deployment) != ("output_price" in deployment):
            deployment.setdefault("input_price", 0.0)
            deployment.setdefault("output_price", 0.0)
        same = [each for each in route["deployments"] if (each["provider"], each["model"]) == (
            deployment["provider"], deployment["model"])]  # fmt: skip
        if not same:
            route["deployments"].append(deployment)

    def _at(self, path: Path) -> Any:
        value = self._file.value
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _limit_keys(self) -> None:
        """Which models each key is for; and limits, which are a deployment's there and a key's here."""
        for (provider, name), uses in self._where.items():
            table = self._providers[provider]
            key = next(each for each in table["keys"] if each["name"] == name)
            models = sorted({model for model, _ in uses})
            if len(table["keys"]) > 1 and not any("*" in model for model in models):
                key["models"] = models
            for limit, ours in (("rpm", "rpm"), ("tpm", "tpm"), ("max_parallel_requests", "concurrency")):
                found = [(self._at((*path, limit)), path) for _, path in uses]
                given = [(value, path) for value, path in found if value is not None]
                if not given:
                    continue
                if len(models) == 1 and all(isinstance(value, int) and value > 0 for value, _ in given):
                    key.setdefault("limits", {})[ours] = max(value for value, _ in given)
                    continue
                for _, path in given:
                    self._leave((*path, limit), f"{provider}/{name}: {limit}",
                                f"limits are a key's here, and this one serves {len(models)} models: set "
                                f"limits.{ours} of the key to what the provider allows it in all")  # fmt: skip

    # --- all other sections

    def _setting(self, section: str, key: str, value: Any, path: Path) -> None:
        if section == "environment_variables":
            self._leave(path, key, "set it in the environment that the hub is started in")
        elif key == "routing_strategy" and value in STRATEGIES:
            for route in self._routes.values():
                route["strategy"] = STRATEGIES[value]
        elif key in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
            self._fallbacks(key, value, path)
        elif key == "default_fallbacks":
            for name, route in self._routes.items():
                route.setdefault("fallbacks", [each for each in map(str, _list(value)) if each != name])
        elif key == "model_group_alias" and isinstance(value, dict):
            self._aliases(value, path)
        elif key == "num_retries" and isinstance(value, int):
            self._table("routing")["attempts"] = value + 1
        elif key == "cooldown_time" and _is_number(value):
            self._table("routing")["cooldown"] = f"{value} s"
        elif key == "allowed_fails" and isinstance(value, int):
            self._table("routing")["breaker_failures"] = value + 1
        elif key in ("timeout", "request_timeout") and _is_number(value):
            for route in self._routes.values():
                route.setdefault("timeouts", {}).setdefault("total", f"{value} s")
        elif key == "stream_timeout" and _is_number(value):
            for route in self._routes.values():
                route.setdefault("timeouts", {}).setdefault("first_token", f"{value} s")
        elif key == "redis_host" and section == "router_settings":
            self._leave(path, key, 'set [storage] quota = "redis://host:6379" where several hubs count together')
        elif key == "master_key":
            self._master_key(value, path)
        elif key in ("success_callback", "failure_callback", "callbacks", "service_callbacks"):
            for number, each in enumerate(_list(value)):
                why = NEEDLESS.get(str(each), "there are webhook, apprise, prometheus and access_log, and plugins")
                self._leave((*path, number), f"{key}: {each}", why)
        else:
            self._leave(path, key, NEEDLESS.get(key, NO_PLACE))

    def _table(self, name: str) -> dict[str, Any]:
        return self._settings.setdefault(name, {})

    def _fallbacks(self, key: str, value: Any, path: Path) -> None:
        for number, table in enumerate(_list(value)):
            for name, others in table.items() if isinstance(table, dict) else ():
                wanted = [str(each) for each in _list(others)]
                routes = [self._routes[name]] if name in self._routes else []
                if name == "*":
                    routes = [route for route in self._routes.values() if not route.get("fallbacks")]
                if not routes or not all(isinstance(each, str) for each in _list(others)):
                    self._leave((*path, number, name), f"{key}: {name}", NO_ROUTE)
                for route in routes:
                    if key == "fallbacks":
                        route["fallbacks"] = [each for each in wanted if each != route["model"]]
                    else:
                        route.setdefault("fallbacks_on", {})[_CASES[key]] = wanted

    def _aliases(self, aliases: Mapping[str, Any], path: Path) -> None:
        for alias, target in aliases.items():
            name = target.get("model") if isinstance(target, dict) else target
            if isinstance(name, str) and name in self._routes and alias not in self._routes:
                self._routes[alias] = {**self._routes[name], "model": alias}
            else:
                self._leave((*path, alias), f"model_group_alias: {alias}", "leads to no model that could be carried")

    def _master_key(self, value: Any, path: Path) -> None:
        text = str(value)
        if text.startswith(VARIABLE):
            variable = text.removeprefix(VARIABLE)
            if variable not in self._environ:
                self._leave(path, "master_key", f"the variable {variable} is not set here, so its hash cannot be made; "
                            "llm-hub token add makes a token")  # fmt: skip
                return
            text = self._environ[variable]
        self._table("auth")["api"] = "token"
        self._tokens.append({"name": "master", "hash": "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
                             "hint": text[-4:] if len(text) >= 20 else ""})  # fmt: skip
        self._say(path, "master_key", "is the client token master: callers go on with it, and it opens no dashboard")

    def _mind_fallbacks(self) -> None:
        """Names of routes that could not be carried are taken out."""
        for route in self._routes.values():
            lists = [("fallbacks", route), *((case, route["fallbacks_on"]) for case in route.get("fallbacks_on", {}))]
            for key, table in lists:
                gone = [each for each in table.get(key, ()) if each not in self._routes]
                if gone:
                    table[key] = [each for each in table[key] if each in self._routes]
                    self._leave(("router_settings", "fallbacks"), f"fallbacks of {route['model']}: {', '.join(gone)}",
                                NO_ROUTE)  # fmt: skip


_SECTIONS = ("router_settings", "litellm_settings", "general_settings", "environment_variables")
_PRICES = {"input_cost_per_token": "input_price", "output_cost_per_token": "output_price"}
_CASES = {"context_window_fallbacks": "context_length", "content_policy_fallbacks": "content_filter"}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def lines_of(made: Converted) -> Iterator[dict[str, Any]]:
    """The document's providers, keys, routes and tokens as entries, with the secrets that stand in the file."""
    for provider in made.document["providers"]:
        body = {key: value for key, value in provider.items() if key not in ("name", "keys")}
        yield {"kind": "provider", "name": provider["name"], "body": body}
        for key in provider.get("keys", ()):
            id = f"{provider['name']}/{key['name']}"
            body = {name: value for name, value in key.items() if name != "name"}
            if id in made.secrets:
                del body["secret"]
                yield {
                    "kind": "key",
                    "name": id,
                    "body": body,
                    "needs": ["secret"],
                    "secret": made.secrets[id].reveal(),
                }
            else:
                yield {"kind": "key", "name": id, "body": body}
    for kind, name in (("route", "model"), ("token", "name")):
        for table in made.document.get(f"{kind}s", ()):
            yield {"kind": kind, "name": table[name], "body": {key: each for key, each in table.items() if key != name}}
