"""A herd of readers inside one process: one computes, and nobody is given what is void, nor waits for itself.

Who computes is held still until the others wait, so the interleavings are forced. Guards that were taken away once to
see these tests go red are listed at the end of ``test_herd_processes.py``.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import transaction

from bergizi_redis.cache import herd, transactions
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import Domain, menu
from bergizi_redis.cache.flights import Flight, Flights
from bergizi_redis.cache.transactions import may_store
from tests.deadlines import ends_within
from tests.herds import DEADLINE, Threads, Waiters
from tests.spoken import WAYS, Spoken

TENANT = "sppg-a"
BOUND = DEADLINE / 2  # seconds; what waits for nobody ends in it, whatever a busy machine does


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nobody gives up waiting, and no lease runs out: what follows then is tried where it is said."""
    monkeypatch.setattr(herd, "patience", lambda cost: (DEADLINE, DEADLINE))
    monkeypatch.setattr(herd, "lease_life", lambda cost: DEADLINE)


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    return Waiters(monkeypatch)


class Computing:
    """A function whose n-th call returns n, once ``go`` is set; ``begun`` tells how many calls there are."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        self.begun.release()
        assert self.go.wait(DEADLINE)
        return number

    def await_call(self) -> None:
        assert self.begun.acquire(timeout=DEADLINE)


def test_of_a_thousand_threads_one_computes(waiters: Waiters) -> None:
    computing = Computing()
    threads = Threads(1000, lambda: menu.get_or_compute(TENANT, 1, computing))
    computing.await_call()
    waiters.expect(999)
    computing.go.set()
    assert threads.join().results == [1] * 1000
    assert computing.calls == 1


def test_of_a_thousand_tasks_one_computes(waiters: Waiters, monkeypatch: pytest.MonkeyPatch) -> None:
    """They look together: each for itself they would take every connection, and wait for them in vain."""
    calls: list[int] = []
    looks: list[int] = []
    alook = TaggedRedisCache.alook

    async def counted(cache: TaggedRedisCache, address: Any) -> Any:
        looks.append(1)
        return await alook(cache, address)

    monkeypatch.setattr(TaggedRedisCache, "alook", counted)

    @cached(timeout=60, tags=["menus"])
    async def function() -> int:
        calls.append(1)
        await asyncio.to_thread(waiters.expect, 999)
        return len(calls)

    async def main() -> Any:
        return await asyncio.gather(*(function() for _ in range(1000)))

    assert asyncio.run(main()) == [1] * 1000
    assert len(calls) == 1
    assert len(looks) < 50


def test_threads_and_tasks_of_several_loops_wait_for_one_another(waiters: Waiters) -> None:
    computing = Computing()

    async def acompute() -> int:
        return await asyncio.to_thread(computing)

    async def main() -> Any:
        return await asyncio.gather(*(menu.aget_or_compute(TENANT, 1, acompute) for _ in range(20)))

    loops = Threads(2, lambda: asyncio.run(main()))
    threads = Threads(20, lambda: menu.get_or_compute(TENANT, 1, computing))
    waiters.expect(59)
    computing.go.set()
    assert loops.join().results == [[1] * 20] * 2
    assert threads.join().results == [1] * 20
    assert computing.calls == 1


def test_tasks_that_find_the_entry_together_have_copies_of_their_own(cache: TaggedRedisCache) -> None:
    menu.set(TENANT, 1, ["soto"])

    async def main() -> list[Any]:
        return await asyncio.gather(*(menu.aget_or_compute(TENANT, 1, list) for _ in range(100)))

    found = asyncio.run(main())
    assert found == [["soto"]] * 100
    found[50].append("rawon")
    assert found.count(["soto"]) == 99


def test_who_waits_gets_a_copy_of_its_own(waiters: Waiters) -> None:
    go = threading.Event()

    def compute() -> list[str]:
        go.wait(DEADLINE)
        return ["soto"]

    threads = Threads(3, lambda: menu.get_or_compute(TENANT, 1, compute))
    waiters.expect(2)
    go.set()
    found = threads.join().results
    found[0].append("rawon")
    assert sorted(map(len, found)) == [1, 1, 2]


def test_a_thread_that_came_a_moment_too_early_finds_what_was_stored_meanwhile(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked, and missed, before the other stored; it asks for its turn when the other has ended."""

    def stored_meanwhile(version_keys: Any) -> bool:
        monkeypatch.setattr(transactions, "may_store", may_store)
        Threads(1, lambda: menu.get_or_compute(TENANT, 1, lambda: "the other's")).join()
        return may_store(version_keys)

    monkeypatch.setattr(transactions, "may_store", stored_meanwhile)
    assert menu.get_or_compute(TENANT, 1, lambda: pytest.fail("computed twice")) == "the other's"


