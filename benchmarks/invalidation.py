"""Voiding 100,000 entries: by one tag, by a pattern, by a set of the tag's keys; and what a tag costs each entry.

Exits 1 where a bar is missed.
"""

import sys
from collections.abc import Callable
from typing import Any

from _bench import PREFIX, benchmark, size_asked
from _measure import Times, bar, code, lines, progress, show, spent_on

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


def ways(entries: int) -> dict[str, Callable[[], object]]:
    """To void all of them, which each way finds there."""
    from django.core.cache import cache, caches

    peer, patient = caches["django-redis"], stored(entries)

    def by_set() -> None:
        names = list(patient.smembers(f"{PREFIX}-set"))
        for start in range(0, entries, SOME):
            patient.unlink(*names[start : start + SOME])

    return {
        "one tag": lambda: cache.invalidate_tags(["menus"]),
        "a set of keys, and UNLINK": by_set,
        "django-redis, delete_pattern": lambda: peer.delete_pattern("menu:*", itersize=SOME),
    }


def voided(entries: int, rounds: int) -> Times:
    """One call of each in a round. Keys that ``by_set`` has taken are put back for ``delete_pattern``."""
    from django.core.cache import cache, caches

    times = Times()
    for done in range(rounds):
        progress(f"round {done + 1} of {rounds}")
        for name, way in ways(entries).items():
            if name.startswith("django-redis"):
                names = [f"menu:{number}" for number in range(entries)]
                for start in range(0, entries, SOME):
                    caches["django-redis"].set_many(dict.fromkeys(names[start : start + SOME], "v" * 100), 600)
            for _ in range(20):  # what is over soon is not measured on a processor that was busy elsewhere
                cache.invalidate_tags(["another"])
            times.add(name, spent_on(way, 1))
        assert cache.get("menu:0") is None
        assert caches["django-redis"].get("menu:0") is None
    progress("")
    return times


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
    size = size_asked(__doc__)
    entries = size.of(100_000, 100_000, 200)
    with benchmark(size):
        times = voided(entries, size.of(5, 1, 1))
        show(f"Voiding {entries:,} entries", times, "one tag")
        others = [name for name in times.rounds if name != "one tag"]
        faster = min(times.ratio(name, "one tag") for name in others)
        kept = [bar("one tag, faster than the fastest of the others", faster, at_least=1000)]
        sizes = overhead()
        lines("Bytes beside the value, by number of tags", "bytes", [*sizes], {"a domain's entry": [*sizes.values()]})
        kept.append(bar("envelope of 3 tags", sizes[3], at_most=30, unit="bytes"))
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
