"""Redis down at a COMMIT: the write is refused, noted with what it voids, or goes on.

The guards, taken away, turn these red: the rollback of a refused write, the note in the write's own transaction
(``is_kept_with_the_write_or_not_at_all``), the strictest of several policies, what ``IGNORE_EXCEPTIONS`` has no say in.
"""

import io
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.core.signals import request_started
from django.db import IntegrityError, connection, connections, transaction
from redis.exceptions import RedisError

from bergizi_redis.cache import outbox
from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.cache.outbox import Relay, policy_of, relay
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.models import OwedBump
from bergizi_redis.testing import pause_at, redis_is_down
from tests.models import Dish
from tests.servers import PrivateServer

committing = pytest.mark.django_db(transaction=True, databases=["default", "other"])
DISH = Dish._meta.db_table


@pytest.fixture
def policy(settings: Any) -> Callable[[Any], None]:
    def choose(told: Any) -> None:
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "WRITES_ON_OUTAGE": told}

    return choose


def in_atomic() -> None:
    with transaction.atomic():
        Dish.objects.create(name="soto")


def by_itself() -> None:
    Dish.objects.create(name="soto")


both = pytest.mark.parametrize("write", [in_atomic, by_itself])


def fresh_process(cache: Any) -> None:
    """Forget what this process owes, as another one that has seen no outage."""
    deleted, bumped = cache.state.unsent.owed()
    cache.state.unsent.settled(deleted, bumped)


@committing
@both
def test_a_refused_write_is_rolled_back(server: PrivateServer, policy: Any, write: Callable[[], None]) -> None:
    policy("refuse")
    Dish.objects.count()
    server.kill()
    with pytest.raises(RedisUnavailable, match="refused"):
        write()
    assert not Dish.objects.exists()
    assert connection.autocommit
    server.start()
    write()
    assert Dish.objects.count() == 1


@committing
@both
def test_what_a_write_voids_is_noted_with_it_and_relayed_by_anybody(
    server: PrivateServer, write: Callable[[], None]
) -> None:
    cache: Any = caches["default"]
    cache.set("menu", "old", tags=[DISH])
    kept = server.client().dump(cache.made("menu"))
    server.kill()
    write()
    assert Dish.objects.count() == 1
    assert set(OwedBump.objects.values_list("key", flat=True)) == cache.scope.bumped_by([DISH])
    server.start()
    fresh_process(cache)
    assert kept is not None
    out = io.StringIO()
    call_command("redis_invalidate", "--owed", stdout=out)
    assert out.getvalue() == "Invalidated 2 noted versions.\n"
    assert not OwedBump.objects.exists()
    assert relay("default") == 0


