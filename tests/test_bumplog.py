"""Each bump leaves a trace of what was voided, when and by whom, in the step that voids it.

Taken away, the ``pcall`` of the scripts turns ``a_log_that_cannot_be_written`` red.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.management import call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from bergizi_redis.cache.actors import LONGEST, acting
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.bumplog import LENGTH, MOST_NAMES, Bump, log_of, scope_and_name, since
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.cache.tags import Scope
from bergizi_redis.exchange import speak
from tests.servers import PrivateServer


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def bumps(cache: TaggedRedisCache, raw: "redis.Redis") -> Callable[[str | None], list[Bump]]:
    def read(tenant: str | None = None) -> list[Bump]:
        log = log_of(Scope(tenant, cache.key_prefix).everything())
        assert log
        return speak(since(log, 0), raw)[0]

    return read


def save_menu(cache: TaggedRedisCache) -> None:
    cache.invalidate_tags(["menus"], tenant="sppg-a")


HERE = __name__


def test_a_bump_is_noted_in_the_scopes_that_it_voids(cache: TaggedRedisCache, bumps: Any, raw: "redis.Redis") -> None:
    save_menu(cache)
    now = int(raw.time()[0])
    (mine,), (shared,) = bumps("sppg-a"), bumps(None)
    assert (mine.names, shared.names) == (("v:menus",), ("v:menus",))
    assert mine.who == f"{HERE}.save_menu"
    assert abs(mine.at - now) < 60
    assert bumps("sppg-b") == []


def test_it_costs_no_round_trip_and_is_one_step(cache: TaggedRedisCache, commands: Any) -> None:
    with commands() as log:
        save_menu(cache)
    assert [line.split(" ", 1)[0] for line in log] == ["EVAL"]


@pytest.mark.django_db(transaction=True)
def test_a_commit_is_noted_once_its_fence_is_down(bumps: Any) -> None:
    def receive() -> None:
        with transaction.atomic():
            touch(Touched(tenant="sppg-a", tags=["menus"]))

    receive()
    (bump,) = bumps("sppg-a")
    assert "v:menus" in bump.names
    assert bump.who.endswith("receive")


def test_acting_names_the_work_and_is_put_back(cache: TaggedRedisCache, bumps: Any) -> None:
    with acting("nightly import"):
        save_menu(cache)
    with acting("x" * 500):
        asyncio.run(cache.ainvalidate_tags(["menus"], tenant="sppg-a"))
    save_menu(cache)
    assert [bump.who for bump in bumps("sppg-a")] == [f"{HERE}.save_menu", "x" * LONGEST, "nightly import"]


def update(request: HttpRequest, pk: int) -> HttpResponse:
    touch(Touched(tenant="sppg-a", tags=["menus"]))
    return HttpResponse()


urlpatterns = [path("menus/<int:pk>/", update)]


@pytest.mark.django_db(transaction=True)
def test_with_atomic_requests_the_route_is_named_and_not_what_a_visitor_put_into_it(
    bumps: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import connection

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with override_settings(ROOT_URLCONF=HERE, MIDDLEWARE=[]):
        assert Client().post("/menus/4711/").status_code == 200
    assert bumps("sppg-a")[0].who == "POST /menus/<int:pk>/"


def test_a_command_is_named(bumps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["manage.py", "redis_invalidate", "menus"])
    monkeypatch.setattr("bergizi_redis.cache.actors._on_the_stack", str)  # as without the test around it
    call_command("redis_invalidate", "menus", "--tenant", "sppg-a")
    assert bumps("sppg-a")[0].who == "command redis_invalidate"


def test_the_log_is_capped(cache: TaggedRedisCache, raw: "redis.Redis", bumps: Any) -> None:
    exchange_of = cache.entries.bump
    version_keys = Scope("sppg-a", cache.key_prefix).bumped_by(["menus"])
    for _ in range(LENGTH + 150):
        speak(exchange_of(version_keys), raw)
    assert LENGTH <= len(bumps("sppg-a")) <= LENGTH + 100
    log = log_of(Scope("sppg-a", cache.key_prefix).everything())
    assert log
    assert 29 * 24 * 3600 < raw.ttl(log) <= 30 * 24 * 3600


def test_of_very_many_names_the_rest_is_counted(cache: TaggedRedisCache, bumps: Any) -> None:
    cache.invalidate_tags([f"menu:{number}" for number in range(1_000)], tenant="sppg-a")
    (bump,) = bumps("sppg-a")
    assert (len(bump.names), bump.unnamed) == (MOST_NAMES, 1_000 - MOST_NAMES)


def test_a_log_that_cannot_be_written_keeps_nothing_alive(cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    """Without ``pcall`` the bump would fail with the log."""
    menu.set("sppg-a", 1, "old")
    log = log_of(Scope("sppg-a", cache.key_prefix).everything())
    assert log
    raw.set(log, "somebody else's")
    menu.invalidate("sppg-a")
    assert menu.get("sppg-a", 1) is None


def test_what_an_outage_kept_back_says_so(server: PrivateServer) -> None:
    cache: Any = caches["default"]
    server.kill()
    save_menu(cache)
    server.start()
    cache.set("k", 1)
    log = log_of(Scope("sppg-a", cache.key_prefix).everything())
    assert log
    with server.client() as client:
        (bump,), is_whole = speak(since(log, 0), client)
    assert bump.who == "what an outage had kept back"
    assert is_whole


def test_names_are_taken_from_any_version_key() -> None:
    assert scope_and_name("site:shop:cache:{sppg-a}:v:menu}:1") == ("sppg-a", "v:menu}:1")
    assert scope_and_name("cache:{@}:epoch") == ("@", "epoch")
    assert log_of("no version") is None
    assert scope_and_name("no version") == ("", "no version")
