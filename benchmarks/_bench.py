"""What the benchmarks share: one server, settings with the peers in them, versions, sizes, and cleaning up.

Every package has its own defaults, the same server, driver and pickle. Everything is written below the prefix
``bench-…`` and removed again. How it is measured: ``_measure.py``.
"""

import argparse
import atexit
import importlib.metadata
import os
import platform
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from bergizi_redis import embedded
from bergizi_redis.conf import redis_url_from_env

PREFIX = os.environ.setdefault("BENCH_PREFIX", f"bench-{uuid.uuid4().hex[:8]}")  # of child processes too
# The tests, whose machine may stand still for a second, want to know that all runs, not how fast.
PATIENCE = {"REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0} if "BENCH_PATIENCE" in os.environ else {}
URL = redis_url_from_env() or embedded.ensure(Path(__file__).resolve().parent / ".valkey", persist=False)
OURS = "bergizi_redis.cache.backend.TaggedRedisCache"
BACKENDS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": OURS},
    "near": {"BACKEND": OURS, "OPTIONS": {"NEAR_CACHE": True}},
    "django-redis": {"BACKEND": "django_redis.cache.RedisCache"},
    "RedisCache": {"BACKEND": "django.core.cache.backends.redis.RedisCache"},
    "LocMemCache": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
PACKAGES = (
    "Django", "redis", "hiredis", "django-redis", "django-cacheops", "django-cachalot", "django-qsessions",
    "django-redis-sessions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: ``full``, ``quick``, or next to nothing, which only shows that the file still runs."""

    name: str

    def of(self, full: int, quick: int, smoke: int) -> int:
        return {"full": full, "quick": quick, "smoke": smoke}[self.name]

    @property
    def is_smoke(self) -> bool:
        return self.name == "smoke"


def size_asked(about: str | None) -> Size:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", default="full")
    parser.add_argument("--smoke", dest="size", action="store_const", const="smoke", help="does it run at all?")
    return Size(parser.parse_args().size)


@contextmanager
def benchmark(size: Size) -> Iterator[None]:
    """Django set up with all of ``BACKENDS``; what was stored is gone afterwards."""
    settings.configure(
        INSTALLED_APPS=["bergizi_redis"],
        SECRET_KEY="benchmark",
        BERGIZI_REDIS={"KEY_PREFIX": PREFIX, **PATIENCE},
        CACHES={
            alias: {**backend, "LOCATION": URL, "KEY_PREFIX": f"{PREFIX}-{alias}".replace(" ", "-")}
            for alias, backend in BACKENDS.items()
        },
    )
    atexit.register(remove)  # after what the package itself does at the end, which is to send its numbers
    django.setup()
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")
    print(f"{Path(sys.argv[0]).stem} ({size.name}): {versions()}", flush=True)
    yield


def versions() -> str:
    """Of all that is measured, for whoever compares."""
    import redis

    with redis.Redis.from_url(URL) as connection:
        told: dict[str, Any] = connection.info("server")
    server = "Valkey" if "valkey_version" in told else "Redis"
    found = [f"{server} {told.get('valkey_version') or told['redis_version']}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join([*found, f"{os.cpu_count()} cores"])


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def remove() -> None:
    """All that carries the prefix."""
    import redis

    with redis.Redis.from_url(URL) as connection:
        some: list[Any] = []
        for key in connection.scan_iter(match=f"*{PREFIX}*", count=5_000):
            some.append(key)
            if len(some) == 5_000:
                connection.unlink(*some)
                some = []
        if some:
            connection.unlink(*some)


def prefix_for_cacheops(_: object) -> str:
    """Named by the settings of ``queries.py``."""
    return f"{PREFIX}-cacheops:"


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait for what comes by itself, such as an entry's way into the near cache."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds} s for {true}")
        time.sleep(0.001)


def bring_near(cache: Any, read: Callable[[], object]) -> None:
    """Have the tagged entry that ``read`` reads in the near cache."""

    def is_near() -> bool:
        before = cache.stats()["near_hits"]
        read()
        return bool(cache.stats()["near_hits"] > before)

    until(is_near)
