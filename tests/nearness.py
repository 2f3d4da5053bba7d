"""Waiting for a near cache, whose link has a thread of its own: until it holds an entry, or knows that it changed."""

import threading
import time
from collections.abc import Callable
from typing import Any

from bergizi_redis.cache.backend import TaggedRedisCache

DEADLINE = 60.0  # seconds; for what takes milliseconds on an idle machine


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """What the condition gives once it is true; fails after ``DEADLINE``."""
    pause, deadline = threading.Event(), time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what or condition}"
        pause.wait(0.002)
    return found


def held(cache: TaggedRedisCache, name: str) -> bool:
    """Whether a read of the key, as Redis has it, would be a near hit now; does not count as one."""
    assert cache.near is not None
    known = cache.near._records.get(name)
    used = known is not None and known.used
    found = cache.near.find(name)
    if found is not None:
        found.used = used
    return found is not None


def at_rest(cache: TaggedRedisCache) -> bool:
    """Whether the link has nothing to read: a read in the midst of a fill may have asked for another."""
    assert cache.near is not None
    return not cache.near.mirror._fills


def brought_near(cache: TaggedRedisCache, name: str, read: Callable[[], Any]) -> Any:
    """Read until the entry is near, and nothing on its way any more; what the last read gave."""

    def try_it() -> list[Any]:
        value = read()
        return [value] if held(cache, name) and at_rest(cache) else []

    return until(try_it, f"{name} is near")[0]


def gone(cache: TaggedRedisCache, name: str) -> None:
    until(lambda: not held(cache, name), f"{name} is forgotten")
