"""For the tests of projects that use this package: isolation, outages, races and invalidation, on a real server.

Functions for any test runner, and a pytest plugin (found by itself where the package is installed) with the fixtures
at the end. Each is told with examples in the guide "Test a project that uses this package". Loading this module imports
neither Django nor redis-py, and it changes nothing in a project that does not ask.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, overload

try:
    import pytest
except ImportError:  # unittest alone: everything but the fixtures works
    pytest = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from django.db.models import Model

    from bergizi_redis.cache.lookup import Lookup
    from bergizi_redis.rehearsal.pauses import Paused
    from bergizi_redis.rehearsal.roundtrips import RoundTrips
    from bergizi_redis.rehearsal.warmth import Watched

TIMEOUT = 10.0  # seconds; what a test waits at most, unless it says otherwise


def isolated_redis() -> AbstractContextManager[str]:
    """Give every key of the block a name that nobody else has, and remove them at its end. Yields that name.

    It becomes ``BERGIZI_REDIS["KEY_PREFIX"]`` and part of the ``KEY_PREFIX`` of every alias; nothing is flushed. An
    alias whose ``KEY_FUNCTION`` leaves the prefix out cannot be isolated. ``ImproperlyConfigured`` without settings.
    """
    from bergizi_redis.rehearsal.isolation import isolation

    return isolation()


def isolated_tenant() -> AbstractContextManager[str]:
    """Put a tenant in force for the block that nobody else has. Yields its id."""
    from bergizi_redis.rehearsal.isolation import tenancy

    return tenancy()


def redis_is_down(*, hung: bool = False) -> AbstractContextManager[None]:
    """Cut this process off Redis for the block: a refused port, or with ``hung`` one that accepts and never answers.

    No mock: the errors come from real sockets, for every client of redis-py, sync or async, whatever its server. The
    server itself is left alone. Afterwards connections open anew and the circuits are closed. With ``hung`` the first
    command of a pool takes ``REQUEST_BUDGET`` (0.8 s), the next 0.1 s.
    """
    from bergizi_redis.rehearsal.outage import outage

    return outage(hung)


def count_round_trips() -> "AbstractContextManager[RoundTrips]":
    """``with count_round_trips() as trips:`` – ``trips.count``, and ``trips.sent`` with the commands of each.

    A pipeline, a MULTI or a script is one. Every thread of this process counts, opening a connection does not. Run
    what is counted once before: a server that does not know a script yet is told it in one more.
    """
    from bergizi_redis.rehearsal.roundtrips import counting

    return counting()


def pause_at(point: str, *, times: int = 1, timeout: float = TIMEOUT) -> "AbstractContextManager[Paused]":
    """Hold the first ``times`` threads or tasks that come to the point, until ``paused.resume()`` or the block's end.

    ``with pause_at("before_store") as paused:`` – then ``paused.start(read)`` calls ``read`` in a thread and returns
    when it stands there (``await paused.astart(aread())`` for a task), or ``paused.wait()`` waits for whoever comes
    (``await paused.awaited()``). Who opened the block is never held; its end waits for the threads that it started.
    The points are told in ``points.py``; any other is a ``ValueError``. After ``timeout`` seconds who waits or is held
    gets an ``AssertionError``.
    """
    from bergizi_redis.rehearsal.pauses import pausing

    return pausing(point, times, timeout)


@overload
def assert_invalidates(
    subject: "type[Model] | None", key: "str | Lookup", *, tags: Sequence[str] = (), alias: str | None = None
) -> "Watched": ...
@overload
def assert_invalidates(
    subject: "Model", key: "str | Lookup", *, tags: Sequence[str] = (), alias: str | None = None
) -> None: ...
def assert_invalidates(subject: Any, key: "str | Lookup", *, tags: Sequence[str] = (), alias: str | None = None) -> Any:
    """``with assert_invalidates(Menu, key):`` – what stands under the key is not served any more after the block.

    ``key`` is a key of the alias (``CACHE_ALIAS`` by default) or a lookup: ``menu.lookup(tenant, 42)``,
    ``menu_list.lookup("active")``. The entry that is there is watched; where there is none one is put there, with
    ``tags``, by default the table of the model. With an instance in the place of the model, ``instance.save()`` is the
    block: ``assert_invalidates(soto, key)``. ``async with`` works too.

    What the block wrote counts as committed at its end, in Django's ``TestCase`` too. Raises ``AssertionError`` that
    names the tags of the entry and those that the block voided.
    """
    from bergizi_redis.rehearsal.warmth import watched

    return watched(subject, key, tags, alias, warm=False)


@overload
def assert_keeps_warm(
    subject: "type[Model] | None", key: "str | Lookup", *, tags: Sequence[str] = (), alias: str | None = None
) -> "Watched": ...
@overload
def assert_keeps_warm(
    subject: "Model", key: "str | Lookup", *, tags: Sequence[str] = (), alias: str | None = None
) -> None: ...
def assert_keeps_warm(subject: Any, key: "str | Lookup", *, tags: Sequence[str] = (), alias: str | None = None) -> Any:
    """The opposite of ``assert_invalidates``: the entry is served after the block as before it."""
    from bergizi_redis.rehearsal.warmth import watched

    return watched(subject, key, tags, alias, warm=True)


class IsolatedRedis:
    """For unittest: ``class MenuTests(IsolatedRedis, TestCase):`` isolates each test; ``redis_prefix`` names it."""

    redis_prefix: str

    def setUp(self) -> None:
        self.redis_prefix = self.enterContext(isolated_redis())  # type: ignore[attr-defined]
        super().setUp()  # type: ignore[misc]


if pytest is not None:

    @pytest.fixture
    def bergizi_redis_isolated() -> Iterator[str]:
        """Keys of its own for the test, removed after it: see ``isolated_redis``."""
        with isolated_redis() as name:
            yield name

    @pytest.fixture
    def bergizi_redis_tenant() -> Iterator[str]:
        """A tenant of its own, in force for the test."""
        with isolated_tenant() as tenant:
            yield tenant

    @pytest.fixture
    def bergizi_redis_down() -> Iterator[None]:
        """Redis is down for the whole test: see ``redis_is_down``."""
        with redis_is_down():
            yield

    # The functions, for tests that would rather name a fixture than import.

    @pytest.fixture(name="assert_invalidates")
    def _assert_invalidates() -> Any:
        """``assert_invalidates(Model, key)``"""
        return assert_invalidates

    @pytest.fixture(name="assert_keeps_warm")
    def _assert_keeps_warm() -> Any:
        """``assert_keeps_warm(Model, key)``"""
        return assert_keeps_warm

    @pytest.fixture(name="redis_is_down")
    def _redis_is_down() -> Any:
        """``with redis_is_down():``"""
        return redis_is_down

    @pytest.fixture(name="pause_at")
    def _pause_at() -> Any:
        """``with pause_at("before_store") as paused:``"""
        return pause_at

    @pytest.fixture(name="count_round_trips")
    def _count_round_trips() -> Any:
        """``with count_round_trips() as trips:``"""
        return count_round_trips