@committing
def test_the_note_is_kept_with_the_write_or_not_at_all(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Dish.objects.create(pk=1, name="soto")
    server.kill()
    with pytest.raises(IntegrityError), transaction.atomic():
        Dish.objects.create(pk=1, name="the same key")
    assert not OwedBump.objects.exists()

    def lost(self: Any) -> None:
        raise ConnectionResetError("the database went away at COMMIT")

    monkeypatch.setattr(type(connections["default"]), "_commit", lost)
    with pytest.raises(ConnectionResetError), transaction.atomic():
        Dish.objects.create(pk=2, name="rawon")
    monkeypatch.undo()
    # SQLite commits what is open when Django turns autocommit on again.
    assert OwedBump.objects.exists() == Dish.objects.filter(pk=2).exists()


@pytest.fixture
def outspoken(settings: Any) -> Any:
    """The cache, where ``IGNORE_EXCEPTIONS`` is off."""
    alias = {**settings.CACHES["default"], "OPTIONS": {"IGNORE_EXCEPTIONS": False}}
    settings.CACHES = {**settings.CACHES, "default": alias}
    return caches["default"]


@committing
@both
def test_a_cache_that_ignores_no_exception_lets_the_policy_decide_on_writes(
    outspoken: Any, write: Callable[[], None]
) -> None:
    with redis_is_down():
        with pytest.raises(RedisError):
            outspoken.get("k")
        write()
    assert Dish.objects.exists()
    assert OwedBump.objects.exists()


@committing
@both
def test_a_write_that_is_committed_is_no_error_whatever_becomes_of_its_release(
    outspoken: Any, write: Callable[[], None]
) -> None:
    outspoken.set("k", "old", tags=[DISH])
    with pause_at("before_release") as paused:
        writing = paused.start(write)
        with redis_is_down():
            paused.resume()
            writing.result(60)
    assert Dish.objects.exists()
    assert outspoken.get("k") is None


@committing
def test_the_next_request_after_an_outage_relays(server: PrivateServer) -> None:
    cache: Any = caches["default"]
    relay = Relay()
    relay.at_request()
    OwedBump.objects.create(key="cache:{@}:v:somewhere")
    relay.at_request()
    assert OwedBump.objects.exists()  # not due
    server.kill()
    cache.get("anything")
    request_started.send(type(None), environ={})  # that of the process is wired; neither fails
    relay.at_request()
    assert OwedBump.objects.exists()
    server.start()
    relay.at_request()
    assert not OwedBump.objects.exists()


@committing
def test_the_first_request_of_a_process_relays_what_another_one_has_noted() -> None:
    """That one may have been killed by the same power cut as Redis."""
    OwedBump.objects.create(key="cache:{@}:v:somewhere")
    Relay().at_request()
    assert not OwedBump.objects.exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_a_look_that_finds_nothing_is_none_of_the_queries_that_tests_count(django_assert_num_queries: Any) -> None:
    outbox._has_table.clear()
    with django_assert_num_queries(0):
        Relay().at_request()


def test_where_a_test_forbids_the_database_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay()
    relay.at_request()
    assert not caplog.records
    assert not relay.is_due(time.monotonic(), 0), "it is not tried at each request"


@committing
def test_a_database_without_the_outbox_is_not_asked(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATABASE_ROUTERS = [NowhereElse()]
    monkeypatch.setattr(connections["other"], "ensure_connection", lambda: pytest.fail("asked"))
    assert not outbox.holds_any(connections["other"])


class NowhereElse:
    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool:
        return db == "default"


def test_a_request_looks_at_first_each_minute_and_after_an_outage() -> None:
    relay = Relay()
    assert [relay.is_due(at, outages) for at, outages in [(0, 0), (1, 0), (59, 0), (60, 0), (61, 1), (62, 1)]] == [
        True, False, False, True, True, False,
    ]  # fmt: skip


@committing
def test_the_command_says_that_redis_is_down(server: PrivateServer) -> None:
    OwedBump.objects.create(key="cache:{@}:v:somewhere")
    server.kill()
    with pytest.raises(CommandError, match="stays noted"):
        call_command("redis_invalidate", "--owed")
    assert OwedBump.objects.exists()


@committing
def test_without_the_table_the_write_goes_on_and_the_log_says_what_to_do(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "TABLE", "not_migrated")
    monkeypatch.setattr(outbox, "_has_table", {})
    monkeypatch.setattr(outbox, "_told_at", {})
    monkeypatch.setattr(outbox, "LOG_EVERY", float("inf"))
    server.kill()
    with caplog.at_level(logging.WARNING, "bergizi_redis.cache"):
        in_atomic()
        in_atomic()
    assert Dish.objects.count() == 2
    assert caplog.text.count("run migrate") == 1  # not once a write


@committing
def test_who_proceeds_owes_the_bump_to_its_own_next_read(server: PrivateServer, policy: Any) -> None:
    policy("proceed")
    cache: Any = caches["default"]
    server.kill()
    in_atomic()
    assert not OwedBump.objects.exists()
    assert cache.state.unsent


@pytest.mark.parametrize(
    ("told", "tags", "expected"),
    [
        ("proceed", ["menus"], "proceed"),
        ({"stock": "refuse"}, ["menus"], "outbox"),
        ({"stock": "refuse"}, ["menus", "stock"], "refuse"),
        ({"stock": "refuse"}, ["stock#7"], "refuse"),
        ({"stock": "refuse"}, ["restock"], "outbox"),
        ({"*": "proceed", "stock": "outbox"}, ["menus"], "proceed"),
        ({"*": "proceed", "stock": "outbox"}, ["menus", "stock"], "outbox"),
    ],
)
def test_the_strictest_policy_of_what_is_touched_counts(policy: Any, told: Any, tags: list[str], expected: str) -> None:
    policy(told)
    cache: Any = caches["default"]
    assert policy_of(cache.scope_of("sppg-a").bumped_by(tags)) == expected
    assert policy_of(cache.scope_of(None).bumped_by(tags)) == expected


@committing
def test_a_domain_may_refuse_where_others_note(server: PrivateServer, policy: Any) -> None:
    policy({"stock": "refuse"})
    Dish.objects.count()
    server.kill()
    with transaction.atomic():
        touch(Touched(tenant="sppg-a", tags=["menus"]))
    with pytest.raises(RedisUnavailable), transaction.atomic():
        touch(Touched(tenant="sppg-a", tags=["stock"]))
