"""A rate limit beside the peers: what a call costs, and how many calls a window sees at worst.

Each limit stands on a view of its own and counts addresses. The worst window is looked for in two ways: clients who
begin at 20 different moments of a window and then never stop, and threads that all come at once. Exits 1 where a bar
is missed.
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, cycle
from types import SimpleNamespace
from typing import Any

from _bench import PREFIX, URL, Size, benchmark, is_installed, size_asked
from _measure import bar, code, lines, measure, progress, show

BASELINE = "django-ratelimit"
OURS = {f"bergizi_redis, {algorithm}": algorithm for algorithm in ("exact", "gcra", "fixed")}
TRIES, MOMENTS, TICK = 12, 20, 0.05  # of each client at each moment; of a second; s
LIMIT = 5

Call = Callable[[Any], bool]  # of a request: whether it passed
Make = Callable[[str], Call]  # of a rate


def view(request: Any) -> bool:
    return True


def blocked_by(raised: type[Exception], limited: Any) -> Call:
    def call(request: Any) -> bool:
        try:
            return bool(limited(request))
        except raised:
            return False

    return call


def ours(algorithm: str) -> Make:
    def make(rate: str) -> Call:
        from bergizi_redis.security.ratelimit import Ratelimited, ratelimit

        return blocked_by(
            Ratelimited, ratelimit(group=f"{rate} {algorithm}", key="ip", rate=rate, algorithm=algorithm)(view)
        )

    return make


def django_ratelimit(rate: str) -> Call:
    from django_ratelimit.decorators import ratelimit
    from django_ratelimit.exceptions import Ratelimited

    return blocked_by(Ratelimited, ratelimit(group=rate, key="ip", rate=rate)(view))


def rest_framework(rate: str) -> Call:
    from django.core.cache import caches
    from rest_framework.throttling import AnonRateThrottle

    class Throttle(AnonRateThrottle):
        cache = caches["django-redis"]
        scope = rate
        user = None

    Throttle.rate = rate
    return lambda request: bool(Throttle().allow_request(request, None))


def smart(rate: str) -> Call:
    from django_smart_ratelimit import rate_limit

    limited: Any = rate_limit(key="ip", rate=rate)(answered)
    return lambda request: limited(request).status_code == 200


def answered(request: Any) -> Any:
    from django.http import HttpResponse

    return HttpResponse()


def limits_library(strategy: str) -> Make:
    def make(rate: str) -> Call:
        import limits

        storage = limits.storage.RedisStorage(URL, key_prefix=f"{PREFIX}-limits")
        limiter = getattr(limits.strategies, strategy)(storage)
        parsed = limits.parse(rate.replace("/", " per ").replace(" s", " second").replace(" h", " hour"))
        return lambda request: bool(limiter.hit(parsed, rate, request.META["REMOTE_ADDR"]))

    return make


PEERS: dict[str, tuple[str, Make]] = {
    BASELINE: ("django_ratelimit", django_ratelimit),
    "DRF, AnonRateThrottle": ("rest_framework", rest_framework),
    "django-smart-ratelimit": ("django_smart_ratelimit", smart),
    "limits, moving window": ("limits", limits_library("MovingWindowRateLimiter")),
    "limits, fixed window": ("limits", limits_library("FixedWindowRateLimiter")),
    **{name: ("bergizi_redis", ours(algorithm)) for name, algorithm in OURS.items()},
}

_addresses = count(1)


def a_request() -> Any:
    """Of an address that nobody had before."""
    from django.test import RequestFactory

    number = next(_addresses)
    request = RequestFactory().get("/", REMOTE_ADDR=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
    request.user = SimpleNamespace(is_authenticated=False, is_anonymous=True, pk=None)
    return request


@contextmanager
def commands() -> Iterator[list[str]]:
    """What clients send meanwhile with our prefix in it, as MONITOR tells; filled in when the block ends."""
    import redis

    seen: list[str] = []
    with redis.Redis.from_url(URL) as watcher, redis.Redis.from_url(URL) as teller, watcher.monitor() as monitor:
        yield seen
        teller.echo(f"{PREFIX} is done")
        for entry in iter(monitor.next_command, None):
            if entry["command"] == f"ECHO {PREFIX} is done":
                return
            if PREFIX in entry["command"] and entry["client_type"] != "lua":
                seen.append(entry["command"])


def costs(makes: dict[str, Make], size: Size) -> tuple[float, float]:
    """Our dearest in units of the baseline, and its commands. Each has 64 clients in turn, far below their limits."""
    calls = {name: make("100000/h") for name, make in makes.items()}
    turns = {name: cycle([a_request() for _ in range(64)]) for name in calls}
    times = measure(
        {name: (lambda call=call, turn=turns[name]: call(next(turn))) for name, call in calls.items()}, size
    )
    show("A call that passes", times, BASELINE)
    asked = {}
    for name, call in calls.items():
        with commands() as log:
            for _ in range(10):
                assert call(next(turns[name]))
        asked[name] = [len(log) / 10]
    lines("A call that passes", "commands that clients send", ["commands"], asked)
    ratios = [times.ratio(name, BASELINE) for name in OURS]
    return max(ratios), max(asked[name][0] for name in OURS)


def seen_at_worst(stamps: list[tuple[float, float]]) -> int:
    """Calls that certainly lie within one second: from before the first was sent to after the last was answered."""
    return max(
        (sum(begun <= ended <= begun + 1 for _, ended in stamps[n:]) for n, (begun, _) in enumerate(stamps)), default=0
    )


def in_turn(call: Call, size: Size) -> int:
    """Clients that begin at different moments of a second, and then take all they can for more than another one."""
    moments = size.of(MOMENTS, MOMENTS, 2)
    clients = [a_request() for _ in range(moments)]
    passed: list[list[tuple[float, float]]] = [[] for _ in clients]
    start = time.perf_counter()
    for tick in range(moments + size.of(24, 24, 1)):
        while time.perf_counter() < start + tick * TICK:
            pass
        for number in range(max(0, tick - 24), min(tick + 1, moments)):
            for _ in range(TRIES):
                begun = time.perf_counter()
                if call(clients[number]):
                    passed[number].append((begun, time.perf_counter()))
    return max(seen_at_worst(stamps) for stamps in passed)


def at_once(call: Call, size: Size) -> int:
    """Of a limit by the hour: how many of 64 threads pass, at worst of several clients."""
    worst = 0
    for _ in range(size.of(10, 4, 1)):
        request = a_request()
        with ThreadPoolExecutor(64) as pool:
            worst = max(worst, sum(pool.map(lambda _, request=request: call(request), range(64))))
    return worst


def worst(makes: dict[str, Make], size: Size) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {}
    for name, make in makes.items():
        progress(f"the worst window of {name}")
        rows[name] = [in_turn(make(f"{LIMIT}/s"), size), at_once(make(f"{LIMIT}/h"), size)]
    progress("")
    lines(f"Calls that pass with a limit of {LIMIT}", "at worst", ["any window", "64 at once"], rows)
    return rows


def main() -> int:
    size, kept = size_asked(__doc__), []
    with benchmark(size):
        from django.conf import settings

        settings.RATELIMIT_USE_CACHE = "django-redis"  # of both: theirs knows no other way
        settings.RATELIMIT_BACKEND = "redis"  # of django-smart-ratelimit, with the two below
        settings.RATELIMIT_REDIS = {"url": URL}
        settings.RATELIMIT_KEY_PREFIX = f"{PREFIX}-smart:"
        makes = {name: make for name, (package, make) in PEERS.items() if is_installed(package)}
        for package in dict.fromkeys(package for package, _ in PEERS.values() if not is_installed(package)):
            print(f"  {package} is not installed, and left out")
        dearest, asked = costs(makes, size)
        rows = worst(makes, size)
        gcra, exact = (rows[f"bergizi_redis, {algorithm}"] for algorithm in ("gcra", "exact"))
        kept = [
            bar("a limited call, our dearest, of django-ratelimit's", dearest, at_most=1.0),
            bar("commands of a limited call", asked, at_most=1, unit="commands"),
            bar("exact, any window", max(exact), at_most=LIMIT, unit="calls"),
            bar("gcra, any window", max(gcra), at_most=2 * LIMIT, unit="calls"),
        ]
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
