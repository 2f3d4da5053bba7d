"""A herd over several processes: one lease, void once its token is, and run out when its holder is dead.

Real processes where they die; elsewhere another one's lease is put there by hand, and the reader is known to wait.

Guards taken away once to see a test of the ``test_herd*.py`` go red: the token in a flight's name; the lease's script
asking whether the entry has come, and who holds it; the store's script heeding another's token, and that the entry is
as it was; giving back only what is one's own; looking anew where tokens differ; replacing this process's own lease;
giving back after a failure, and not after a failed refresh; knowing oneself, directly and over others; not blocking a
loop, nor the thread that a loop waits for; sharing only what may be stored; the bound of attempts; forgetting a flight
that was waited for in vain; a child's own flights; copies for each task, and looking together; without a token to wait,
to close the boarding and to look once more; ending a flight when the alias raises; the digest of what is stale.
"""

import asyncio
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from redis import Redis

from bergizi_redis import keys
from bergizi_redis.cache import herd, leases
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.refresh import lease_life
from tests.deadlines import ends_within
from tests.herds import DEADLINE, Threads, Waiters
from tests.moments import left_of
from tests.spoken import WAYS, Spoken

TENANT = "sppg-a"
BOUND = DEADLINE / 2  # seconds; what waits for nobody ends in it, whatever a busy machine does
OTHER = b"another!"  # an owner that is not this process


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nobody gives up waiting, and no lease runs out: what follows then is tried where it is said."""
    monkeypatch.setattr(herd, "patience", lambda cost: (DEADLINE, DEADLINE))
    monkeypatch.setattr(herd, "lease_life", lambda cost: DEADLINE)


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def address(cache: TaggedRedisCache) -> Address:
    return menu.lookup(TENANT, 1).address


@pytest.fixture
def lease(address: Address) -> str:
    return keys.lease(address.key)


@pytest.fixture
def token(cache: TaggedRedisCache, address: Address) -> bytes:
    return cache.look(address).token


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    return Waiters(monkeypatch)


@pytest.fixture(params=WAYS)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    return Spoken(menu, request.param)


class Processes:
    """Processes of ``herd_reader``, and what they say."""

    def __init__(self, url: str, prefix: str) -> None:
        self.said: queue.Queue[tuple[subprocess.Popen[str], str]] = queue.Queue()
        self.all: list[subprocess.Popen[str]] = []
        self._listeners: list[threading.Thread] = []
        self._arguments = (url, prefix)

    def start(self, number: int, readers: int) -> None:
        command = [sys.executable, "-m", "tests.herd_reader", *self._arguments, str(readers)]
        for _ in range(number):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                cwd=Path(__file__).parent.parent, env={**os.environ, "PYTHONPATH": "."},
            )  # fmt: skip
            self.all.append(process)
            self._listeners.append(threading.Thread(target=self._listen, args=[process]))
            self._listeners[-1].start()
        for _ in range(number):
            assert self.next(180)[1] == "ready"

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said.put((process, line.strip()))

    def next(self, deadline: float = DEADLINE) -> "tuple[subprocess.Popen[str], str]":
        return self.said.get(timeout=deadline)

    def go(self, *processes: "subprocess.Popen[str]") -> None:
        for process in processes or self.all:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def end(self) -> None:
        for process in self.all:
            process.kill()
            process.wait(DEADLINE)
        for process, listener in zip(self.all, self._listeners, strict=True):
            listener.join(DEADLINE)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


@pytest.fixture
def processes(redis_url: str, prefix: str) -> Iterator[Processes]:
    running = Processes(redis_url, prefix)
    try:
        yield running
    finally:
        running.end()


def test_of_a_thousand_readers_in_several_processes_one_computes(processes: Processes, waiters: Waiters) -> None:
    processes.start(2, 400)
    processes.go()
    holder, said = processes.next()
    assert said == "computing"
    here = Threads(200, lambda: menu.get_or_compute(TENANT, 1, lambda: pytest.fail("computed here too")))
    waiters.expect(199)
    waiters.expect_poll()
    processes.go(holder)
    assert here.join().results == [holder.pid] * 200
    for _ in processes.all:
        assert processes.next()[1].split() == ["found", *[str(holder.pid)] * 400]


def test_the_holder_killed_the_next_computes_when_the_lease_has_run_out(
    processes: Processes, waiters: Waiters, raw: "Redis", lease: str
) -> None:
    processes.start(1, 1)
    processes.go()
    holder, said = processes.next()
    assert said == "computing"
    next_one = Threads(1, lambda: menu.get_or_compute(TENANT, 1, lambda: "the next one's"))
    waiters.expect_poll()
    holder.kill()
    holder.wait(DEADLINE)
    assert 0 < raw.pttl(lease) <= DEADLINE * 1000
    raw.pexpire(lease, 1)
    assert next_one.join().results == ["the next one's"]
    assert menu.get(TENANT, 1) == "the next one's"


def test_a_holder_that_is_invalidated_is_overtaken_and_publishes_nothing(
    processes: Processes, raw: "Redis", lease: str, waiters: Waiters
) -> None:
    processes.start(1, 1)
    processes.go()
    holder, said = processes.next()
    assert said == "computing"
    menu.invalidate(TENANT)
    with menu.lookup(TENANT, 1) as entry:
        assert not waiters.polls.acquire(blocking=False)
        assert entry.missed
        processes.go(holder)
        assert processes.next()[1].split() == ["found", str(holder.pid)]  # it began before
        assert raw.exists(lease)  # the holder has not given back what is not its own any more
        assert not raw.exists(entry.address.key)  # nor stored what is dead
        assert entry.store("new")
    assert menu.get(TENANT, 1) == "new"
    assert not raw.exists(lease)


def test_who_waits_for_a_lease_gets_what_its_holder_stores(
    spoken: Spoken, cache: TaggedRedisCache, raw: "Redis", address: Address, lease: str, token: bytes, waiters: Waiters
) -> None:
    raw.set(lease, token + OTHER, px=600_000)
    threads = Threads(3, lambda: spoken.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")))
    waiters.expect_poll()
    cache.put(address, "theirs", 60, token)
    assert threads.join().results == ["theirs"] * 3


def test_who_waits_for_a_lease_that_is_given_back_computes(
    spoken: Spoken, raw: "Redis", lease: str, token: bytes, waiters: Waiters
) -> None:
    raw.set(lease, token + OTHER, px=600_000)
    thread = Threads(1, lambda: spoken.get_or_compute(TENANT, 1, lambda: "mine"))
    waiters.expect_poll()
    raw.delete(lease)
    assert thread.join().results == ["mine"]
    assert not raw.exists(lease)
    assert menu.get(TENANT, 1) == "mine"


def test_a_lease_of_an_older_token_is_replaced_at_once(spoken: Spoken, raw: "Redis", lease: str, token: bytes) -> None:
    raw.set(lease, token + OTHER, px=600_000)
    menu.invalidate(TENANT)
    with ends_within(BOUND):
        assert spoken.get_or_compute(TENANT, 1, lambda: "new") == "new"
    assert menu.get(TENANT, 1) == "new"


def test_a_lease_of_a_newer_token_is_waited_for(
    spoken: Spoken, cache: TaggedRedisCache, raw: "Redis", address: Address, lease: str, token: bytes,
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The reader looked before the invalidation, and comes to the lease after another process has taken it anew."""
    take = leases.take

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(leases, "take", take)
        menu.invalidate(TENANT)
        raw.set(lease, cache.look(address).token + OTHER, px=600_000)
        return take(*arguments)

    monkeypatch.setattr(leases, "take", overtaken)
    thread = Threads(1, lambda: spoken.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")))
    waiters.expect_poll()
    cache.put(address, "theirs", 60, cache.look(address).token)
    assert thread.join().results == ["theirs"]


def test_a_lease_that_this_process_could_not_give_back_is_replaced_at_once(
    spoken: Spoken, raw: "Redis", lease: str, token: bytes
) -> None:
    raw.set(lease, token + leases.owner(), px=600_000)
    with ends_within(BOUND):
        assert spoken.get_or_compute(TENANT, 1, lambda: "mine") == "mine"
    assert not raw.exists(lease)


def test_who_waits_in_vain_for_a_lease_computes_and_leaves_it(
    spoken: Spoken, raw: "Redis", lease: str, token: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(herd, "patience", lambda cost: (0.05, DEADLINE))
    raw.set(lease, token + OTHER, px=600_000)
    with ends_within(BOUND):
        threads = Threads(3, lambda: spoken.get_or_compute(TENANT, 1, lambda: threading.get_ident())).join()
    assert len(set(threads.results)) == 1
    assert raw.get(lease) == token + OTHER
    assert menu.get(TENANT, 1) == threads.results[0]


def test_the_thread_of_a_loop_waits_for_no_lease(raw: "Redis", lease: str, token: bytes) -> None:
    raw.set(lease, token + OTHER, px=600_000)

    async def main() -> Any:
        return menu.get_or_compute(TENANT, 1, lambda: "computed here")

    with ends_within(BOUND):
        assert asyncio.run(main()) == "computed here"


def test_a_failure_gives_the_lease_back(spoken: Spoken, raw: "Redis", lease: str) -> None:
    def fail() -> None:
        assert raw.exists(lease)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoken.get_or_compute(TENANT, 1, fail)
    assert not raw.exists(lease)


def test_who_was_overtaken_and_fails_leaves_the_lease_of_the_other(spoken: Spoken, raw: "Redis", lease: str) -> None:
    def fail() -> None:
        menu.invalidate(TENANT)
        raw.set(lease, b"a newer token..." + OTHER, px=600_000)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoken.get_or_compute(TENANT, 1, fail)
    assert raw.get(lease) == b"a newer token..." + OTHER


def test_a_lease_lives_three_times_as_long_as_computing_takes(
    cache: TaggedRedisCache, raw: "Redis", lease: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(herd, "lease_life", lease_life)
    for cost, life in ((0.0, 5000), (0.01, 1000), (2.0, 6000), (60.0, 30_000)):
        address = menu.lookup(TENANT, 1).address
        cache.put(address, "x", 60, cost=cost)
        menu.invalidate(TENANT)
        with menu.lookup(TENANT, 1) as entry:
            assert entry.missed
            assert raw.pttl(lease) / 1000 == left_of(life / 1000)


def test_a_key_of_another_type_is_replaced_as_ever(cache: TaggedRedisCache, raw: "Redis") -> None:
    raw.sadd(cache.made("k"), "x")
    assert cache.get_or_set("k", lambda: "computed", 60, tags=["menus"]) == "computed"
    assert cache.get("k") == "computed"
