"""``OPTIONS: {"TENANT_SCOPED": True}``: every key and tag of the alias belongs to the tenant in force."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.exceptions import TenantError, TenantRequired
from bergizi_redis.tenancy import use_tenant
from tests.spoken import WAYS, Spoken


@pytest.fixture
def cache(settings: Any) -> TaggedRedisCache:
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": {"TENANT_SCOPED": True}}}
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def spoken(cache: TaggedRedisCache, request: pytest.FixtureRequest) -> Spoken:
    return Spoken(cache, request.param)


def test_each_tenant_has_values_of_its_own(spoken: Spoken) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            assert spoken.get("k") is None
            assert spoken.add("k", tenant)
            spoken.set("t", tenant, tags=["menus"])
            spoken.set_many({"m": tenant}, tags=["menus"])
            spoken.set("n", len(tenant))
            spoken.incr("n")
            assert spoken.get_or_set("g", tenant) == tenant
    with use_tenant("sppg-a"):
        assert spoken.get_many(["k", "t", "m", "n", "g"]) == {
            "k": "sppg-a", "t": "sppg-a", "m": "sppg-a", "n": 7, "g": "sppg-a",
        }  # fmt: skip
        spoken.delete("k")
        spoken.delete_many(["m"])
        spoken.incr_version("n")
    with use_tenant("sppg-b"):
        assert spoken.get_many(["k", "t", "m", "n"]) == {"k": "sppg-b", "t": "sppg-b", "m": "sppg-b", "n": 7}
        assert spoken.has_key("k")
        assert spoken.touch("k", 60)


def test_an_invalidation_reaches_the_tenant_in_force_or_the_one_named(spoken: Spoken) -> None:
    for tenant in ("sppg-a", "sppg-b", "sppg-c"):
        with use_tenant(tenant):
            spoken.set("t", 1, tags=["menus"])
    with use_tenant("sppg-a"):
        spoken.invalidate_tags(["menus"])
        assert spoken.get("t") is None
        spoken.invalidate_tags(["menus"], tenant="sppg-b")
    for tenant, left in (("sppg-b", None), ("sppg-c", 1)):
        with use_tenant(tenant):
            assert spoken.get("t") == left
            spoken.invalidate_all()
            assert spoken.get("t") is None


def test_clear_removes_what_the_tenant_stored(spoken: Spoken) -> None:
    for tenant in ("sppg-a", "sppg-ab"):
        with use_tenant(tenant):
            spoken.set("k", 1)
            spoken.set("t", 1, tags=["menus"])
    with use_tenant("sppg-a"):
        spoken.clear()
        assert spoken.get_many(["k", "t"]) == {}
    with use_tenant("sppg-ab"):
        assert spoken.get_many(["k", "t"]) == {"k": 1, "t": 1}


def test_without_a_tenant_every_method_says_so(spoken: Spoken) -> None:
    acts: tuple[Callable[[], Any], ...] = (
        lambda: spoken.get("k"),
        lambda: spoken.set("k", 1),
        lambda: spoken.set("k", 1, tags=["menus"]),
        lambda: spoken.add("k", 1),
        lambda: spoken.get_many(["k"]),
        lambda: spoken.set_many({"k": 1}),
        lambda: spoken.delete("k"),
        lambda: spoken.delete_many(["k"]),
        lambda: spoken.has_key("k"),
        lambda: spoken.touch("k"),
        lambda: spoken.incr("k"),
        lambda: spoken.incr_version("k"),
        lambda: spoken.get_or_set("k", 1),
        lambda: spoken.clear(),
        lambda: spoken.invalidate_tags(["menus"]),
        lambda: spoken.invalidate_all(),
        lambda: spoken._target.lookup("k"),
        lambda: spoken._target.ttl("k"),
        lambda: list(spoken._target.iter_keys("*")),
        lambda: spoken._target.lock("k"),
        lambda: spoken._target.delete_pattern("*"),
    )
    for act in acts:
        with pytest.raises(TenantRequired):
            act()


def test_the_methods_of_django_redis_stay_in_the_tenant_and_give_keys_back_as_they_were(
    cache: TaggedRedisCache,
) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            cache.set_many({"a:1": tenant, "b}:c": tenant}, 600)
            cache.sadd("set", tenant)
    with use_tenant("sppg-a"):
        assert sorted(cache.keys("*")) == sorted(cache.iter_keys("*")) == ["a:1", "b}:c", "set"]
        assert cache.smembers("set") == {"sppg-a"}
        assert 0 < cache.ttl("a:1") <= 600
        assert cache.expire("a:1", 300)
        with cache.lock("nightly", timeout=600), use_tenant("sppg-b"):
            assert cache.lock("nightly", timeout=600).acquire(blocking=False)
        assert cache.delete_pattern("*") >= 3
        assert cache.keys("*") == []
    with use_tenant("sppg-b"):
        assert cache.get("a:1") == "sppg-b"


def test_a_tenant_that_cannot_be_one_is_refused(cache: TaggedRedisCache) -> None:
    for tenant in ("a}b", ""):
        with pytest.raises(TenantError):
            cache.invalidate_tags(["menus"], tenant=tenant)
        with pytest.raises(TenantError):
            cache.invalidate_all(tenant=tenant)
