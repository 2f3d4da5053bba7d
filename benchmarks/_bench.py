"""What the benchmarks share: settings with the peers in them, fair measuring, tables, and the bars that are kept.

Calls are interleaved in rounds and the best round of each counts: the machine's speed drifts, and every line drifts
with it. Trust the ratios of one run, not its times. Settings are each package's own defaults. Everything is written
below the prefix ``bench-…`` and removed again.
"""

import os
import sys
import time
import timeit
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from bergizi_redis import embedded
from bergizi_redis.conf import redis_url_from_env

PREFIX = f"bench-{uuid.uuid4().hex[:8]}"
URL = redis_url_from_env() or embedded.ensure(Path(__file__).resolve().parent / ".valkey", persist=False)
OURS = "bergizi_redis.cache.backend.TaggedRedisCache"
BACKENDS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": OURS},
    "near": {"BACKEND": OURS, "OPTIONS": {"NEAR_CACHE": True}},
    "django-redis": {"BACKEND": "django_redis.cache.RedisCache"},
    "django": {"BACKEND": "django.core.cache.backends.redis.RedisCache"},
    "local memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}

Calls = dict[str, Callable[[], object]]


@contextmanager
def benchmark() -> Iterator[None]:
    """Django set up with all of ``BACKENDS``; what was stored is gone afterwards."""
    settings.configure(
        INSTALLED_APPS=["bergizi_redis"],
        SECRET_KEY="benchmark",
        BERGIZI_REDIS={"KEY_PREFIX": PREFIX},
        CACHES={
            alias: {**backend, "LOCATION": URL, "KEY_PREFIX": f"{PREFIX}-{alias}".replace(" ", "-")}
            for alias, backend in BACKENDS.items()
        },
    )
    django.setup()
    print(f"Python {sys.version.split()[0]}, Django {django.get_version()}, {os.cpu_count()} cores")
    try:
        yield
    finally:
        from bergizi_redis.connections import client

        connection = client()
        for key in connection.scan_iter(match=f"{PREFIX}*", count=5_000):
            connection.unlink(key)


def measure(calls: Calls, rounds: int, number: int) -> dict[str, float]:
    """Best µs a call, of ``rounds`` rounds in which each call has its turn."""
    best = dict.fromkeys(calls, float("inf"))
    for done in range(rounds):
        if sys.stderr.isatty():
            print(f"\rround {done + 1} of {rounds}", end="", file=sys.stderr)
        for name, call in calls.items():
            best[name] = min(best[name], timeit.timeit(call, number=number) / number * 1e6)
    if sys.stderr.isatty():
        print("\r" + " " * 24 + "\r", end="", file=sys.stderr)
    return best


def show(title: str, times: dict[str, float], baseline: str) -> None:
    print(f"\n{title}")
    for name, took in times.items():
        print(f"  {name:30}{took:12,.1f} µs{took / times[baseline]:10.3g} ×")


def bar(claim: str, ratio: float, *, at_most: float | None = None, at_least: float | None = None) -> bool:
    """Print whether the ratio keeps what the project promises, and return it."""
    kept = (at_most is None or ratio <= at_most) and (at_least is None or ratio >= at_least)
    sign, bound = ("≤", at_most) if at_most is not None else ("≥", at_least)
    print(f"  {'kept' if kept else 'NOT KEPT':9} {claim}: {ratio:,.3g} × ({sign} {bound:,g} ×)")
    return kept


def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what comes by itself, such as an entry's way into the near cache."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds} s for {true}")
        time.sleep(0.001)


def bring_near(cache: Any, key: str) -> None:
    """Have the tagged entry in the near cache."""

    def is_near() -> bool:
        before = cache.stats()["near_hits"]
        cache.get(key)
        return bool(cache.stats()["near_hits"] > before)

    until(is_near)
