"""Hits a second from 1 to 16 threads and from 1 to 4 processes, beside the peers; and from tasks of one loop.

All take turns in rounds. Python runs one thread of a process at a time, so more threads mean no more hits: what counts
is that none are lost to waiting for one another. Exits 1 where a bar is missed.
"""

import asyncio
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from _bench import BACKENDS, Size, benchmark, bring_near, size_asked
from _measure import bar, code, lines, progress

READERS = ("django-redis", "RedisCache", "untagged", "3 tags", "near")
BASELINE = "django-redis"


def reader(name: str) -> Callable[[], object]:
    from django.core.cache import caches

    alias = {"untagged": "default", "3 tags": "default"}.get(name, name)
    cache, key = caches[alias], "tagged" if name in ("3 tags", "near") else "plain"
    return lambda: cache.get(key)


def hits_a_second(name: str, threads: int, seconds: float) -> float:
    """Of ``threads`` threads that do nothing else, each with a cache of its own as Django has it."""
    counts: list[int] = []
    gate = threading.Barrier(threads + 1)
    over = threading.Event()

    def read() -> None:
        get, count = reader(name), 0
        get()
        gate.wait()
        while not over.is_set():
            for _ in range(20):
                get()
            count += 20
        counts.append(count)

    running = [threading.Thread(target=read) for _ in range(threads)]
    for thread in running:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    over.wait(seconds)
    over.set()
    for thread in running:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def hits_a_second_of_processes(name: str, processes: int, seconds: float) -> float:
    """Forked, as gunicorn does with preload."""
    fork: Any = multiprocessing.get_context("fork")
    gate, told = fork.Barrier(processes), fork.SimpleQueue()

    def work() -> None:
        from django.core.cache import caches

        if name == "near":
            bring_near(caches["near"], lambda: caches["near"].get("tagged"))
        gate.wait()
        told.put(hits_a_second(name, 1, seconds))

    children = [fork.Process(target=work) for _ in range(processes)]
    for child in children:
        child.start()
    total = sum(told.get() for _ in children)
    for child in children:
        child.join()
    return float(total)


def hits_a_second_of_tasks(name: str, tasks: int, seconds: float) -> float:
    """Of one loop; django-redis's asynchronous methods hand each command to a thread."""
    from django.core.cache import caches

    alias = {"untagged": "default", "3 tags": "default"}.get(name, name)
    cache, key = caches[alias], "tagged" if name in ("3 tags", "near") else "plain"

    async def main() -> float:
        await asyncio.gather(*(cache.aget(key) for _ in range(tasks)))  # each opens a connection
        until = time.perf_counter() + seconds
        count = 0

        async def read() -> None:
            nonlocal count
            while time.perf_counter() < until:
                await cache.aget(key)
                count += 1
                if name == "near":
                    await asyncio.sleep(0)  # a near hit never waits: let the others have their turn

        await asyncio.gather(*(read() for _ in range(tasks)))
        return count / seconds

    return asyncio.run(main())


def table(
    title: str, measured: Callable[[str, int, float], float], sizes: list[int], size: Size
) -> dict[tuple[str, int], list[float]]:
    """Hits a second in each round, by reader and number."""
    found: dict[tuple[str, int], list[float]] = {(name, many): [] for name in READERS for many in sizes}
    rounds = size.of(7, 3, 1)
    for done in range(rounds):
        for many in sizes:
            progress(f"{many} {title}, round {done + 1} of {rounds}")
            for name in READERS:
                found[name, many].append(measured(name, many, size.of(200, 100, 5) / 1000))
    progress("")
    rows = {
        name if name in BACKENDS and name != "near" else f"bergizi_redis, {name}": [
            median(found[name, many]) for many in sizes
        ]
        for name in READERS
    }
    lines(f"Hits by {title}", "a second", sizes, rows)
    return found


def main() -> int:
    size, kept = size_asked(__doc__), []
    with benchmark(size):
        from django.core.cache import caches

        for alias in (BASELINE, "RedisCache", "default"):
            caches[alias].set("plain", "v" * 100, 600)
        for alias in ("default", "near"):
            caches[alias].set("tagged", "v" * 100, 600, tags=["a", "b", "c"])
        bring_near(caches["near"], lambda: caches["near"].get("tagged"))
        found = table("threads", hits_a_second, [1, 8] if size.is_smoke else [1, 2, 4, 8, 16], size)
        for name, least in (("untagged", 0.9), ("3 tags", 0.75), ("near", 10)):
            pairs = zip(found[name, 8], found[BASELINE, 8], strict=True)
            ratio = median(ours / theirs for ours, theirs in pairs)
            kept.append(bar(f"{name}, 8 threads, hits of django-redis's", ratio, at_least=least))
        table("tasks", hits_a_second_of_tasks, [1] if size.is_smoke else [1, 8, 64], size)
        table("processes", hits_a_second_of_processes, [2] if size.is_smoke else [1, 2, 4], size)
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
