"""What a hit and an invalidation cost as entries, tenants and tags grow: the same. Exits 1 where a bar is missed.

Sizes cannot take turns on one server, so each is measured beside a bare GET of the driver, or a bare INCR, and it is
these ratios that are compared.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from _bench import PREFIX, URL, Size, benchmark, size_asked
from _measure import Times, bar, code, lines, measure

TENANT = "sppg-jakarta-001"
SOME = 5_000
Found = dict[str, list[float]]


def bare() -> tuple[Callable[[], object], Callable[[], object]]:
    """One round trip of the driver that reads, and one that writes."""
    from redis import Redis

    driver = Redis.from_url(URL)
    driver.set(f"{PREFIX}-bare", "v" * 100, 3600)
    return lambda: driver.get(f"{PREFIX}-bare"), lambda: driver.incr(f"{PREFIX}-count")


def filled(entries: int) -> None:
    """So many living entries with one tag in the alias."""
    from django.core.cache import cache

    for start in range(0, entries, SOME):
        some = {f"menu:{number}": "v" * 100 for number in range(start, min(start + SOME, entries))}
        cache.set_many(some, 600, tags=["menus"])


def kept_for(calls: dict[str, Callable[[], object]], size: Size, found: Found, hit: str, void: str) -> None:
    """Measure the four, and note hit and invalidation as ratios to their bare ones."""
    get, write = bare()
    times: Times = measure({"get": get, "write": write, **calls}, size)
    found.setdefault(hit, []).append(times.ratio("hit", "get"))
    found.setdefault(void, []).append(times.ratio("void", "write"))


def by_entries(sizes: Sequence[int], size: Size) -> Found:
    from django.core.cache import cache

    found: Found = {}
    for entries in sizes:
        filled(entries)
        names = cycle([f"menu:{number}" for number in range(0, entries, max(1, entries // 500))])
        cache.set("other", 1, 600, tags=["others"])
        calls: dict[str, Callable[[], object]] = {
            "hit": lambda names=names: cache.get(next(names)),
            "void": lambda: cache.invalidate_tags(["others"]),
        }
        kept_for(calls, size, found, "hit, by entries of its tag", "invalidation, by entries beside it")
    return found


def by_tenants(sizes: Sequence[int], size: Size) -> Found:
    """Each tenant has an entry; 500 of them are asked in turn."""
    from bergizi_redis.cache.domains import menu

    found: Found = {}
    for tenants in sizes:
        names = [f"sppg-{number}" for number in range(tenants)]
        for name in names:
            menu.set(name, 1, "v" * 100)
        asked = cycle(names[:: max(1, tenants // 500)])
        calls: dict[str, Callable[[], object]] = {
            "hit": lambda asked=asked: menu.get(next(asked), 1),
            "void": lambda: menu.invalidate("sppg-none"),
        }
        kept_for(calls, size, found, "hit, by tenants", "invalidation, by tenants")
    return found


def by_tags(sizes: Sequence[int], size: Size) -> Found:
    """So many tags exist; an entry has three of them."""
    from django.core.cache import cache

    found: Found = {}
    for tags in sizes:
        for number in range(0, tags, 3):
            three = [f"tag{number + more}" for more in range(3)]
            cache.set(f"of:{number}", "v" * 100, 600, tags=three)
        names = cycle([f"of:{number}" for number in range(0, tags, 3)][:: max(1, tags // 1_500)])
        calls: dict[str, Callable[[], object]] = {
            "hit": lambda names=names: cache.get(next(names)),
            "void": lambda: cache.invalidate_tags(["another"]),
        }
        kept_for(calls, size, found, "hit, by tags that there are", "invalidation, by tags that there are")
    return found


def by_tags_of_one(sizes: Sequence[int], size: Size) -> Found:
    """What is not flat: every tag of an entry is a version more to read."""
    from django.core.cache import cache

    get, _ = bare()
    calls: dict[str, Callable[[], object]] = {"get": get}
    for tags in sizes:
        cache.set(f"with:{tags}", "v" * 100, 600, tags=[f"own{number}" for number in range(tags)])
        calls[str(tags)] = lambda tags=tags: cache.get(f"with:{tags}")
    times = measure(calls, size)
    return {"hit, by tags of the entry": [times.ratio(str(tags), "get") for tags in sizes]}


def main() -> int:
    size, kept = size_asked(__doc__), []
    steps: dict[str, tuple[Any, list[int]]] = {
        "entries": (by_entries, [1_000, 10_000, 100_000]),
        "tenants": (by_tenants, [10, 100, 1_000, 10_000]),
        "tags": (by_tags, [30, 300, 3_000, 30_000]),
    }
    with benchmark(size):
        for what, (measured, sizes) in steps.items():
            sizes = [size.of(number, number, min(number, 3 + number // 1_000)) for number in sizes]
            found = measured(sizes, size)
            lines(f"Cost by {what}", "bare commands of the driver", [f"{number:,}" for number in sizes], found)
            for name, costs in found.items():
                kept.append(bar(f"{name}, {sizes[-1]:,} to {sizes[0]:,}", costs[-1] / costs[0], at_most=1.5))
        sizes = [1, 3, 10, 30]
        lines("Cost by tags of one entry", "bare commands of the driver", sizes, by_tags_of_one(sizes, size))
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
