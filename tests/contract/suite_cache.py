"""Django's cache contract on this package's backend; ``test_django_cache.py`` runs it on a server of its own."""

from typing import Any

from asgiref.sync import async_to_sync
from cache.tests import BaseCacheTests, caches_setting_for_tests  # type: ignore[import-not-found]
from django.conf import settings
from django.core.cache import caches
from django.test import TestCase, override_settings

from bergizi_redis.cache.backend import TaggedRedisCache

SPOKEN_ASYNC = (
    "add", "clear", "decr", "decr_version", "delete", "delete_many", "get", "get_many", "get_or_set", "has_key", "incr",
    "incr_version", "set", "set_many", "touch",
)  # fmt: skip


class AsyncFacade(TaggedRedisCache):
    """Hands each blocking call to the twin; the twins themselves run on ``TaggedRedisCache``."""

    def __getattribute__(self, name: str) -> Any:
        if name in SPOKEN_ASYNC:
            inner = TaggedRedisCache(self._server, self._params)
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


@override_settings(CACHES=aliases("bergizi_redis.cache.backend.TaggedRedisCache"))
class BlockingTests(Contract, TestCase):
    pass


@override_settings(CACHES=aliases("tests.contract.suite_cache.AsyncFacade"))
class AwaitingTests(Contract, TestCase):
    """The facade's methods are not methods of a class, so the tests that compare those stay with ``BlockingTests``."""


for name in dir(AwaitingTests):
    if name.endswith("_async_uses_specialized_implementation"):
        setattr(AwaitingTests, name, None)
