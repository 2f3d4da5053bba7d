"""What the links of near caches cost the server when entries are written: tracked keys, and broadcasts of prefixes.

Why the near cache tracks the keys that it has read: ``docs/why.md``. Prints SETs a second of one client, in pipelines
of 50, with so many idle links beside it.
"""

import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from _bench import PREFIX, Size, benchmark, size_asked
from _measure import lines

ENTRIES, TENANTS, TOGETHER = 5_000, 200, 50


def links_with(commands: list[list[str]], count: int, stack: ExitStack) -> list[socket.socket]:
    """Plain RESP3 connections that have sent the commands."""
    from bergizi_redis.cache.near.replies import packed
    from bergizi_redis.connections import client, tracked_connection

    links = []
    for _ in range(count):
        connection: Any = tracked_connection(client().connection_pool)
        connection.connect()
        stack.callback(connection.disconnect)
        for command in commands:
            connection._sock.sendall(packed(*command))
            connection.read_response()
        links.append(connection._sock)
    return links


@contextmanager
def listening(links: list[socket.socket]) -> Iterator[None]:
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            for link in select.select([link.fileno() for link in links], [], [], 0.1)[0]:
                next(each for each in links if each.fileno() == link).recv(1 << 20)

    thread = threading.Thread(target=listen)
    thread.start()
    yield
    over.set()
    thread.join()


def sets_a_second(commands: list[list[str]], links: int, sets: int) -> float:
    """The best of three rounds."""
    from bergizi_redis.connections import Role, client

    best = 0.0
    with ExitStack() as stack, listening(links_with(commands, links, stack)):
        for _ in range(3):
            began = time.perf_counter()
            for start in range(0, sets, TOGETHER):
                pipeline: Any = client(role=Role.BLOCKING).pipeline(transaction=False)
                for number in range(start, start + TOGETHER):
                    pipeline.set(
                        f"{PREFIX}:cache:{{t{number % TENANTS}}}:menu:{number % ENTRIES}", b"v" * 100, px=60_000
                    )
                pipeline.execute()
            best = max(best, sets / (time.perf_counter() - began))
    return best


def broadcast(*prefixes: str) -> list[list[str]]:
    words = [word for prefix in prefixes for word in ("PREFIX", f"{PREFIX}:{prefix}")]
    return [["CLIENT", "TRACKING", "ON", "BCAST", *words]]


def tag_prefixes(tenants: int) -> list[str]:
    names = [f"cache:{{o{number:04}}}:" for number in range(tenants)]
    return [name + end for name in names for end in ("v:", "tenant")]


def main() -> int:
    size: Size = size_asked(__doc__)
    links, sets = size.of(32, 32, 2), size.of(10_000, 5_000, 50)
    versions = [f"{PREFIX}:cache:{{t{number}}}:v:menu" for number in range(TENANTS)]
    ways: dict[str, list[list[str]]] = {
        f"tracking of {TENANTS} tags that were read": [["CLIENT", "TRACKING", "ON"], ["MGET", *versions]],
        "broadcast of cache:": broadcast("cache:"),
        "broadcast of the tags of 200 tenants": broadcast(*tag_prefixes(200)),
        "broadcast of the tags of 1,000 tenants": broadcast(*tag_prefixes(1_000)),
    }
    with benchmark(size):
        rows = {"no links": [sets_a_second([], 0, sets)]}
        for name, commands in ways.items():
            rows[name] = [sets_a_second(commands, links, sets)]
        lines(f"SETs beside {links} links", "a second", ["SETs"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
