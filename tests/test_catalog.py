"""What a name leads to."""

from __future__ import annotations

from pathlib import Path

import pytest
from houses import provider, route

from llmhub_core.cli.common import known
from llmhub_core.contracts import Deployment, PluginError, Strategy
from llmhub_core.hub.build import Sources, build_catalog
from llmhub_core.hub.catalog import AD_HOC_ROUTES, Catalog, Route
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry().discover()


class Builder:
    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder

    def __call__(self, config: str) -> Catalog:
        path = self.folder / "config.toml"
        path.write_text(config)
        loaded = load(path, {}, known(self.registry))
        return build_catalog(loaded.settings, self.registry, Sources(path.parent, {}))


@pytest.fixture
def build(registry: Registry, tmp_path: Path) -> Builder:
    return Builder(registry, tmp_path)


URL = "http://127.0.0.1:9"


def labels(found: Route | None) -> list[str]:
    assert found is not None
    return [stats.candidate.label for stats in found.standing]


def test_a_route_has_each_deployment_with_each_key(build: Builder) -> None:
    catalog = build(provider("a", URL, 2) + provider("b", URL, 1) + route("fast", "a/m1", "b/m2", strategy="weighted"))
    found = catalog.find("fast")
    assert labels(found) == ["a/m1#k1", "a/m1#k2", "b/m2#k1"]
    assert found is not None
    assert found.strategy.name == "weighted"
    assert catalog.find("Fast") is None


def test_a_provider_without_keys_has_one_candidate(build: Builder) -> None:
    catalog = build('[[providers]]\nname = "echo"\nkind = "echo"\n' + route("fast", "echo/m"))
    assert labels(catalog.find("fast")) == ["echo/m#none"]


def test_a_key_serves_only_the_models_that_it_is_for(build: Builder) -> None:
    config = (
        provider("a", URL, 1, more='models = ["gpt-4o*", "o1"]') + route("one", "a/gpt-4o-mini") + route("two", "a/o1")
    )
    catalog = build(config)
    assert labels(catalog.find("one")) == ["a/gpt-4o-mini#k1"]
    assert labels(catalog.find("two")) == ["a/o1#k1"]
    assert labels(catalog.find("a/o1-pro")) == []
    assert labels(catalog.find("a/gpt-4oh")) == ["a/gpt-4oh#k1"]


@pytest.mark.parametrize(
    ("name", "label"),
    [("a/m", "a/m#k1"), ("a/org/m:free", "a/org/m:free#k1"), ("b/m", "b/m#k1"), ("a/", ""), ("c/m", ""), ("/m", "")],
)
def test_a_name_written_out_reaches_any_model_of_a_configured_provider(build: Builder, name: str, label: str) -> None:
    found = build(provider("a", URL) + provider("b", URL)).find(name)
    assert (labels(found) if found is not None else []) == ([label] if label else [])


def test_a_route_goes_before_a_name_written_out(build: Builder) -> None:
    catalog = build(provider("a", URL) + provider("b", URL) + route("a/m", "b/other"))
    assert labels(catalog.find("a/m")) == ["b/other#k1"]


def test_a_model_that_one_provider_lists_needs_no_route(build: Builder) -> None:
    one = provider("a", URL).replace("[[providers.keys]]", 'models = ["small", "both"]\n[[providers.keys]]')
    two = provider("b", URL).replace("[[providers.keys]]", 'models = ["both"]\n[[providers.keys]]')
    catalog = build(one + two)
    assert labels(catalog.find("small")) == ["a/small#k1"]
    assert catalog.find("both") is None  # which of the two was meant is not for the hub to guess
    catalog.places["b"].listed = frozenset({"claude-haiku-4-5-20251001"})
    assert labels(catalog.find("claude-haiku-4-5")) == ["b/claude-haiku-4-5#k1"]
    assert catalog.find("claude-haiku") is not None
    assert catalog.find("claude-haik") is None


