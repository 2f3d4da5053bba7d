"""``manage.py redis_invalidate``: tags, one tenant's or all, and clear errors. (Redis down: test_cache_outage.py.)"""

import asyncio
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import override_settings

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.signals import tags_invalidated
from bergizi_redis.tenancy import use_tenant


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def stored(cache: TaggedRedisCache) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        menu.set(tenant, 1, tenant)
    cache.set("shared", 1, tags=["menu"])
    cache.set("other", 1, tags=["recipes"])


@pytest.fixture
def scoped(settings: Any) -> TaggedRedisCache:
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": {"TENANT_SCOPED": True}}}
    return caches["default"]  # type: ignore[return-value]


def left() -> list[Any]:
    cache = caches["default"]
    return [menu.get("sppg-a", 1), menu.get("sppg-b", 1), cache.get("shared"), cache.get("other")]


def said(*arguments: str) -> str:
    output = StringIO()
    call_command("redis_invalidate", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize(
    ("arguments", "text", "remaining"),
    [
        (["menu"], "menu for every tenant", [None, None, None, 1]),
        (["menu", "recipes"], "menu, recipes for every tenant", [None, None, None, None]),
        (["menu", "--tenant", "sppg-a"], "menu for sppg-a", [None, "sppg-b", None, 1]),
        (["--all"], "everything for every tenant", [None, None, None, None]),
        (["--all", "--tenant", "sppg-a"], "everything for sppg-a", [None, "sppg-b", 1, 1]),
        (["unknown"], "unknown for every tenant", ["sppg-a", "sppg-b", 1, 1]),
    ],
)
def test_what_is_named_is_void(arguments: list[str], text: str, remaining: list[Any]) -> None:
    assert said(*arguments) == f"Invalidated {text}.\n"
    assert left() == remaining


@pytest.mark.parametrize(
    ("arguments", "remaining"),
    [
        (["menus"], [None, None]),
        (["--all"], [None, None]),
        (["menus", "--tenant", "sppg-a"], [None, 1]),
        (["--all", "--tenant", "sppg-a"], [None, 1]),
    ],
)
def test_every_tenant_is_meant_where_an_alias_is_one_tenants_at_a_time(
    arguments: list[str], remaining: list[Any], scoped: TaggedRedisCache
) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            scoped.set("card", 1, tags=["menus"])
    said(*arguments)
    found = []
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            found.append(scoped.get("card"))
    assert found == remaining


def test_a_key_of_a_tenant_is_explained(scoped: TaggedRedisCache) -> None:
    with use_tenant("sppg-a"):
        scoped.set("card", 1, tags=["menus"])
    output = StringIO()
    call_command("cache_stats", "--explain", "card", "--tenant", "sppg-a", stdout=output)
    assert "{sppg-a}:card: hit" in output.getvalue()


def test_no_tags_void_nothing_and_are_told_to_nobody(cache: TaggedRedisCache) -> None:
    """A signal without tags would mean everything."""
    told: list[Any] = []

    def hear(**what: Any) -> None:
        told.append(what["tags"])

    tags_invalidated.connect(hear)
    try:
        cache.invalidate_tags([])
        asyncio.run(cache.ainvalidate_tags([]))
        assert told == []
        cache.invalidate_all()
        assert told == [()]
    finally:
        tags_invalidated.disconnect(hear)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name the tags"),
        (["menu", "--all"], "Name the tags"),
        (["menu", "--tenant", "a}b"], "not a tenant id"),
        (["menu", "--tenant", ""], "not a tenant id"),
        (["a\x1fb"], "no tag"),
        ([""], "no tag"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_void(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        said(*arguments)
    assert left() == ["sppg-a", "sppg-b", 1, 1]


@override_settings(BERGIZI_REDIS={"CACHE_ALIAS": "kitchen"})
def test_a_missing_alias_is_told() -> None:
    with pytest.raises(CommandError, match="CACHES"):
        said("menu")
