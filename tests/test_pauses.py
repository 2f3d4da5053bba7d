"""``pause_at``: a thread or task stands still at a named point until the test lets it go."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from django.db import transaction

from bergizi_redis import points, testing
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.tenancy import use_tenant

GUARD = 60.0  # seconds until a test gives up, on a machine that may stand still for some
pause_at = partial(testing.pause_at, timeout=GUARD)

TENANT = "sppg-a"
MENUS = Touched(tenant=None, tags=["menus"])
committing = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


def compute() -> Any:
    return menu.get_or_compute(TENANT, 42, lambda: "old")


def commit() -> None:
    with transaction.atomic():
        touch(MENUS)


LOOKING = ("after_look", "before_compute", "before_store", "after_store")
COMMITTING = ("before_fence", "before_commit", "after_commit", "before_release")


def test_every_point_is_tried_here_and_told_in_its_table() -> None:
    assert (*LOOKING, *COMMITTING) == points.POINTS
    assert points.__doc__
    assert all(f"| ``{point}`` |" in points.__doc__ for point in points.POINTS)


@pytest.mark.parametrize("point", LOOKING)
def test_a_thread_is_held_on_a_values_way(point: str) -> None:
    with pause_at(point) as paused:
        reading = paused.start(compute)
        assert not reading.done()
        paused.resume()
        assert reading.result(GUARD) == "old"
    assert menu.get(TENANT, 42) == "old"


@pytest.mark.parametrize("point", LOOKING)
def test_a_task_is_held_and_its_loop_goes_on(point: str) -> None:
    async def run() -> Any:
        with pause_at(point) as paused:
            reading = await paused.astart(menu.aget_or_compute(TENANT, 42, lambda: "old"))
            assert not reading.done()
            assert await menu.aget(TENANT, 7) is None  # another task's way is free
            paused.resume()
            return await reading

    assert asyncio.run(run()) == "old"


@committing
@pytest.mark.parametrize("point", COMMITTING)
def test_a_writer_is_held_on_its_way_through_a_commit(cache: TaggedRedisCache, point: str) -> None:
    cache.set("k", "old", tags=["menus"])
    with pause_at(point) as paused:
        writing = paused.start(commit)
        seen = cache.get("k")
        assert seen == ("old" if point == "before_fence" else None)
        paused.resume()
        writing.result(GUARD)
    assert cache.get("k") is None


@committing
@pytest.mark.parametrize("way", ["blocking", "awaiting"])
def test_a_reader_that_may_store_nothing_is_held_with_its_value(cache: TaggedRedisCache, way: str) -> None:
    """Behind a fence nothing is sent, and yet the interleaving is the same to who writes the test."""

    def read() -> Any:
        if way == "blocking":
            return cache.get_or_set("k", "of before", tags=["menus"])
        return asyncio.run(cache.aget_or_set("k", "of before", tags=["menus"]))

    with pause_at("before_commit") as writer, pause_at("before_store") as storing:
        writing = writer.start(commit)
        reading = storing.start(read)
        writer.resume()
        writing.result(GUARD)
        storing.resume()
        assert reading.result(GUARD) == "of before"
    assert cache.get("k") is None


def test_a_reader_in_a_snapshot_is_held_with_its_value(cache: TaggedRedisCache, monkeypatch: Any) -> None:
    monkeypatch.setattr("bergizi_redis.cache.transactions.may_store", lambda _: False)
    with pause_at("before_store") as storing:
        reading = storing.start(cache.get_or_set, "k", "old", tags=["menus"])
        storing.resume()
        assert reading.result(GUARD) == "old"
    assert cache.get("k") is None


@pytest.mark.parametrize("point", ["before_compute", "before_store"])
def test_what_was_computed_before_an_invalidation_is_dead_from_birth(point: str) -> None:
    with pause_at(point) as paused:
        reading = paused.start(compute)
        menu.invalidate(TENANT)
        paused.resume()
        assert reading.result(GUARD) == "old"
    assert menu.get(TENANT, 42) is None


def test_only_the_first_to_arrive_are_held() -> None:
    with pause_at("before_store") as paused:
        first = paused.start(compute)
        second: Future[Any] = Future()
        thread = threading.Thread(target=lambda: second.set_result(menu.set(TENANT, 7, "free")))
        thread.start()
        assert second.result(GUARD) is True
        thread.join(GUARD)
        assert not first.done()


def test_as_many_are_held_as_asked_for() -> None:
    with pause_at("before_store", times=2) as paused:
        readings = [paused.start(menu.set, TENANT, number, number) for number in range(2)]
        paused.wait()
        assert not any(reading.done() for reading in readings)
    assert [reading.result(GUARD) for reading in readings] == [True, True]


def test_who_opened_the_block_passes() -> None:
    with pause_at("before_store") as paused:
        assert compute() == "old"
        assert paused.arrived == 0


def test_a_held_call_has_the_tenant_of_its_starter() -> None:
    with use_tenant("sppg-b"), pause_at("before_store") as paused:
        reading = paused.start(menu.get_or_compute, None, 1, lambda: "b")
    assert reading.result(GUARD) == "b"
    assert menu.get("sppg-b", 1) == "b"


def test_two_points_may_be_held_at_a_time() -> None:
    with pause_at("before_compute") as looking, pause_at("before_store") as storing:
        reading = looking.start(compute)
        looking.resume()
        storing.wait()
        assert not reading.done()
        storing.resume()
        assert reading.result(GUARD) == "old"


def test_leaving_the_block_lets_everybody_go() -> None:
    with suppress(ZeroDivisionError), pause_at("before_store") as paused:
        reading = paused.start(compute)
        raise ZeroDivisionError
    assert reading.result(GUARD) == "old"
    assert points.hold is None


def test_a_point_that_nobody_reaches_is_an_error_that_tells_which_were() -> None:
    with pause_at("after_store") as paused:
        thread = threading.Thread(target=menu.get, args=(TENANT, 42))
        thread.start()
        thread.join(GUARD)
        with pytest.raises(AssertionError, match=r"0 of 1 came to 'after_store' within 0\.01 s\. Points .*after_look"):
            paused.wait(0.01)


def test_a_call_that_passes_by_is_told_at_once() -> None:
    with (
        pause_at("before_store") as paused,
        pytest.raises(AssertionError, match=r"returned 3 without coming to 'before_store'"),
    ):
        paused.start(len, "abc")
    with pause_at("before_store") as paused, pytest.raises(AssertionError, match=r"raised ZeroDivisionError"):
        paused.start(divmod, 1, 0)


def test_a_task_that_passes_by_is_told_at_once() -> None:
    async def run() -> None:
        with pause_at("before_store") as paused:
            await paused.astart(menu.aget(TENANT, 42))

    with pytest.raises(AssertionError, match=r"returned None without coming to 'before_store'"):
        asyncio.run(run())


def test_who_is_forgotten_is_let_go_with_an_error() -> None:
    told: Future[Any] = Future()

    def read() -> None:
        try:
            told.set_result(compute())
        except AssertionError as error:
            told.set_exception(error)

    with pause_at("before_store", timeout=0.01):
        thread = threading.Thread(target=read)
        thread.start()
        with pytest.raises(AssertionError, match=r"Held at 'before_store' for 0\.01 s, and nobody called resume"):
            told.result(GUARD)
        thread.join(GUARD)


def test_a_task_that_is_forgotten_is_let_go_with_an_error() -> None:
    async def run() -> None:
        with pause_at("before_store", timeout=0.01):
            await asyncio.create_task(menu.aget_or_compute(TENANT, 42, lambda: "old"))

    with pytest.raises(AssertionError, match="nobody called resume"):
        asyncio.run(run())


def test_a_blocking_call_in_the_loop_that_should_let_it_go_is_an_error() -> None:
    async def blocking() -> Any:
        return compute()

    async def run() -> None:
        with pause_at("before_store") as paused:
            await (await paused.astart(blocking()))

    with pytest.raises(AssertionError, match="blocking call reached 'before_store' in the event loop"):
        asyncio.run(run())


def test_a_loop_in_another_thread_is_held_like_a_thread() -> None:
    with pause_at("before_store") as paused:
        reading = paused.start(lambda: asyncio.run(menu.aget_or_compute(TENANT, 42, lambda: "old")))
        paused.wait()
        paused.resume()
        assert reading.result(GUARD) == "old"


def test_a_point_that_there_is_not_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"no point 'before_stor'\. Did you mean 'before_store'\? The points are"):  # noqa: SIM117
        with pause_at("before_stor"):
            pass