def test_a_provider_alone_that_lists_nothing_is_asked_for_anything(build: Builder) -> None:
    catalog = build(provider("a", URL))
    assert catalog.find("whatever") is None  # it has to be asked first
    catalog.places["a"].listed = frozenset()
    assert labels(catalog.find("whatever")) == ["a/whatever#k1"]
    listing = build(provider("a", URL))
    listing.places["a"].listed = frozenset({"small"})
    assert listing.find("whatever") is None
    assert build(provider("a", URL) + provider("b", URL)).find("whatever") is None


def test_names_that_callers_make_up_are_not_remembered_without_end(build: Builder) -> None:
    catalog = build(provider("a", URL) + route("fast", "a/kept"))
    kept = catalog.find("fast")
    assert kept is not None
    for number in range(2 * AD_HOC_ROUTES):
        assert catalog.find(f"a/made-up-{number}") is not None
    assert len(catalog._ad_hoc) == AD_HOC_ROUTES
    assert len(catalog.stats) <= AD_HOC_ROUTES + 1
    assert kept.standing[0] in catalog.stats
    assert catalog.find("a/" + "x" * 1000) is None


def test_an_evicted_name_does_not_take_a_route_s_numbers_along(build: Builder) -> None:
    catalog = build(provider("a", URL) + route("fast", "a/kept"))
    shared = catalog.find("a/kept")
    for number in range(AD_HOC_ROUTES + 5):
        catalog.find(f"a/made-up-{number}")
    fast, again = catalog.find("fast"), catalog.find("a/kept")
    assert fast is not None and again is not None and shared is not None
    assert again is not shared
    assert again.standing[0] is fast.standing[0]


def test_a_name_asked_for_twice_is_one_route(build: Builder) -> None:
    catalog = build(provider("a", URL))
    assert catalog.find("a/m") is catalog.find("a/m")


def test_numbers_are_kept_a_candidate_whatever_routes_it_stands_in(build: Builder) -> None:
    catalog = build(provider("a", URL) + route("one", "a/m") + route("two", "a/m"))
    one, two, written = catalog.find("one"), catalog.find("two"), catalog.find("a/m")
    assert one is not None and two is not None and written is not None
    assert one.standing[0] is two.standing[0] is written.standing[0]
    assert catalog.stats == one.standing


def test_the_same_model_of_other_weight_is_a_candidate_of_its_own(build: Builder) -> None:
    catalog = build(provider("a", URL) + provider("b", URL) + route("one", "a/m") + route("two", "b/x", "a/m"))
    one, two = catalog.find("one"), catalog.find("two")
    assert one is not None and two is not None
    assert one.standing[0] is not two.standing[1]
    assert one.standing[0].candidate.label == two.standing[1].candidate.label


def test_cards_have_routes_and_what_providers_list(build: Builder) -> None:
    listing = provider("a", URL).replace("[[providers.keys]]", 'models = ["small"]\n[[providers.keys]]')
    catalog = build(listing + route("fast", "a/small"))
    catalog.places["a"].listed = frozenset({"small", "big"})
    assert [(card.id, card.owner) for card in catalog.cards()] == [
        ("fast", "llm-hub"),
        ("a/big", "a"),
        ("a/small", "a"),
    ]


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "a\x1b[31m"])
def test_odd_names_are_not_said_back(build: Builder, name: str) -> None:
    error = build(provider("a", URL) + provider("b", URL)).unknown(name)
    assert name not in error.message
    assert (error.status, error.param) == (404, "model")


def test_candidates_of_an_unknown_provider(build: Builder) -> None:
    with pytest.raises(PluginError, match="there is no provider z"):
        build(provider("a", URL)).candidates(Deployment("z", "m"))


def test_routes_with_one_strategy_share_it(build: Builder) -> None:
    catalog = build(provider("a", URL) + route("one", "a/m") + route("two", "a/m"))
    strategies: set[Strategy] = {each.strategy for each in catalog.routes.values()}
    assert len(strategies) == 1
