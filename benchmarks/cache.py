"""A cache hit beside the peers, from 100 bytes to 100 KB: one process, one thread.

    make bench            the embedded server, or the one that REDIS_URL names

Exits 1 where a bar is not kept. How it is measured: ``_bench.py``.
"""

import argparse
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from _bench import URL, Calls, bar, benchmark, bring_near, measure, show

BASELINE = "django-redis"


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
    bring_near(near, "tagged")
    menu.set("sppg-jakarta-001", 42, value)

    @cached(timeout=600, tags=["menus"])
    def computed(number: int) -> str:
        return value

    computed.invalidate_all()
    computed(1)
    driver, name = Redis.from_url(URL), theirs.make_key("plain")
    return {
        "redis-py, bare GET": lambda: driver.get(name),
        **{peer: (lambda peer=caches[peer]: peer.get("plain")) for peer in (BASELINE, "django", "local memory")},
        "bergizi_redis, untagged": lambda: ours.get("plain"),
        "bergizi_redis, 3 tags": lambda: ours.get("tagged"),
        "bergizi_redis, domain": lambda: menu.get("sppg-jakarta-001", 42),
        "bergizi_redis, @cached": lambda: computed(1),
        "bergizi_redis, 3 tags, near": lambda: near.get("tagged"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--number", type=int, default=50, help="calls of each in a round")
    options = parser.parse_args()
    kept = True
    with benchmark():
        from django.core.cache import caches

        for size in (100, 10_000, 100_000):
            calls = hits(size)
            with raw_socket(str(caches[BASELINE].make_key("plain")), size) as floor:
                times = measure({**({"raw socket": floor} if floor else {}), **calls}, options.rounds, options.number)
            show(f"A hit of {size:,} bytes", times, BASELINE)
            theirs, near = times[BASELINE], times["bergizi_redis, 3 tags, near"]
            if size == 100:  # at larger ones the same bytes are copied and unpickled by all
                kept &= bar("untagged, of django-redis's", times["bergizi_redis, untagged"] / theirs, at_most=1.05)
                kept &= bar("3 tags, of django-redis's", times["bergizi_redis, 3 tags"] / theirs, at_most=1.2)
                kept &= bar("near, of local memory's", near / times["local memory"], at_most=1.3)
                kept &= bar("near, faster than django-redis", theirs / near, at_least=15)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