def test_who_comes_after_an_invalidation_is_not_given_what_was_computed_before(waiters: Waiters) -> None:
    computing = Computing()
    before = Threads(2, lambda: menu.get_or_compute(TENANT, 1, computing))
    computing.await_call()
    waiters.expect(1)
    menu.invalidate(TENANT)
    after = Threads(2, lambda: menu.get_or_compute(TENANT, 1, computing))
    computing.await_call()
    waiters.expect(1)
    computing.go.set()
    assert before.join().results == [1, 1]
    assert after.join().results == [2, 2]
    assert menu.get(TENANT, 1) == 2


def test_what_was_computed_before_an_invalidation_does_not_replace_what_was_computed_after_it() -> None:
    with menu.lookup(TENANT, 1) as old:
        menu.invalidate(TENANT)
        Threads(1, lambda: menu.get_or_compute(TENANT, 1, lambda: "new")).join()
        assert not old.store("old")
    assert menu.get(TENANT, 1) == "new"


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_reaches_only_who_computes(way: str, waiters: Waiters) -> None:
    calls = []

    def compute() -> str:
        calls.append(1)
        if len(calls) == 1:
            waiters.expect(3)
            raise ZeroDivisionError
        return "computed"

    threads = Threads(4, lambda: Spoken(menu, way).get_or_compute(TENANT, 1, compute))
    assert threads.join().results == ["computed"] * 3
    assert [type(error) for error in threads.errors] == [ZeroDivisionError]
    assert len(calls) == 2
    assert menu.get(TENANT, 1) == "computed"


