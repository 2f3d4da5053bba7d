"""A cache hit beside the peers, from 100 bytes to 100 KB: one process, one thread. Exits 1 where a bar is missed."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from _bench import URL, benchmark, bring_near, size_asked
from _measure import Calls, Times, bar, code, measure, show

BASELINE = "django-redis"
TENANT = "sppg-jakarta-001"


@contextmanager
def raw_socket(name: str, size: int) -> Iterator[Any]:
    """The floor: a GET whose bytes are ready, and a reply that nobody parses."""
    parts = urlsplit(URL)
    if parts.scheme != "redis" or parts.password or parts.path.strip("/") not in ("", "0"):
        yield None
        return
    command = f"*2\r\n$3\r\nGET\r\n${len(name)}\r\n{name}\r\n".encode()
    with socket.create_connection((parts.hostname or "localhost", parts.port or 6379)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def get() -> None:
            link.sendall(command)
            left = size
            while left > 0:
                left -= len(link.recv(65_536))

        yield get


def reply_of(name: str) -> int:
    """Bytes of the whole reply to a GET."""
    from redis import Redis

    with Redis.from_url(URL) as driver:
        length = int(driver.strlen(name))
    return len(f"${length}\r\n") + length + 2


def hits(size: int) -> Calls:
    """What reads a value of ``size`` bytes that is there, by name."""
    from django.core.cache import caches
    from redis import Redis

    from bergizi_redis.cache.decorators import cached
    from bergizi_redis.cache.domains import menu

    value = "v" * size
    for alias in caches.settings:
        caches[alias].set("plain", value, 600)
    ours, near, theirs = caches["default"], caches["near"], caches[BASELINE]
    for cache in (ours, near):
        cache.set("tagged", value, 600, tags=["a", "b", "c"])
    bring_near(near, lambda: near.get("tagged"))
    menu.set(TENANT, 42, value)

    @cached(timeout=600, tags=["menus"])
    def computed(number: int) -> str:
        return value

    computed.invalidate_all()
    computed(1)
    driver, name = Redis.from_url(URL), theirs.make_key("plain")
    return {
        "redis-py, bare GET": lambda: driver.get(name),
        **{peer: (lambda peer=caches[peer]: peer.get("plain")) for peer in (BASELINE, "RedisCache", "LocMemCache")},
        "bergizi_redis, untagged": lambda: ours.get("plain"),
        "bergizi_redis, 3 tags": lambda: ours.get("tagged"),
        "bergizi_redis, domain": lambda: menu.get(TENANT, 42),
        "bergizi_redis, @cached": lambda: computed(1),
        "bergizi_redis, 3 tags, near": lambda: near.get("tagged"),
    }


def near_hits(size: int) -> Calls:
    """All ways to a near hit, beside Django's own memory."""
    from django.conf import settings
    from django.core.cache import caches

    from bergizi_redis.cache.decorators import cached
    from bergizi_redis.cache.domains import menu, tagged_cache

    settings.BERGIZI_REDIS["CACHE_ALIAS"] = "near"
    value, near, local = "v" * size, caches["near"], caches["LocMemCache"]

    @cached(timeout=600, tags=["menus"])
    def computed(number: int) -> str:
        return value

    computed.invalidate_all()
    local.set("plain", value, 600)
    near.set("tagged", value, 600, tags=["a", "b", "c"])
    menu.set(TENANT, 42, value)
    computed(1)
    calls = {
        "LocMemCache": lambda: local.get("plain"),
        "near, cache.get": lambda: near.get("tagged"),
        "near, domain": lambda: menu.get(TENANT, 42),
        "near, @cached": lambda: computed(1),
    }
    for name, call in calls.items():
        if name != "LocMemCache":
            bring_near(tagged_cache(), call)
    return calls


def bars(times: Times) -> list[bool]:
    """Of 100 bytes: of larger values the same bytes are copied and unpickled by all."""
    untagged, tagged, near = (f"bergizi_redis, {kind}" for kind in ("untagged", "3 tags", "3 tags, near"))

    def compared(claim: str, name: str, to: str, at_most: float) -> bool:
        return bar(claim, times.ratio(name, to), at_most=at_most, cpu=times.cpu_ratio(name, to))

    return [
        compared("untagged get, of django-redis's", untagged, BASELINE, 1.05),
        compared("get with 3 tags, of django-redis's plain get", tagged, BASELINE, 1.2),
        compared("near hit, of LocMemCache's get", near, "LocMemCache", 1.3),
        bar(
            "near hit, faster than django-redis's get", times.ratio(BASELINE, near), at_least=15,
            cpu=times.cpu_ratio(BASELINE, near),
        ),
    ]  # fmt: skip


def main() -> int:
    size, kept = size_asked(__doc__), []
    with benchmark(size):
        from django.core.cache import caches

        for length in (100, 1_000, 10_000, 100_000):
            calls = hits(length)
            name = str(caches[BASELINE].make_key("plain"))
            with raw_socket(name, reply_of(name)) as floor:
                times = measure({**({"raw socket": floor} if floor else {}), **calls}, size)
            show(f"A hit of {length:,} bytes", times, BASELINE)
            if length == 100:
                kept = bars(times)
        show("A near hit of 100 bytes", measure(near_hits(100), size, 200), "LocMemCache")
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
