"""What users type, as mypy must see it. Nothing here runs: ``mypy`` reads it with the rest of the tests.

``assert_type`` fixes a type; an ignored error with its code says that a mistake is found (mypy reports ignores that
are not needed).
"""

from collections.abc import Coroutine, Iterator
from typing import Any, assert_type

import redis
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import SHORT, Domain, menu, tagged_cache
from bergizi_redis.cache.invalidation import Touched, invalidates
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.queries import cache_query
from bergizi_redis.cache.vary import vary_on_query, vary_on_user
from bergizi_redis.cache.views import cache_view
from bergizi_redis.cache.warming import Warmed, plan, run, warmer
from bergizi_redis.conf import redis_url_from_env
from bergizi_redis.connections import Role, client
from bergizi_redis.health import check_redis_health
from bergizi_redis.security import lockout
from bergizi_redis.security.lockout import Attempt, LockedAccount, LockStatus
from bergizi_redis.security.ratelimit import Usage, aget_usage, get_usage, is_ratelimited, ratelimit
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.info import Session, SessionInfo
from bergizi_redis.sessions.statistics import SessionStats
from bergizi_redis.tenancy import current_tenant, find_tenant, use_tenant
from bergizi_redis.testing import (
    assert_invalidates,
    assert_keeps_warm,
    count_round_trips,
    isolated_redis,
    pause_at,
    redis_is_down,
)


class Dish(Model):
    class Meta:
        abstract = True


@cached(timeout=300, tags=["menus"], per_tenant=True)
def menu_list(status: str, limit: int = 10) -> list[str]:
    return [status] * limit


@cached(timeout=300)
async def prices(region: str) -> dict[str, int]:
    return {region: 1}


def cached_queries_are_query_sets(names: QuerySet[User, str]) -> None:
    assert_type(cache_query(User.objects.filter(is_active=True), timeout=60), QuerySet[User, User])
    assert_type(cache_query(names)[0], str)
    cache_query(User)  # type: ignore[call-overload]
    cache_query(User.objects.all(), "60")  # type: ignore[call-overload]


