"""Statistics: counted by tenant and domain without a lock, added up over all processes, each event once.

Taken away, these guards turn tests red: the number of a batch (``unknown_fate``), one sender at a time
(``one_thread_sends``), the bound of a bucket (``full_bucket``), beginning anew after a fork (``forked_child``).
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.signals import request_finished

from bergizi_redis.cache import fleet
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.counters import MOST_TABLES, Counters
from bergizi_redis.cache.crowds import look_together
from bergizi_redis.cache.domains import inventory, menu
from bergizi_redis.cache.fleet import Sender, read_fleet
from bergizi_redis.cache.reading import Found
from bergizi_redis.cache.stats import OTHERS, SLOWEST, latency, rows
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable
from bergizi_redis.exchange import speak
from bergizi_redis.tenancy import use_tenant
from tests.deadlines import ends_within
from tests.servers import PrivateServer
from tests.terminal import django_environment

NOW = (time.time() // 3600 + 24) * 3600 + 30  # half past the first minute of an hour of tomorrow, when nothing ends


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


def use(tenant: str, reads: int) -> None:
    menu.set(tenant, 1, "x")
    for _ in range(reads):
        menu.get(tenant, 1)
    inventory.get(tenant, 1)


# In the process


def test_events_are_told_by_domain_and_by_tenant(cache: TaggedRedisCache) -> None:
    use("sppg-a", 3)
    use("sppg-b", 2)
    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["stores"]) == (5, 2, 2)
    assert stats["by_domain"]["menu"]["hits"] == 5
    assert stats["by_tenant"]["sppg-b"]["hits"] == 2
    assert stats["by_tenant"]["sppg-a"]["hit_rate"] == 3 / 4
    assert stats["by_domain"]["menu"]["read_bytes"] == 5 / 2 * stats["by_domain"]["menu"]["stored_bytes"] > 0


def test_what_was_computed_and_what_it_cost_is_counted(cache: TaggedRedisCache) -> None:
    def slow() -> int:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass
        return 1

    for _ in range(3):
        menu.get_or_compute("sppg-a", 1, slow)
    row = cache.stats()["by_domain"]["menu"]
    assert (row["computed"], row["hits"]) == (1, 2)
    assert row["cost_ms"] >= 10


def test_tasks_that_are_given_anothers_look_are_counted_too(cache: TaggedRedisCache) -> None:
    address = menu.lookup("sppg-a", 1).address
    looks = 0

    async def look() -> Found:
        nonlocal looks
        looks += 1  # and Redis would count them
        await asyncio.sleep(0)
        return Found("x", b"")

    async def look_all() -> list[Found]:
        return await asyncio.gather(*(look_together(cache.entries, address, look) for _ in range(40)))

    assert [found.value for found in asyncio.run(look_all())] == ["x"] * 40
    assert looks < 40
    assert cache.stats()["by_tenant"]["sppg-a"]["hits"] == 40 - looks


def test_reads_are_timed(cache: TaggedRedisCache) -> None:
    asyncio.run(menu.aget("sppg-a", 1))
    menu.get("sppg-a", 1)
    cache.get("k")
    asyncio.run(cache.aget("k"))
    stats = cache.stats()
    assert stats["latency"]["reads"] == 4
    assert stats["by_domain"]["menu"]["latency"]["reads"] == 2
    assert 0 < stats["latency"]["p50_ms"] <= stats["latency"]["p99_ms"]
    assert stats["latency"]["mean_ms"] > 0


def test_a_percentile_is_the_bound_of_its_bucket() -> None:
    counters = Counters()
    for ms in [0.1] * 98 + [5, 60]:
        counters.took(ms / 1000)
    assert latency(counters.totals()["", ""]) == {
        "reads": 100, "mean_ms": pytest.approx(0.748, abs=0.001), "p50_ms": 0.128, "p95_ms": 0.128, "p99_ms": 8.192,
    }  # fmt: skip
    assert latency({}) == {"reads": 0, "mean_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}
    counters.took(10**6)
    assert counters.totals()["", ""][f"b{SLOWEST}"] == 1


def test_a_scoped_alias_counts_plain_keys_for_the_tenant_in_force(settings: Any) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": {"TENANT_SCOPED": True}}}
    with use_tenant("sppg-a"):
        caches["default"].set("k", 1)
        caches["default"].get("k")
    stats = caches["default"].stats()  # type: ignore[attr-defined]
    assert (stats["by_tenant"]["sppg-a"]["stores"], stats["by_tenant"]["sppg-a"]["hits"]) == (1, 1)


def test_threads_lose_no_event_and_leave_no_table_behind() -> None:
    """While one of them keeps taking what the others count."""
    counters = Counters()
    taken: list[int] = []
    is_over = threading.Event()

    def count() -> None:
        for number in range(2_000):
            counters.add("hits", f"d{number % 7}", tenant="t")

    def take() -> None:
        while not is_over.is_set():
            taken.append(sum(row["hits"] for row in counters.take().values()))

    taker = threading.Thread(target=take)
    taker.start()
    for _ in range(MOST_TABLES):
        threads = [threading.Thread(target=count) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    is_over.set()
    taker.join()
    taken.append(sum(row["hits"] for row in counters.take(everything=True).values()))
    assert sum(taken) == 2 * MOST_TABLES * 2_000
    assert counters.snapshot()["hits"] == 2 * MOST_TABLES * 2_000
    assert len(counters._tables) <= MOST_TABLES
    assert counters.take(everything=True) == {}


def test_too_many_tenants_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bergizi_redis.cache.counters.MOST_ROWS", 10)
    counters = Counters()
    for number in range(50):
        counters.add("hits", "menu", tenant=f"sppg-{number}")
    for number in range(50):
        counters.add("hits", f"domain-{number}")
    totals = counters.totals()
    assert len(totals) <= 21
    assert totals[OTHERS, "menu"] == {"hits": 40, "read_bytes": 0, "us": 0}
    assert counters.snapshot()["hits"] == 100


def test_a_forked_child_counts_from_nothing(cache: TaggedRedisCache) -> None:
    cache.get("k")
    read, write = os.pipe()
    if not (child := os.fork()):
        cache.state.counters.add("hits")
        os.write(write, json.dumps([cache.stats()["misses"], cache.stats()["hits"]]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(read, 100)) == [0, 1]
    assert cache.stats()["misses"] == 1
    os.close(read)
    os.close(write)


# Over all processes

CHILD = """
import sys, django
django.setup()
from bergizi_redis.cache import fleet
from bergizi_redis.cache.domains import menu
fleet.send_all.__defaults__ = (20.0,)  # a busy machine's server needs more than the usual half second
for _ in range(int(sys.argv[1])):
    menu.get("sppg-a", 1)
