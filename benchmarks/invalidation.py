"""Voiding 100,000 entries: by one tag, by a pattern, by a set of the tag's keys; and what a tag costs each entry.

Exits 1 where a bar is not kept. How it is measured: ``_bench.py``.
"""

import argparse
import sys
import timeit
from typing import Any

from _bench import PREFIX, bar, benchmark, show

SOME = 5_000


def stored(entries: int) -> Any:
    """The entries in ours, in django-redis, and in a set that names those of django-redis; returns a plain client."""
    from django.core.cache import cache, caches

    from bergizi_redis.connections import Role, client

    peer, patient = caches["django-redis"], client(role=Role.BLOCKING)
    names = [f"menu:{number}" for number in range(entries)]
    for start in range(0, entries, SOME):
        some = dict.fromkeys(names[start : start + SOME], "v" * 100)
        cache.set_many(some, 600, tags=["menus"])
        peer.set_many(some, 600)
        patient.sadd(f"{PREFIX}-set", *(peer.make_key(name) for name in some))
    return patient


def voided(entries: int) -> dict[str, float]:
    """µs of each way to void all of them, best of two."""
    from django.core.cache import cache, caches

    peer = caches["django-redis"]
    best: dict[str, float] = {}
    for _ in range(2):
        patient = stored(entries)

        def by_set(client: Any = patient) -> None:
            names = list(client.smembers(f"{PREFIX}-set"))
            for start in range(0, entries, SOME):
                client.unlink(*names[start : start + SOME])

        def by_tag() -> None:
            cache.invalidate_tags(["menus"])

        for _ in range(20):  # what follows is over before a processor that was busy elsewhere has warmed up
            cache.invalidate_tags(["another"])
        for name, way in {
            "one tag": by_tag,
            "a set of keys, and UNLINK": by_set,
            "django-redis, delete_pattern": lambda: peer.delete_pattern("menu:*", itersize=SOME),
        }.items():
            if name.startswith("django-redis"):
                peer.set_many({f"menu:{number}": "v" * 100 for number in range(entries)}, 600)
            best[name] = min(best.get(name, float("inf")), timeit.timeit(way, number=1) * 1e6)
        assert cache.get("menu:0") is None
    return best


def overhead() -> dict[int, int]:
    """Bytes that an entry of a domain is larger than the same value without tags, by the number of its tags."""
    from bergizi_redis.cache.domains import Domain, tagged_cache
    from bergizi_redis.connections import client

    sizes = {}
    for count in (1, 3, 10):
        domain = Domain(f"overhead{count}", tags=[f"tag{number}" for number in range(count)])
        domain.set("sppg-1", 1, "v" * 100)
        key = domain.lookup("sppg-1", 1).address.key
        sizes[count] = int(client().strlen(key)) - len(tagged_cache().client.encode("v" * 100))
    return sizes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    options = parser.parse_args()
    with benchmark():
        times = voided(options.entries)
        show(f"Voiding {options.entries:,} entries", times, "one tag")
        others = min(took for name, took in times.items() if name != "one tag")
        kept = bar("one tag, faster than the fastest of the others", others / times["one tag"], at_least=1000)
        sizes = overhead()
        print("\nBytes beside the value: " + ", ".join(f"{size} with {count} tags" for count, size in sizes.items()))
    return 0 if kept and max(sizes.values()) <= 30 else 1


if __name__ == "__main__":
    sys.exit(main())
