"""A million live sessions with all their indices: bytes each, and what it takes to load one among so many.

On a Valkey of its own, which ends with the benchmark. How the crowd is made: ``_crowd.py``. Takes three minutes and
1 GB of memory. Exits 1 where a bar is missed.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from _bench import PATIENCE, Size, size_asked, versions
from _measure import bar, code, lines, progress

if TYPE_CHECKING:
    from _crowd import Crowd

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the servers of the tests

TRAIL_OF_USER, TRAIL_OF_TENANT = "user's activity", "tenant's activity"
TABLES = "tables of all keys, and the rest"
KEYS_EACH = 3  # keys of a session: its own, its user's index and activity
SAMPLE = 500  # keys of a kind whose bytes are asked for


def configure(url: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["bergizi_redis"],
        SECRET_KEY="benchmark",
        BERGIZI_REDIS=PATIENCE,
        SESSION_ENGINE="bergizi_redis.sessions.backend",
        CACHES={"default": {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": url}},
        USE_TZ=True,
    )
    django.setup()


def times_of(call: Callable[[int], object], among: int, number: int) -> tuple[float, float]:
    """µs, half of the calls and 99 % of them; each for another session."""
    chosen, spent = random.Random(7), []
    for _ in range(number):
        one = chosen.randrange(1, among)
        began = time.perf_counter()
        call(one)
        spent.append((time.perf_counter() - began) * 1e6)
    at = quantiles(spent, n=100)
    return at[49], at[98]


def loads(crowd: "Crowd", number: int) -> tuple[float, float, float]:
    """µs of loading a session, half and 99 %; and half of bare GETs, as a measure of the machine's speed now."""
    from _crowd import key_of

    from bergizi_redis.sessions.backend import SessionStore

    def load(one: int) -> None:
        store = SessionStore(key_of(one))
        store.load()
        assert store.record is not None
        assert store.record.user_id

    times_of(load, crowd.count, number // 20)
    rounds = []
    for _ in range(10):
        bare, _ = times_of(lambda _: crowd.client.get("none"), 2, number // 10)
        rounds.append((*times_of(load, crowd.count, number // 10), bare))
    half, most, bare = (sorted(column)[5] for column in zip(*rounds, strict=True))
    return half, most, bare


def bytes_by_kind(crowd: "Crowd", total: int) -> dict[str, float]:
    """Of each session: its share of all that is stored."""
    from _crowd import TENANT, key_of

    from bergizi_redis import keys
    from bergizi_redis.sessions.identity import sid_of

    usage = crowd.client.memory_usage
    step = max(1, crowd.count // SAMPLE)
    some = range(1, crowd.count, step)
    tenants = min(1_000, crowd.count)

    def mean(name: Callable[[int], str]) -> float:
        return sum(usage(name(number)) for number in some) / len(some)

    def shared(name: Callable[[Any], str]) -> float:
        return usage(name(TENANT), samples=0) * tenants / crowd.count

    found = {
        "session": mean(lambda number: keys.session(sid_of(key_of(number)))),
        "user's index": mean(lambda number: keys.user_sessions(f"user{number:07d}")),
        TRAIL_OF_USER: mean(lambda number: keys.user_activity(f"user{number:07d}")),
        "tenant's index": shared(keys.tenant_sessions),
        "tenant's online": shared(keys.tenant_online),
        TRAIL_OF_TENANT: shared(keys.tenant_activity),
    }
    found[TABLES] = total / crowd.count - sum(found.values())
    return found


def used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def measured(client: Any, size: Size) -> list[bool]:
    from _crowd import TENANT, Crowd

    from bergizi_redis import keys

    crowd, before = Crowd(client), used(client)
    sizes = [size.of(10_000, 10_000, 1_000), size.of(1_000_000, 50_000, 2_000)]
    kept, half, found = [], [], {}
    for many in sizes:
        progress(f"making {many:,} sessions")
        began = time.perf_counter()
        crowd.grow(many)
        progress("")
        print(f"  {many:,} sessions after {time.perf_counter() - began:.0f} s")
        found[f"{many:,} sessions"] = loads(crowd, size.of(20_000, 5_000, 200))
        half.append(found[f"{many:,} sessions"])
        kept.append(bar(f"load among {many:,}, 99 % of them", half[-1][1] / 1000, at_most=1, unit="ms"))
    lines("Loading one", "µs", ["half", "99 %", "bare GET"], {name: list(row) for name, row in found.items()})
    (first, _, bare), (last, _, bare_then) = half
    kept.append(
        bar("load, the most to the fewest sessions, in bare GETs", last / bare_then / (first / bare), at_most=1.2)
    )
    different = crowd.differences()
    assert not different, different
    parts = bytes_by_kind(crowd, used(client) - before)
    lines(
        f"Bytes among {crowd.count:,} sessions", "of each", ["bytes"], {name: [value] for name, value in parts.items()}
    )
    total = sum(parts.values())
    share = parts[TABLES] / KEYS_EACH  # of each key
    trails = parts[TRAIL_OF_USER] + share, parts[TRAIL_OF_TENANT]
    # What happened is history, bounded by its own length and age; it neither begins nor ends with a session.
    kept.append(bar("a session with its user's and tenant's index, and online", total - sum(trails), at_most=900,
                    unit="bytes"))  # fmt: skip
    trail = client.memory_usage(keys.tenant_activity(TENANT), samples=0)
    print(f"         with the activity of its user, who has logged in once: {total - trails[1]:,.0f} bytes")
    print(f"         besides, the activity of a tenant, full: {trail / 1000:,.0f} kB")
    return kept


def main() -> int:
    from tests.servers import private_server

    size = size_asked(__doc__)
    print(f"{Path(sys.argv[0]).stem} ({size.name}): {versions()}", flush=True)
    with private_server() as server:
        configure(server.url)
        kept = measured(server.client(), size)
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
