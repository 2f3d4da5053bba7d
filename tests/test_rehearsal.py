"""``redis_is_down`` and ``count_round_trips``: real sockets, every client of this process, and nothing left behind."""

import asyncio
import logging
import threading

import pytest
import redis
import redis.asyncio
from django.core.cache import caches

from bergizi_redis.aconnections import aclient
from bergizi_redis.budget import within
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.circuit import circuit_of
from bergizi_redis.connections import Role, client
from bergizi_redis.rehearsal.roundtrips import commands_in
from bergizi_redis.testing import count_round_trips, redis_is_down
from tests.nearness import until
from tests.servers import PrivateServer, plain_client

GUARD = 60.0  # seconds until a test gives up, on a machine that may stand still for some


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "bergizi_redis.cache")


# Down


def test_reads_miss_while_redis_is_down_and_find_afterwards(cache: TaggedRedisCache) -> None:
    cache.set("k", 1)
    with redis_is_down():
        assert cache.get("k") is None
        assert cache.set("k", 2) is False
        with pytest.raises(redis.exceptions.ConnectionError, match="refused"):
            client().ping()
    assert client().ping() is True


def test_tasks_are_cut_off_as_well(cache: TaggedRedisCache) -> None:
    async def run() -> None:
        await cache.aset("k", 1)
        with redis_is_down():
            assert await cache.aget("k") is None
            with pytest.raises(redis.exceptions.ConnectionError, match=r"[Rr]efused|Connect call failed"):
                await aclient().ping()
        assert await aclient().ping() is True

    asyncio.run(run())


def test_a_loop_that_begins_during_the_outage_is_cut_off(cache: TaggedRedisCache) -> None:
    cache.set("k", 1)
    with redis_is_down():
        assert asyncio.run(cache.aget("k")) is None
    assert asyncio.run(cache.aget("k")) == 1


def test_what_the_outage_kept_from_being_sent_is_owed(cache: TaggedRedisCache) -> None:
    cache.set("k", "old", tags=["menus"])
    with redis_is_down():
        cache.invalidate_tags(["menus"])
    assert cache.get("k") is None


def test_a_clients_own_pool_and_every_role_are_cut_off(redis_url: str) -> None:
    with plain_client(redis_url) as own:
        own.ping()
        with redis_is_down():
            for asked in (own, *(client(role=role) for role in Role)):
                with pytest.raises(redis.exceptions.ConnectionError):
                    asked.ping()
        assert own.ping()


def test_who_waits_for_a_message_sees_the_link_end(prefix: str) -> None:
    blocking = client(role=Role.BLOCKING)
    began, ended = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        try:
            blocking.blpop([f"{prefix}:nothing"], timeout=GUARD)
        except redis.exceptions.ConnectionError:
            ended.set()

    waiter = threading.Thread(target=wait)
    with count_round_trips() as trips:
        waiter.start()
        assert began.wait(GUARD)
        until(lambda: trips.count, "the command is sent")
        with redis_is_down():
            assert ended.wait(GUARD)
    waiter.join(GUARD)


def test_a_silent_server_costs_the_budget_and_the_circuit_is_closed_again(cache: TaggedRedisCache) -> None:
    cache.set("k", 1)
    client().connection_pool.disconnect()  # or, with no time left for a second try, the end of a link is told
    with redis_is_down(hung=True):
        with pytest.raises(redis.exceptions.TimeoutError), within(0.1):
            client().ping()
        with pytest.raises(redis.exceptions.TimeoutError):  # in the 0.1 s of the circuit
            client().ping()
        assert cache.get("k") is None
        pool = client().connection_pool
    assert circuit_of(pool).allowance(0.1) == 0.1
    assert cache.get("k") == 1


def test_a_silent_server_is_silent_to_tasks_as_well(cache: TaggedRedisCache) -> None:
    async def run() -> None:
        with redis_is_down(hung=True):
            with pytest.raises(redis.exceptions.TimeoutError), within(0.1):
                await aclient().ping()
            with pytest.raises(redis.exceptions.TimeoutError):
                await aclient().ping()
            assert await cache.aget("k") is None
        assert await cache.aget("k") == 1

    cache.set("k", 1)
    asyncio.run(run())


def test_other_processes_and_the_server_go_on(server: PrivateServer, cache: TaggedRedisCache) -> None:
    cache.set("k", 1)
    assert server.process is not None
    with redis_is_down():
        assert server.process.poll() is None
    assert cache.get("k") == 1


def test_outages_may_be_nested() -> None:
    with redis_is_down():
        with redis_is_down(hung=True):
            pass
        with pytest.raises(redis.exceptions.ConnectionError, match="refused"):
            client().ping()
    assert client().ping()


def test_a_failing_block_ends_the_outage() -> None:
    with pytest.raises(ZeroDivisionError), redis_is_down():
        _ = 1 / 0
    assert client().ping()


# Counting


def test_a_hit_is_one_round_trip() -> None:
    menu.get_or_compute("sppg-a", 42, lambda: 1)
    with count_round_trips() as trips:
        menu.get_or_compute("sppg-a", 42, lambda: 1)
    assert trips.sent == [["MGET"]]
    assert (trips.count, repr(trips)) == (1, "<1 round trips: MGET>")


def test_tasks_and_threads_are_counted(cache: TaggedRedisCache) -> None:
    with count_round_trips() as trips:
        asyncio.run(cache.aget("k"))
        thread = threading.Thread(target=cache.get, args=("k",))
        thread.start()
        thread.join(GUARD)
    assert trips.sent == [["GET"], ["GET"]]


def test_a_pipeline_is_one(cache: TaggedRedisCache) -> None:
    with count_round_trips() as trips:
        cache.set_many({"a": 1, "b": b"*9\r\n$3\r\nDEL\r\n"})
    assert trips.sent == [["SET", "SET"]]


def test_counts_may_be_nested(cache: TaggedRedisCache) -> None:
    with count_round_trips() as outer:
        cache.get("k")
        with count_round_trips() as inner:
            cache.get("k")
    cache.get("k")
    assert (outer.count, inner.count) == (2, 1)


def test_commands_are_read_from_the_bytes() -> None:
    assert commands_in(b"*2\r\n$3\r\nget\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n") == [[b"get", b"k"], [b"PING"]]
