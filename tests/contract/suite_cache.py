"""Django's cache contract on this package's backend; ``test_django_cache.py`` runs it on a server of its own.

Its second is a minute here, and its ``sleep`` lets minutes pass for the keys instead of waiting: between two lines of a
test a busy machine may stand still for seconds.
"""

from types import SimpleNamespace
from typing import Any

import redis
from asgiref.sync import async_to_sync
from cache import tests as theirs  # type: ignore[import-not-found]
from cache.tests import BaseCacheTests, caches_setting_for_tests  # type: ignore[import-not-found]
from django.conf import settings
from django.core.cache import caches
from django.test import TestCase, override_settings

from bergizi_redis.cache.backend import TaggedRedisCache

SPOKEN_ASYNC = (
    "add", "clear", "decr", "decr_version", "delete", "delete_many", "get", "get_many", "get_or_set", "has_key", "incr",
    "incr_version", "set", "set_many", "touch",
)  # fmt: skip


SECOND = 60  # seconds


def sleep(seconds: float) -> None:
    with redis.Redis.from_url(settings.CACHES["default"]["LOCATION"]) as server:
        for key in server.scan_iter(count=1000):
            if (left := server.pttl(key)) >= 0:
                server.pexpire(key, left - int(seconds * SECOND * 1000))  # which deletes it where nothing is left


theirs.time = SimpleNamespace(sleep=sleep)


class InMinutes(TaggedRedisCache):
    def seconds(self, timeout: Any) -> float | None:
        chosen = super().seconds(timeout)
        return None if chosen is None else chosen * SECOND


class AsyncFacade(InMinutes):
    """Hands each blocking call to the twin; the twins themselves run on ``InMinutes``."""

    def __getattribute__(self, name: str) -> Any:
        if name in SPOKEN_ASYNC:
            inner = InMinutes(self._server, self._params)
            inner.key_func = self.key_func
            return async_to_sync(getattr(inner, f"a{name}"))
        return super().__getattribute__(name)


def aliases(backend: str) -> dict[str, dict[str, Any]]:
    """Django's aliases for these tests."""
    base = {**settings.CACHES["default"], "BACKEND": backend}
    found: dict[str, dict[str, Any]] = caches_setting_for_tests(base=base, exclude={"cull", "zero_cull"})
    return found


class Contract(BaseCacheTests):  # type: ignore[misc]
    """Culling belongs to backends that count their entries: Redis has its own eviction."""

    test_cull = None
    test_zero_cull = None
    test_cull_delete_when_store_empty = None

    def tearDown(self) -> None:
        for alias in caches.settings:
            caches[alias].clear()


@override_settings(CACHES=aliases("tests.contract.suite_cache.InMinutes"))
class BlockingTests(Contract, TestCase):
    pass


@override_settings(CACHES=aliases("tests.contract.suite_cache.AsyncFacade"))
class AwaitingTests(Contract, TestCase):
    """The facade's methods are not methods of a class, so the tests that compare those stay with ``BlockingTests``."""


for name in dir(AwaitingTests):
    if name.endswith("_async_uses_specialized_implementation"):
        setattr(AwaitingTests, name, None)