"""


def test_two_processes_add_up_when_they_end(server: PrivateServer, settings: Any) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": ""}}  # as the children's own settings
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "KEY_PREFIX": ""}
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(reads)], env=django_environment(REDIS_URL=server.url))
        for reads in (30, 12)
    ]
    assert [child.wait(240) for child in children] == [0, 0]
    menu.get("sppg-a", 1)
    cache: Any = caches["default"]
    told = cache.stats(fleet=True)
    assert told["by_tenant"]["sppg-a"]["misses"] == told["by_domain"]["menu"]["misses"] == 43
    assert cache.stats()["misses"] == 1
    assert asyncio.run(cache.astats(fleet=True)) == told


def counted(sender: Sender, raw: "redis.Redis", prefix: str, minutes: int = 1, now: float = NOW) -> int:
    return sum(row.counts.get("hits", 0) for row in rows(speak(read_fleet(prefix, minutes, now), raw)))


@pytest.fixture
def sender() -> Sender:
    return Sender(Counters())


def test_a_minute_rolls(sender: Sender, raw: "redis.Redis", prefix: str) -> None:
    for minute in range(5):
        sender.counters.add("hits", "menu", 10**minute)
        speak(sender.send(prefix, NOW + minute * 60), raw)
    last = NOW + 4 * 60
    assert counted(sender, raw, prefix, 1, last) == 10_000
    assert counted(sender, raw, prefix, 3, last) == 11_100
    assert counted(sender, raw, prefix, 60, last) == 11_111
    assert counted(sender, raw, prefix, 1, last + 60) == 0
    assert counted(sender, raw, prefix, 24 * 60, last + 20 * 3600) == 11_111  # of the hour, kept longer


def test_buckets_end(raw: "redis.Redis", prefix: str, cache: TaggedRedisCache) -> None:
    began = time.time()
    cache.get("k")
    assert cache.send_stats()
    lives = {key.decode().rsplit(":", 1)[1].split(".")[0]: raw.ttl(key) for key in raw.scan_iter(f"{prefix}*:cache:*")}
    gone = time.time() - began + 1
    assert 3_600 - gone <= lives["minute"] <= 3_660
    assert 26 * 3600 - gone <= lives["hour"] <= 27 * 3600


class Cut(redis.exceptions.TimeoutError):
    """The link broke: nobody knows whether the server did it."""


def test_a_batch_of_unknown_fate_is_added_once(sender: Sender, raw: "redis.Redis", prefix: str) -> None:
    """Sent, done, and the answer lost; then sent again. Without its number it would count twice."""
    sender.counters.add("hits", "menu", 7)
    exchange = sender.send(prefix, NOW)
    request = next(exchange)
    try:
        request(raw)
    except redis.exceptions.NoScriptError as error:
        exchange.throw(error)(raw)
    with pytest.raises(Cut):
        exchange.throw(Cut())
    sender.counters.add("hits", "menu", 5)
    speak(sender.send(prefix, NOW + 60), raw)
    assert counted(sender, raw, prefix, 5, NOW + 60) == 12
    assert counted(sender, raw, prefix, 1, NOW) == 7, "in the minute in which it was sent first"


def test_many_rows_are_sent_in_parts(
    sender: Sender, raw: "redis.Redis", prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "ROWS_AT_ONCE", 10)
    for number in range(95):
        sender.counters.add("hits", "menu", tenant=f"sppg-{number}")
    speak(sender.send(prefix, NOW), raw)
    assert counted(sender, raw, prefix) == 10 * fleet.BATCHES_AT_ONCE
    assert sender.due <= time.monotonic()  # the rest goes with the next request
    speak(sender.send(prefix, NOW), raw)
    assert sender.sent == 10
    assert counted(sender, raw, prefix) == 95


def test_a_full_bucket_keeps_the_domain_and_lets_the_tenant_go(
    sender: Sender, raw: "redis.Redis", prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MOST_ROWS", 10)
    for number in range(40):
        sender.counters.add("hits", "menu", tenant=f"sppg-{number}")
    speak(sender.send(prefix, NOW), raw)
    speak(Sender(sender.counters).send(prefix, NOW), raw)
    found = {row.tenant: row.counts["hits"] for row in rows(speak(read_fleet(prefix, 1, NOW), raw))}
    assert len(found) == 11
    assert found[OTHERS] == 30


def test_numbers_of_an_alias_that_cannot_be_used_break_no_exit(settings: Any) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "localhost:6379"}}
    cache: Any = caches["default"]
    with pytest.raises(ConfigurationError):
        cache.get("k")
    assert not cache.send_stats()


def test_an_outage_keeps_the_numbers(server: PrivateServer) -> None:
    cache: Any = caches["default"]
    cache.get("k")
    server.kill()
    assert not cache.send_stats()
    cache.get("k")
    assert not cache.send_stats()
    with pytest.raises(RedisUnavailable):
        cache.stats(fleet=True)
    server.start()
    assert cache.send_stats()
    told = cache.stats(fleet=True)
    assert (told["misses"], told["errors"]) == (1, cache.stats()["errors"])


def test_one_thread_sends_at_a_time(sender: Sender, raw: "redis.Redis", prefix: str) -> None:
    sender.counters.add("hits")
    first = sender.send(prefix, NOW)
    next(first)
    with pytest.raises(StopIteration):
        next(sender.send(prefix, NOW))
    first.close()
    speak(sender.send(prefix, NOW), raw)
    assert counted(sender, raw, prefix) == 1


# When it is sent


def test_it_is_sent_after_the_request_that_comes_when_it_is_time(
    cache: TaggedRedisCache, commands: Callable[[], Any]
) -> None:
    cache.get("k")
    assert any(receiver is fleet.send_due for receiver in request_finished._live_receivers(None)[0])
    with commands() as log:
        fleet.send_due()
    assert log == []
    cache.sender.due = 0.0
    with commands() as log:
        fleet.send_due()
        fleet.send_due()
    assert {line.split(" ", 1)[0] for line in log} <= {"EVALSHA", "EVAL"}
    assert any("minute." in line for line in log)
    assert cache.sender.due > time.monotonic()


@pytest.mark.parametrize("way", ["blocking", "awaiting"])
def test_without_requests_it_rides_behind_a_use_of_the_cache(cache: TaggedRedisCache, raw: Any, way: str) -> None:
    cache.get("k")
    cache.sender.late = 0.0
    if way == "blocking":
        cache.set("k", 1)
    else:
        asyncio.run(cache.aset("k", 1))
    assert cache.sender.sent == 1
    assert speak(read_fleet(cache.key_prefix, 60, time.time()), raw)["", ""]["misses"] == 1


def test_a_failure_to_send_is_no_failure_of_the_read(cache: TaggedRedisCache, raw: "redis.Redis", prefix: str) -> None:
    cache.set("k", 1, tags=["menus"])
    for span in fleet.KEPT:
        for ahead in (0, 1):
            name = fleet.NAMES[span](int(time.time() // span) + ahead, cache.key_prefix)
            raw.set(name, "not a hash")
    cache.sender.late = 0.0
    assert cache.get("k") == 1
    assert cache.sender.waiting


def test_the_end_of_the_process_does_not_wait_for_a_silent_server(server: PrivateServer) -> None:
    cache: Any = caches["default"]
    cache.get("k")
    server.pause()
    try:
        with ends_within():
            fleet.send_all()
    finally:
        server.resume()
    assert cache.sender.waiting


def test_it_can_be_switched_off(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "STATS_EVERY": 0}
    cache: Any = caches["default"]
    cache.get("k")
    assert cache.sender.due == cache.sender.late == float("inf")
    fleet.send_all()
    assert cache.sender.sent == 0


@pytest.mark.parametrize("minutes", [0, -1, 1561])
def test_minutes_that_are_not_kept_are_refused(cache: TaggedRedisCache, minutes: int) -> None:
    with pytest.raises(ValueError, match="1 to 1560"):
        cache.stats(fleet=True, minutes=minutes)
