"""``kill -9`` of a real process, at each point of a writer's way and of a reader's: what it leaves hides no commit.

The points are those of ``points.py``. Taken away, the fence before COMMIT turned the writer red at ``after_commit``.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches

from bergizi_redis.cache.backend import TaggedRedisCache
from tests.servers import PrivateServer

DISHES = "tests_dish"
CHILD = """
import os, signal, sys, django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[2]
settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 60.0}
django.setup()
from bergizi_redis import points
from django.core.cache import cache
from django.db import transaction
from tests.models import Dish

def die(point):
    if point == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

points.hold = die
if sys.argv[3] == "write":
    with transaction.atomic():
        Dish.objects.update(name="new")
elif sys.argv[3] == "write by itself":
    Dish.objects.update(name="new")
else:
    with cache.lookup("k", tags=["tests_dish"]) as entry:
        if entry.missed:
            entry.store(Dish.objects.get().name, 60)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "kitchen.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tests_dish (id INTEGER PRIMARY KEY, tenant TEXT, name TEXT)")
        connection.execute("INSERT INTO tests_dish VALUES (1, 'sppg-a', 'old')")
    connection.close()
    return path


@pytest.fixture
def cache(server: PrivateServer, settings: Any) -> TaggedRedisCache:
    """With the settings that the child has."""
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": ""}}
    settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 60.0}
    return caches["default"]  # type: ignore[return-value]


def committed(database: Path) -> str:
    connection = sqlite3.connect(database)
    try:
        (name,) = connection.execute("SELECT name FROM tests_dish").fetchone()
        return str(name)
    finally:
        connection.close()


def killed_at(point: str, database: Path, act: str, server: PrivateServer) -> None:
    died = subprocess.run(
        [sys.executable, "-c", CHILD, point, str(database), act],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": server.url},
        check=False, timeout=200, capture_output=True, text=True,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr


def read_through(cache: TaggedRedisCache, database: Path) -> str:
    with cache.lookup("k", tags=[DISHES]) as entry:
        if entry.missed:
            entry.store(committed(database), 60)
    return str(entry.value)


@pytest.mark.parametrize("act", ["write", "write by itself"])
@pytest.mark.parametrize("point", ["before_fence", "before_commit", "after_commit"])
def test_a_writer_that_is_killed_hides_no_commit(
    server: PrivateServer, cache: TaggedRedisCache, database: Path, point: str, act: str
) -> None:
    cache.set("k", "old", tags=[DISHES])
    killed_at(point, database, act, server)
    assert committed(database) == ("new" if point == "after_commit" else "old")
    for _ in range(2):
        assert cache.get("k") in (None, committed(database))
        assert read_through(cache, database) == committed(database)
    with server.client() as raw:
        fenced = [key for key in cache.scope.bumped_by([DISHES]) if raw.strlen(key) > 8]
        assert bool(fenced) is (point != "before_fence")
        assert all(0 < raw.pttl(key) <= 30_000 for key in fenced)
        if fenced:
            raw.delete(*fenced)  # what its deadline does
    assert read_through(cache, database) == cache.get("k") == committed(database)


@pytest.mark.parametrize("point", ["after_look", "before_compute", "before_store", "after_store"])
def test_a_reader_that_is_killed_leaves_nothing_old(
    server: PrivateServer, cache: TaggedRedisCache, database: Path, point: str
) -> None:
    killed_at(point, database, "read", server)
    assert cache.get("k") == ("old" if point == "after_store" else None)
    cache.invalidate_tags([DISHES])
    assert cache.get("k") is None
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE tests_dish SET name = 'new'")
    connection.close()
    assert cache.get("k") is None