def test_a_task_that_is_cancelled_lets_another_compute(waiters: Waiters) -> None:
    started: list[asyncio.Task[Any]] = []
    begun = asyncio.Event()

    async def compute() -> str:
        if not started:
            started.append(asyncio.current_task())  # type: ignore[arg-type]
            begun.set()
            await asyncio.Event().wait()
        return "computed"

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(menu.aget_or_compute(TENANT, 1, compute)) for _ in range(5)]
        await asyncio.to_thread(waiters.expect, 4)
        await begun.wait()
        started[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert results.count("computed") == 4
    assert sum(isinstance(one, asyncio.CancelledError) for one in results) == 1


def test_a_task_that_gives_up_waiting_disturbs_nobody(waiters: Waiters) -> None:
    async def main() -> list[Any]:
        go = asyncio.Event()

        async def compute() -> str:
            await go.wait()
            return "computed"

        tasks = [asyncio.create_task(menu.aget_or_compute(TENANT, 1, compute)) for _ in range(4)]
        await asyncio.to_thread(waiters.expect, 3)
        tasks[-1].cancel()  # the first to come leads
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert sum(isinstance(one, asyncio.CancelledError) for one in results) == 1
    assert results.count("computed") == 3


def test_when_every_computing_fails_nobody_waits_for_all_the_others(waiters: Waiters) -> None:
    """After three that failed the rest compute beside one another."""
    lock, two_at_once = threading.Lock(), threading.Event()
    calls: list[int] = []
    computing: set[int] = set()

    def fail() -> None:
        with lock:
            calls.append(1)
            number = len(calls)
            computing.add(number)
            if len(computing) > 1:
                two_at_once.set()
        if number <= 3:
            waiters.expect(20 - number)  # all the others have seen each of them fail
        else:
            assert two_at_once.wait(BOUND)  # less than anybody waits for a flight
        with lock:
            computing.discard(number)
        raise ZeroDivisionError

    threads = Threads(20, lambda: menu.get_or_compute(TENANT, 1, fail)).join()
    assert [type(error) for error in threads.errors] == [ZeroDivisionError] * 20


@pytest.mark.parametrize("way", WAYS)
def test_a_function_that_asks_for_itself_computes(way: str) -> None:
    def outer() -> list[Any]:
        inner = Spoken(menu, way).get_or_compute if way == "blocking" else menu.get_or_compute
        return ["outer", inner(TENANT, 1, lambda: "inner")]

    with ends_within(BOUND):
        assert Spoken(menu, way).get_or_compute(TENANT, 1, outer) == ["outer", "inner"]


def test_a_coroutine_that_asks_for_itself_over_a_task_or_a_thread_computes() -> None:
    async def outer() -> list[Any]:
        task = await asyncio.create_task(menu.aget_or_compute(TENANT, 1, lambda: "task"))
        thread = await sync_to_async(menu.get_or_compute)(TENANT, 1, lambda: "thread")
        return [task, thread]

    with ends_within(BOUND):
        found = asyncio.run(menu.aget_or_compute(TENANT, 1, outer))
    assert found == ["task", "task"]  # what the task has stored, the thread finds


def test_nested_caches_compute_each_once() -> None:
    calls: list[str] = []

    def compute(name: str, then: Callable[[], Any] = lambda: None) -> Callable[[], Any]:
        def computed() -> list[Any]:
            calls.append(name)
            return [name, then()]

        return computed

    def card() -> Any:
        return menu.get_or_compute(TENANT, 1, compute("menu", lambda: recipe()))

    def recipe() -> Any:
        return menu.get_or_compute(TENANT, 2, compute("recipe"))

    for _ in range(2):
        assert card() == ["menu", ["recipe", None]]
    assert calls == ["menu", "recipe"]


def computed_for_one_another() -> list[Any]:
    """What two threads compute that need each other's entry once both are at it."""
    meet = threading.Barrier(2)

    def compute(mine: int, other: int) -> Callable[[], list[Any]]:
        def computed() -> list[Any]:
            meet.wait(DEADLINE)
            return [mine, menu.get_or_compute(TENANT, other, lambda: [other])]

        return computed

    with ends_within(BOUND):
        one = Threads(1, lambda: menu.get_or_compute(TENANT, 1, compute(1, 2)))
        two = Threads(1, lambda: menu.get_or_compute(TENANT, 2, compute(2, 1)))
        return [*one.join().results, *two.join().results]


def test_two_that_need_one_another_do_not_wait_for_each_other() -> None:
    assert [result[0] for result in computed_for_one_another()] == [1, 2]


def test_two_that_come_to_need_one_another_in_the_same_moment_do_not_wait_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has looked before the other waits. Red without the second look."""
    looked = threading.Barrier(2)
    has_looked = threading.local()
    leads_here = Flight.leads_here

    def together(flight: Flight) -> bool:
        found = leads_here(flight)
        if not hasattr(has_looked, "yes"):
            has_looked.yes = True
            looked.wait(DEADLINE)
        return found

    monkeypatch.setattr(Flight, "leads_here", together)

    assert [result[0] for result in computed_for_one_another()] == [1, 2]


def test_what_blocks_a_loop_waits_for_nobody() -> None:
    """The thread of the loop may wait neither for its own task nor for another thread."""

    async def main() -> Any:
        async with menu.lookup(TENANT, 1) as entry:
            assert entry.missed
            task = asyncio.create_task(asyncio.to_thread(lambda: None))
            await task
            return await asyncio.get_running_loop().create_task(blocking())

    async def blocking() -> Any:
        return menu.get_or_compute(TENANT, 1, lambda: "computed here")

    with ends_within(BOUND):
        assert asyncio.run(main()) == "computed here"


def test_what_a_loop_runs_in_a_thread_does_not_wait_for_that_loop() -> None:
    """The task that computes may need that very thread."""
    begun, inside = threading.Event(), threading.Event()

    async def compute() -> str:
        begun.set()
        await asyncio.to_thread(inside.wait, DEADLINE)
        return await sync_to_async(lambda: "computed")()

    def read() -> Any:
        inside.set()
        return menu.get_or_compute(TENANT, 1, lambda: "computed beside")

    async def reader() -> Any:
        await asyncio.to_thread(begun.wait, DEADLINE)
        return await sync_to_async(read)()

    async def main() -> Any:
        return await asyncio.gather(menu.aget_or_compute(TENANT, 1, compute), reader())

    with ends_within(BOUND):
        assert asyncio.run(main()) == ["computed", "computed beside"]


def test_tenants_do_not_wait_for_one_another() -> None:
    with menu.lookup("sppg-a", 1) as entry, ends_within(BOUND):
        assert entry.missed
        assert Threads(1, lambda: menu.get_or_compute("sppg-b", 1, lambda: "b")).join().results == ["b"]


def test_one_key_with_other_tags_is_another_entry(cache: TaggedRedisCache) -> None:
    with cache.lookup("k", tags=["menus"]) as entry, ends_within(BOUND):
        assert entry.missed
        threads = Threads(1, lambda: cache.get_or_set("k", lambda: "other", 60, tags=["recipes"]))
        assert threads.join().results == ["other"]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_whose_values_may_not_be_stored_shares_nothing() -> None:
    """SQLite's transactions are snapshots: it neither waits for others nor others for it."""
    computing = Computing()
    other = Threads(1, lambda: menu.get_or_compute(TENANT, 1, computing))
    computing.await_call()
    with transaction.atomic(), ends_within(BOUND):
        assert menu.get_or_compute(TENANT, 1, lambda: "the snapshot's") == "the snapshot's"
    computing.go.set()
    assert other.join().results == [1]
    menu.invalidate(TENANT)
    with transaction.atomic(), menu.lookup(TENANT, 1) as entry, ends_within(BOUND):
        assert entry.missed
        assert Threads(1, lambda: menu.get_or_compute(TENANT, 1, lambda: "all others'")).join().results
    assert menu.get(TENANT, 1) == "all others'"


@pytest.mark.django_db(transaction=True)
def test_what_may_not_be_stored_is_not_shared(waiters: Waiters) -> None:
    with menu.lookup(TENANT, 1) as entry:
        other = Threads(1, lambda: menu.get_or_compute(TENANT, 1, lambda: "its own"))
        waiters.expect(1)
        with transaction.atomic():
            assert not entry.store("the snapshot's")
    assert other.join().results == ["its own"]


def test_without_the_herd_each_computes(cache: TaggedRedisCache) -> None:
    computing = Computing()

    @cached(timeout=60, herd=False)
    def function() -> int:
        return computing()

    orders = Domain("order", herd=False)
    for act in (function, lambda: orders.get_or_compute(TENANT, 1, computing)):
        threads = Threads(3, act)
        for _ in range(3):
            computing.await_call()
        computing.go.set()
        assert len(threads.join().results) == 3
        computing.go.clear()


def test_what_cannot_be_serialized_reaches_who_computes_and_the_others_try(waiters: Waiters) -> None:
    calls = []

    def compute() -> Any:
        calls.append(1)
        if len(calls) > 1:
            return "well"
        waiters.expect(1)
        return threading.Lock()

    threads = Threads(2, lambda: menu.get_or_compute(TENANT, 1, compute)).join()
    assert threads.results == ["well"]
    assert len(threads.errors) == 1


def test_who_waits_in_vain_computes(cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herd, "patience", lambda cost: (0.05, 0.1))
    with menu.lookup(TENANT, 1) as entry, ends_within(BOUND):
        assert entry.missed
        assert Threads(3, lambda: menu.get_or_compute(TENANT, 1, lambda: "own")).join().results == ["own"] * 3
    assert menu.get(TENANT, 1) == "own"


def test_a_block_that_stores_nothing_lets_the_next_compute_at_once(cache: TaggedRedisCache, raw: Any) -> None:
    with menu.lookup(TENANT, 1) as entry:
        lease = entry._turn.lease_key  # type: ignore[union-attr]
        assert raw.exists(lease)
    assert not raw.exists(lease)
    with ends_within(BOUND):
        assert menu.get_or_compute(TENANT, 1, lambda: "next") == "next"
    assert not raw.exists(lease)


def test_a_lookup_that_was_never_left_is_waited_for_once(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch, raw: Any
) -> None:
    monkeypatch.setattr(herd, "patience", lambda cost: (0.05, 0.1))
    Threads(1, lambda: menu.lookup(TENANT, 1).__enter__()).join()
    assert menu.get_or_compute(TENANT, 1, lambda: "computed") == "computed"
    waiters.expect(1)
    raw.delete(menu.lookup(TENANT, 1).address.key)
    assert menu.get_or_compute(TENANT, 1, lambda: "again") == "again"
    assert not waiters.flights.acquire(blocking=False)


def test_a_forked_child_waits_for_nothing_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    flights = Flights()
    address = menu.lookup(TENANT, 1).address
    flight, is_mine = flights.board(address, b"token")
    assert is_mine
    assert flights.board(address, b"token") == (flight, False)
    monkeypatch.setattr("bergizi_redis.cache.flights.os.getpid", lambda: -1)
    child, is_mine = flights.board(address, b"token")
    assert is_mine
    assert child is not flight
    assert isinstance(child, Flight)
