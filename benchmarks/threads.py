"""Hits a second from 1 to 16 threads and from 1 to 4 processes, beside the peers; and from tasks of one loop.

Each line is read in rounds, the best counts. Python runs one thread of a process at a time, so more threads mean no
more hits: what counts is that none are lost to waiting for one another. How it is measured: ``_bench.py``.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from _bench import bar, benchmark, bring_near

READERS = ("django-redis", "untagged", "3 tags", "near")
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
            bring_near(caches["near"], "tagged")
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


def table(title: str, measured: Callable[[str, int, float], float], sizes: list[int], rounds: int) -> dict[Any, float]:
    best: dict[Any, float] = {}
    for _ in range(rounds):
        for size in sizes:
            for name in READERS:
                best[name, size] = max(best.get((name, size), 0.0), measured(name, size, 0.15))
    print(f"\nHits a second, {title}" + "".join(f"{size:>12}" for size in sizes))
    for name in READERS:
        print(f"  {name:{len(title) + 15}}" + "".join(f"{best[name, size]:12,.0f}" for size in sizes))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")
    kept = True
    with benchmark():
        from django.core.cache import caches

        caches[BASELINE].set("plain", "v" * 100, 600)
        caches["default"].set("plain", "v" * 100, 600)
        for alias in ("default", "near"):
            caches[alias].set("tagged", "v" * 100, 600, tags=["a", "b", "c"])
        bring_near(caches["near"], "tagged")
        best = table("threads", hits_a_second, [1, 2, 4, 8, 16], options.rounds)
        for name, least in (("untagged", 0.9), ("3 tags", 0.75), ("near", 10)):
            claim = f"{name}, 8 threads, hits of django-redis's"
            kept &= bar(claim, best[name, 8] / best[BASELINE, 8], at_least=least)
        table("tasks", hits_a_second_of_tasks, [1, 8, 64], options.rounds)
        sizes = [size for size in (1, 2, 4) if size <= max(2, os.cpu_count() or 1)]
        table("processes", hits_a_second_of_processes, sizes, options.rounds)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