@cache_view(timeout=300, tags=["menus"], vary=[vary_on_user, vary_on_query("page")])
def page(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(number)


def cached_views_keep_their_signature(request: HttpRequest) -> None:
    assert_type(page(request, 1), HttpResponse)
    page(request, "1")  # type: ignore[arg-type]


def cached_functions_keep_their_signature() -> None:
    assert_type(menu_list("active"), list[str])
    assert_type(menu_list("active", limit=5), list[str])
    menu_list(1)  # type: ignore[arg-type]
    menu_list()  # type: ignore[call-arg]
    menu_list.invalidate(status="active")
    menu_list.invalidate(state="active")  # type: ignore[call-arg]
    called: Coroutine[Any, Any, dict[str, int]] = prices("java")
    called.close()
    cached(tags=["menus"])  # type: ignore[call-arg]


async def cached_coroutine_functions_stay_awaitable() -> None:
    assert_type(await prices("java"), dict[str, int])
    await prices.ainvalidate("java")
    await prices.ainvalidate(1)  # type: ignore[arg-type]


def caches_take_tags() -> None:
    cache = tagged_cache()
    assert_type(cache, TaggedRedisCache)
    assert_type(cache.set("k", 1, timeout=300, tags=["menus"]), bool)
    cache.set("k", 1, tags=[1])  # type: ignore[list-item]
    cache.invalidate_tags(["menus"], tenant="sppg-jakarta-001")
    with cache.lookup("k", tags=["menus"]) as entry:
        assert_type(entry, Lookup)
        if entry.missed:
            assert_type(entry.store(1, timeout=300), bool)


def domains_return_what_is_computed() -> None:
    orders = Domain("order", ttl=SHORT, tags=["orders"])
    assert_type(orders.get_or_compute("sppg-1", 7, lambda: ["rice"]), list[str])
    assert_type(menu.set("sppg-1", 42, {"name": "Soto"}), bool)
    menu.set_list("sppg-1", [1, 2])
    menu.invalidate("sppg-1")
    orders.ttl = 5  # type: ignore[misc]


@invalidates(Dish)
def touched(instance: Dish) -> Touched:
    return Touched(tenant=None, tags=["menus", f"dish:{instance.pk}"])


@warmer("dishes")
def warm_dishes(tenant: str) -> None:
    assert_type(run(plan(["dishes"], [tenant])), Iterator[Warmed])


def tenants_are_text() -> None:
    with use_tenant("sppg-1"):
        assert_type(current_tenant(), str)
    assert_type(find_tenant(), str | None)


def sessions_are_values() -> None:
    made = sessions.create_session(
        user_id="user123", tenant="sppg-1", role="SPPG_ADMIN", user_type="SPPG_USER", email="a@b.id", name="A",
        permissions=["MENU_MANAGE"], ip=None, user_agent=None,
    )  # fmt: skip
    assert_type(made, Session)
    assert_type(sessions.validate_session(made.key, permission="MENU_MANAGE"), SessionInfo | None)
    assert_type(sessions.sessions_for_user("user123"), list[SessionInfo])
    assert_type(sessions.revoke(made.sid), bool)
    assert_type(sessions.revoke_user("user123", keep=made.key), int)
    assert_type(sessions.stats(), SessionStats)


async def sessions_have_async_twins() -> None:
    assert_type(await sessions.avalidate_session("key"), SessionInfo | None)
    assert_type(await sessions.arevoke_tenant("sppg-1"), int)


def lockout_answers_with_values(request: HttpRequest) -> None:
    assert_type(lockout.is_account_locked("a@b.id"), LockStatus)
    assert_type(lockout.record_login_attempt("a@b.id", success=False, ip="192.0.2.1"), LockStatus)
    assert_type(lockout.locked_accounts(tenant=None), list[LockedAccount])
    with lockout.guard_login("a@b.id", ip="192.0.2.1", request=request) as attempt:
        assert_type(attempt, Attempt)
        attempt.succeeded(None)


async def lockout_is_awaited_natively() -> None:
    assert_type(await lockout.aunlock_account("a@b.id"), bool)
    await lockout.aforget_devices(object())
    async with lockout.guard_login("a@b.id", scope="otp") as attempt:
        assert_type(attempt.remaining, int)


@ratelimit(key="ip", rate="5/m", algorithm="gcra", cost=lambda group, request: len(request.body))
def limited(request: HttpRequest, pk: int) -> HttpResponse:
    usage = get_usage(request, "api", key="ip", rate=(5, 60), increment=True)
    assert_type(usage, Usage | None)
    assert_type(is_ratelimited(request, fn=limited, key="user", rate="5/m", shadow=True), bool)
    return HttpResponse(str(usage["retry_after"] if usage else pk))


@ratelimit(key="user", rate=None)
async def limited_too(request: HttpRequest) -> HttpResponse:
    assert_type(await aget_usage(request, "api", key="ip", rate="5/m"), Usage | None)
    return HttpResponse()


async def limits(request: HttpRequest) -> None:
    assert_type(limited(request, 1), HttpResponse)
    limited(request, "1")  # type: ignore[arg-type]
    assert_type(await limited_too(request), HttpResponse)
    ratelimit("api", "ip", "5/m", "POST", True, "exact")  # type: ignore[call-arg]


def the_rest() -> None:
    assert_type(redis_url_from_env(), str | None)
    assert_type(check_redis_health()["isConnected"], bool)
    driver: redis.Redis = client("default", Role.BLOCKING)
    driver.ping()


def tests_of_projects(dish: Model) -> None:
    with isolated_redis() as name, redis_is_down(hung=True), count_round_trips() as trips:
        assert_type(name, str)
        assert_type(trips.count, int)
    with pause_at("before_store", times=2) as paused:
        reading = paused.start(menu_list, "active", limit=5)
        assert_type(reading.result(), list[str])
        paused.start(menu_list)  # type: ignore[call-arg]
    with assert_invalidates(Dish, menu_list.lookup("active")), assert_keeps_warm(None, "card", tags=["prices"]):
        pass
    assert_invalidates(dish, "card", tags=["menus"])
    with assert_invalidates(dish, "card"):  # type: ignore[attr-defined]
        pass
    assert_invalidates(Dish, 42)  # type: ignore[call-overload]


async def tests_of_projects_that_await() -> None:
    with pause_at("before_store") as paused:
        reading = await paused.astart(menu.aget("sppg-1", 42))
        assert_type(await reading, Any)
    async with assert_keeps_warm(Dish, "card"):
        pass
