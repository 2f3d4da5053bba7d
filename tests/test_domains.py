"""Domain caches: the calls of the contract, blocking and awaiting; their keys, lives and tenants."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from bergizi_redis.cache import domains
from bergizi_redis.cache.domains import (
    LONG,
    SHORT,
    Domain,
    distribution,
    hrd,
    inventory,
    menu,
    procurement,
    production,
    tagged_cache,
)
from bergizi_redis.exceptions import ConfigurationError, TenantError, TenantRequired
from bergizi_redis.tenancy import use_tenant
from tests.spoken import WAYS, Spoken

TENANT = "sppg-jakarta-001"
SIX = {"menu": LONG, "hrd": LONG, "procurement": SHORT, "production": SHORT, "inventory": SHORT, "distribution": SHORT}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def menus(way: str) -> Spoken:
    return Spoken(menu, way)


def test_the_calls_of_the_contract(menus: Spoken) -> None:
    data = {"name": "Soto Betawi", "kcal": 312}
    rows = [data, {"name": "Gado-gado"}]
    assert menus.get(TENANT, 42) is None
    assert menus.get(TENANT, 42, "default") == "default"
    assert menus.set(TENANT, 42, data) is True
    assert menus.get(TENANT, 42) == data
    assert menus.get_list(TENANT) is None
    assert menus.set_list(TENANT, rows)
    assert menus.get_list(TENANT) == rows
    assert menus.set_list(TENANT, rows[:1], name="active")
    assert (menus.get_list(TENANT, name="active"), menus.get_list(TENANT)) == (rows[:1], rows)
    assert menus.get_or_compute(TENANT, 42, lambda: pytest.fail("computed")) == data
    assert menus.get_or_compute(TENANT, 43, lambda: "computed") == "computed"
    assert menus.get(TENANT, 43) == "computed"
    menus.invalidate(TENANT)
    assert [menus.get(TENANT, 42), menus.get(TENANT, 43), menus.get_list(TENANT)] == [None] * 3


def test_a_coroutine_function_may_compute() -> None:
    async def compute() -> str:
        return "computed"

    menus = Spoken(menu, "awaiting")
    assert menus.get_or_compute(TENANT, 1, compute) == "computed"
    assert menus.get_or_compute(TENANT, 2, lambda: compute()) == "computed"
    assert menu.get(TENANT, 2) == "computed"


def test_none_is_a_hit(menus: Spoken) -> None:
    menus.set(TENANT, 1, None)
    assert menus.get(TENANT, 1, "default") is None
    menus.set_list(TENANT, [])
    assert menus.get_list(TENANT, "default") == []
    assert menus.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")) is None


def test_one_entry_is_invalidated_with_the_lists_and_few_others(menus: Spoken) -> None:
    for ident in range(200):
        menu.set(TENANT, ident, ident)
        menu.set("sppg-b", ident, ident)
    menus.set_list(TENANT, [1])
    menus.set_list("sppg-b", [1])
    inventory.set(TENANT, 42, 1)
    menus.invalidate(TENANT, 42)
    assert menu.get(TENANT, 42) is None
    assert menus.get_list(TENANT) is None  # it may hold the entry
    assert sum(menu.get(TENANT, ident) is not None for ident in range(200)) >= 180
    assert [menu.get("sppg-b", 42), menus.get_list("sppg-b"), inventory.get(TENANT, 42)] == [42, [1], 1]
    menus.invalidate(TENANT, "42")  # the same name
    menu.set(TENANT, 42, "new")
    menus.invalidate(TENANT, "42")
    assert menu.get(TENANT, 42) is None


@pytest.mark.parametrize("name", SIX)
def test_the_six_domains_have_their_lives_and_keys(name: str, raw: "Redis", prefix: str) -> None:
    domain: Domain = getattr(domains, name)
    assert domain in (menu, hrd, procurement, production, inventory, distribution)
    domain.set(TENANT, 42, "x")
    key = f"{prefix}:cache:{{{TENANT}}}:{name}:42"
    assert SIX[name] - 60 < raw.ttl(key) <= SIX[name]
    domain.set(TENANT, 42, "x", ttl=70)
    assert 0 < raw.ttl(key) <= 70
    domain.set_list(TENANT, [])
    assert SIX[name] - 60 < raw.ttl(f"{prefix}:cache:{{{TENANT}}}:{name}.list:all") <= SIX[name]
    assert (LONG, SHORT) == (7200, 300)


def test_an_entry_that_has_run_out_is_missing(menus: Spoken, raw: "Redis", prefix: str) -> None:
    menus.set(TENANT, 42, "x")
    raw.pexpire(f"{prefix}:cache:{{{TENANT}}}:menu:42", 0)
    assert menus.get(TENANT, 42) is None


def test_a_domain_of_the_project_heeds_its_own_tags(way: str) -> None:
    orders = Domain("order", ttl=SHORT, tags=["orders"])
    spoken = Spoken(orders, way)
    for stale in (["orders"], ["order"]):
        spoken.set(TENANT, 1, "x")
        Spoken(tagged_cache(), way).invalidate_tags(stale, tenant=TENANT)
        assert spoken.get(TENANT, 1) is None
    spoken.set(TENANT, 1, "x")
    Spoken(tagged_cache(), way).invalidate_tags(["menu"])
    assert spoken.get(TENANT, 1) == "x"


def test_the_tenant_in_force_is_meant_where_none_is_named(menus: Spoken) -> None:
    with use_tenant("sppg-a"):
        menus.set(None, 1, "a")
        menus.set_list(None, ["a"])
    assert menus.get("sppg-a", 1) == "a"
    assert menus.get("sppg-b", 1) is None
    with use_tenant("sppg-b"):
        assert menus.get(None, 1) is None
        menus.invalidate(None)
    with use_tenant("sppg-a"):
        assert menus.get_list(None) == ["a"]
        menus.invalidate(None, 1)
    assert menus.get("sppg-a", 1) is None


def test_without_a_tenant_every_call_says_so(menus: Spoken) -> None:
    acts: tuple[Callable[[], Any], ...] = (
        lambda: menus.get(None, 1),
        lambda: menus.set(None, 1, 1),
        lambda: menus.get_list(None),
        lambda: menus.set_list(None, []),
        lambda: menus.get_or_compute(None, 1, int),
        lambda: menus.invalidate(None),
        lambda: menus.invalidate(None, 1),
    )
    for act in acts:
        with pytest.raises(TenantRequired):
            act()


@pytest.mark.parametrize("tenant", ["", "a b", "{a}", "a:b", "*", "ß", "x" * 65, 7])
def test_a_tenant_that_cannot_be_one_is_refused(menus: Spoken, tenant: Any) -> None:
    with pytest.raises(TenantError, match="not a tenant id"):
        menus.set(tenant, 1, 1)


ODD = [
    "",
    " ",
    "a:b",
    "{x}",
    "*",
    "?[a]",
    "\n",
    "\x00",
    "ß🍛",
    "\ud800",
    "x" * 120,
    "x" * 121,
    "x" * 10_000,
    -1,
    1.5,
    None,
]


def test_names_may_hold_anything_and_are_never_mistaken_for_one_another(menus: Spoken) -> None:
    for ident in ODD:
        assert menus.set(TENANT, ident, repr(ident))
    for ident in ODD:
        assert menus.get(TENANT, ident) == repr(ident)
    assert menus.get(TENANT, "None") == "None"  # a number and its digits are one name, and so is None


@given(st.lists(st.text(max_size=200), min_size=2, max_size=5, unique=True))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_other_names_are_other_entries(idents: list[str]) -> None:
    for ident in idents:
        menu.set(TENANT, ident, ident)
    assert [menu.get(TENANT, ident) for ident in idents] == idents


def test_a_name_cannot_be_written_so_that_it_is_a_version(raw: "Redis") -> None:
    """A domain called ``v`` would store where the versions of tags are."""
    for name in ("v", "e", "tenant", "epoch"):
        domain = Domain(name, tags=["menu"])
        domain.set(TENANT, "menu", b"12345678")
        assert domain.get(TENANT, "menu") == b"12345678"
        menu.set(TENANT, 1, "x")
        domain.set(TENANT, "menu", b"87654321")
        assert menu.get(TENANT, 1) == "x"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a.list", "1", None])
def test_a_domain_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="Domain name"):
        Domain(name)


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"ttl": -1}, {"ttl": "5"}, {"ttl": True}, {"ttl": float("nan")},
                                   {"tags": "orders"}, {"tags": [1]}, {"tags": [""]}, {"tags": 5}])  # fmt: skip
def test_a_domain_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Domain 'order'"):
        Domain("order", **wrong)


@override_settings(BERGIZI_REDIS={"CACHE_ALIAS": "kitchen"})
def test_a_missing_alias_is_told(menus: Spoken) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("CACHES['kitchen']")):
        menus.get(TENANT, 1)


@override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}})
def test_an_alias_that_cannot_hold_tags_is_told(menus: Spoken) -> None:
    with pytest.raises(ConfigurationError, match="DummyCache"):
        menus.get(TENANT, 1)


def test_domains_are_counted_apart(menus: Spoken) -> None:
    def counted() -> dict[str, int]:
        return dict(caches["default"].stats()["by_domain"].get("menu", {}))  # type: ignore[attr-defined]

    before = counted()
    menus.get(TENANT, 1)
    menus.set(TENANT, 1, "x")
    menus.get(TENANT, 1)
    menus.invalidate(TENANT)
    menus.get(TENANT, 1)
    after = counted()
    assert {event: after[event] - before.get(event, 0) for event in ("hits", "misses", "stores", "stale")} == {
        "hits": 1, "misses": 2, "stores": 1, "stale": 1,
    }  # fmt: skip


def test_an_invalidation_by_hand(way: str) -> None:
    with menu.lookup(TENANT, 1) as entry:
        menu.invalidate(TENANT, 1)
        entry.store("old")
    assert Spoken(menu, way).get(TENANT, 1) is None
