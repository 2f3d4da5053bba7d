"""Reading through the cache at 50 to 99 % hits: ``get_or_set`` of a value that takes 1 ms to compute, or no time.

What is missed is computed and stored. With tags that costs more round trips than without: the versions before, the
lease that keeps others from computing, the store. The computing waits without using the processor.
"""

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

from _bench import benchmark, bring_near, size_asked
from _measure import Times, lines, progress, spent_on

RATIOS = (50, 80, 90, 95, 99)
FRESH = itertools.count()


def reads(
    cache: Any, ratio: int, batch: int, compute: Callable[[], str], options: dict[str, Any]
) -> Callable[[], None]:
    """So many reads, of which ``ratio`` hit. Those that miss are spread evenly, each with a key that was never used."""

    def read() -> None:
        owed = 0
        for _ in range(batch):
            owed += 100 - ratio
            key = "hot"
            if owed >= 100:
                owed -= 100
                key = f"cold:{next(FRESH)}"
            cache.get_or_set(key, compute, 60, **options)

    return read


def readers() -> dict[str, tuple[Any, dict[str, Any]]]:
    from django.core.cache import caches

    three = {"tags": ["a", "b", "c"]}
    return {
        "django-redis": (caches["django-redis"], {}),
        "RedisCache": (caches["RedisCache"], {}),
        "LocMemCache": (caches["LocMemCache"], {}),
        "bergizi_redis, untagged": (caches["default"], {}),
        "bergizi_redis, 3 tags": (caches["default"], three),
        "bergizi_redis, 3 tags, near": (caches["near"], three),
    }


def main() -> int:
    size = size_asked(__doc__)
    batch = size.of(100, 100, 10)
    with benchmark(size):
        for title, compute in {
            "computing takes no time": lambda: "v" * 100,
            "computing takes 1 ms": lambda: time.sleep(0.001) or "v" * 100,
        }.items():
            found: dict[str, list[float]] = {name: [] for name in readers()}
            for ratio in RATIOS:
                progress(f"{ratio} % hits")
                times = Times()
                calls = {
                    name: reads(cache, ratio, batch, compute, options) for name, (cache, options) in readers().items()
                }
                for call in calls.values():
                    call()
                near, options = readers()["bergizi_redis, 3 tags, near"]
                bring_near(near, lambda near=near, options=options: near.get_or_set("hot", "v" * 100, 60, **options))
                for _ in range(size.of(15, 4, 1)):
                    for name, call in calls.items():
                        times.add(name, spent_on(call, 1))
                for name in calls:
                    found[name].append(times.wall(name) / batch)
            progress("")
            lines(f"Read, {title}", "µs by hit ratio in %", list(RATIOS), found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
