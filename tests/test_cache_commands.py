"""``manage.py redis_invalidate``: tags, one tenant's or all, and clear errors. (Redis down: test_cache_outage.py.)"""

from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import override_settings

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def stored(cache: TaggedRedisCache) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        menu.set(tenant, 1, tenant)
    cache.set("shared", 1, tags=["menu"])
    cache.set("other", 1, tags=["recipes"])


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
