"""Cached queries, and a request that saves 1,000 rows, beside the packages that cache queries by themselves.

Each package runs in a process of its own, because some of them change how Django asks; the processes take turns, round
by round. Rows in SQLite in memory, found without an index. Exits 1 where a bar is missed.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from _bench import OURS, PATIENCE, PREFIX, URL, Size, benchmark, is_installed, prefix_for_cacheops, size_asked
from _child import Child, serve
from _measure import Times, bar, code, lines, show, spent_on

THEIRS = "django_redis.cache.RedisCache"
LOCAL = "django.core.cache.backends.locmem.LocMemCache"
CACHEOPS = {
    "CACHEOPS_REDIS": URL,
    "CACHEOPS": {"auth.group": {"ops": "all", "timeout": 600}},
    "CACHEOPS_PREFIX": f"{prefix_for_cacheops.__module__}.{prefix_for_cacheops.__name__}",
}
# By name: the app, the cache behind it with its options, further settings.
PACKAGES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "no cache": ("", LOCAL, {}, {}),
    "bergizi_redis": ("bergizi_redis", OURS, {}, {}),
    "bergizi_redis, near": ("bergizi_redis", OURS, {"NEAR_CACHE": True}, {}),
    "django-cacheops": ("cacheops", THEIRS, {}, CACHEOPS),
    "django-cachalot, django-redis": ("cachalot", THEIRS, {}, {}),
    "django-cachalot, LocMemCache": ("cachalot", LOCAL, {}, {}),
}
BASELINE = "no cache"
SAVED, FOUND = 1_000, 20  # rows


class Site:
    """One package in this process."""

    def __init__(self, name: str, rows: int) -> None:
        import django
        from django.conf import settings
        from django.core.management import call_command

        app, backend, options, more = PACKAGES[name]
        cache = {"BACKEND": backend, "LOCATION": URL, "KEY_PREFIX": f"{PREFIX}-{name.replace(' ', '-')}"}
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *([app] if app else [])],
            SECRET_KEY="benchmark",
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            CACHES={"default": {**cache, "OPTIONS": options} if options else cache},
            BERGIZI_REDIS={"KEY_PREFIX": f"{PREFIX}-{len(name)}", **PATIENCE},
            **more,
        )
        django.setup()
        call_command("migrate", verbosity=0)
        from django.contrib.auth.models import Group
        from django.db import transaction

        self._model, self._transaction, self._is_ours = Group, transaction, app == "bergizi_redis"
        kitchens = rows // FOUND
        Group.objects.bulk_create(
            [Group(name=f"kitchen {number % kitchens}, group {number}") for number in range(rows)]
        )

    def rows(self) -> list[Any]:
        """Those of one kitchen, from the cache where there is one."""
        queryset = self._model.objects.filter(name__startswith="kitchen 7,")
        if not self._is_ours:
            return list(queryset)
        from bergizi_redis.cache.queries import cache_query

        return list(cache_query(queryset, timeout=600))

    def save(self, count: int) -> None:
        """A request that saves rows, each by ``save()``."""
        with self._transaction.atomic():
            for row in list(self._model.objects.all()[:count]):
                row.save()

    def answer(self, order: dict[str, Any]) -> Any:
        if order["do"] == "read":
            assert len(self.rows()) == FOUND
            return spent_on(self.rows, order["number"])
        if order["do"] == "near":
            return self._is_near()
        return spent_on(lambda: self.save(order["number"]), 1)

    def _is_near(self) -> bool:
        from django.core.cache import cache

        before = cache.stats()["near_hits"]
        self.rows()
        return bool(cache.stats()["near_hits"] > before)


def site(name: str, rows: int) -> int:
    """The child."""
    made = Site(name, rows)
    with ExitStack() as stack:
        if name.startswith("bergizi_redis"):
            from bergizi_redis.tenancy import use_tenant

            stack.enter_context(use_tenant("sppg-jakarta-001"))
        return serve(made.answer)


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


def installed() -> list[str]:
    found = []
    for name, (app, *_) in PACKAGES.items():
        if app and not is_installed(app):
            print(f"  {name}: skipped, not installed; pip install 'bergizi-redis[bench]'")
        else:
            found.append(name)
    return found


def reads(children: dict[str, Child], size: Size) -> Times:
    times, number = Times(), size.of(20, 10, 2)
    for name, child in children.items():
        child.ask("read", number=5)
        while name.endswith("redis, near") and not child.ask("near"):
            pass
    for _ in range(size.of(100, 30, 2)):
        for name, child in children.items():
            times.add(name, tuple(child.ask("read", number=number)))
    return times


def saves(children: dict[str, Child], size: Size) -> dict[str, int]:
    """How many commands each package sends while a request saves all rows. Shows its time."""
    rows, times, counts = size.of(SAVED, SAVED, 20), Times(), {}
    for name, child in children.items():
        child.ask("save", number=2)  # the first opens connections, and tells scripts to the server
        with commands() as seen:
            child.ask("save", number=rows)
        counts[name] = len(seen)
    for _ in range(size.of(7, 3, 1)):
        for name, child in children.items():
            times.add(name, tuple(child.ask("save", number=rows)))
    show(f"Saving {rows:,} rows in a request", times, BASELINE)
    return counts


def main() -> int:
    size = size_asked(__doc__)
    with benchmark(size), ExitStack() as stack:
        rows = size.of(20_000, 20_000, 200)
        children = {name: stack.enter_context(Child(__file__, name, rows)) for name in installed()}
        show(f"A query that finds {FOUND} of {rows:,} rows", reads(children, size), BASELINE)
        counts = saves(children, size)
        lines(
            "Commands to Redis while a request saves rows", "counted by MONITOR", ["commands"],
            {name: [count] for name, count in counts.items()},
        )  # fmt: skip
        kept = [
            bar(f"{name}, a request that saves them", counts[name], at_most=2, unit="round trips")
            for name in ("bergizi_redis", "bergizi_redis, near")
        ]
    return code(size, kept)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        sys.exit(site(sys.argv[2], int(sys.argv[3])))
    sys.exit(main())
