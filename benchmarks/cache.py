"""A cache hit and an invalidation, beside the peers: one process, the calls interleaved, the best of many rounds.

    make bench            the embedded server, or the one that REDIS_URL names

Trust the ratios, not the times: the machine's speed drifts, and every line drifts with it. Settings are each package's
own defaults. It writes below the prefix ``bench-…`` and removes that again.
"""

import argparse
import os
import sys
import timeit
import uuid
from collections.abc import Callable
from pathlib import Path

import django
from django.conf import settings

from bergizi_redis import embedded
from bergizi_redis.conf import redis_url_from_env

PREFIX = f"bench-{uuid.uuid4().hex[:8]}"
URL = redis_url_from_env() or embedded.ensure(Path(__file__).resolve().parent / ".valkey", persist=False)
OURS = "bergizi_redis.cache.backend.TaggedRedisCache"


def configure() -> None:
    backends = {
        "default": OURS,
        "django-redis": "django_redis.cache.RedisCache",
        "django": "django.core.cache.backends.redis.RedisCache",
        "local memory": "django.core.cache.backends.locmem.LocMemCache",
    }
    settings.configure(
        INSTALLED_APPS=["bergizi_redis"],
        SECRET_KEY="benchmark",
        BERGIZI_REDIS={"KEY_PREFIX": PREFIX},
        CACHES={
            alias: {"BACKEND": backend, "LOCATION": URL, "KEY_PREFIX": f"{PREFIX}-{alias}".replace(" ", "-")}
            for alias, backend in backends.items()
        },
    )
    django.setup()


def hits(size: int) -> dict[str, Callable[[], object]]:
    """What reads a value of ``size`` bytes that is there, by name; django-redis is what all are compared with."""
    from django.core.cache import cache, caches

    from bergizi_redis.cache.decorators import cached
    from bergizi_redis.cache.domains import menu

    value = "v" * size
    for alias in caches.settings:
        caches[alias].set("plain", value, 600)
    cache.set("tagged", value, 600, tags=["a", "b", "c"])
    menu.set("sppg-jakarta-001", 42, value)

    @cached(timeout=600, tags=["menus"])
    def computed(number: int) -> str:
        return value

    computed(1)
    peers = {alias: caches[alias] for alias in caches.settings if alias != "default"}
    return {
        **{alias: (lambda peer=peer: peer.get("plain")) for alias, peer in peers.items()},
        "bergizi_redis, untagged": lambda: cache.get("plain"),
        "bergizi_redis, 3 tags": lambda: cache.get("tagged"),
        "bergizi_redis, domain": lambda: menu.get("sppg-jakarta-001", 42),
        "bergizi_redis, @cached": lambda: computed(1),
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int, number: int) -> dict[str, float]:
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
    for name, time in times.items():
        print(f"  {name:28}{time:12,.1f} µs{time / times[baseline]:10.3g} ×")


def invalidation(entries: int) -> dict[str, float]:
    """µs to void ``entries`` entries: by one tag, and as django-redis does it, by a pattern."""
    from django.core.cache import cache, caches

    peer = caches["django-redis"]
    rows = {f"menu:{number}": number for number in range(entries)}
    for start in range(0, entries, 5_000):
        some = dict(list(rows.items())[start : start + 5_000])
        cache.set_many(some, 600, tags=["menus"])
        peer.set_many(some, 600)
    return {
        "django-redis, delete_pattern": timeit.timeit(lambda: peer.delete_pattern("menu:*", itersize=5_000), number=1)
        * 1e6,
        "bergizi_redis, one tag": timeit.timeit(lambda: cache.invalidate_tags(["menus"]), number=1) * 1e6,
    }


def clean() -> None:
    from bergizi_redis.connections import client

    connection = client()
    for key in connection.scan_iter(match=f"{PREFIX}*", count=5_000):
        connection.unlink(key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--number", type=int, default=200, help="calls of each in a round")
    parser.add_argument("--entries", type=int, default=100_000, help="entries to invalidate at once")
    options = parser.parse_args()
    configure()
    print(f"Python {sys.version.split()[0]}, Django {django.get_version()}, {os.cpu_count()} cores")
    try:
        for size in (100, 10_000):
            show(f"A hit of {size:,} bytes", measure(hits(size), options.rounds, options.number), "django-redis")
        title = f"Voiding {options.entries:,} entries"
        show(title, invalidation(options.entries), "django-redis, delete_pattern")
    finally:
        clean()


if __name__ == "__main__":
    main()
