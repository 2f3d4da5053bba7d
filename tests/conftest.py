"""Fixtures of the whole suite. Each test gets key prefixes of its own, and its keys are removed after it."""

import copy
import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import pytest
import redis
from django.conf import settings as django_settings
from django.db.models.signals import class_prepared, post_delete, post_save

from bergizi_redis import connections, health, scripts
from bergizi_redis.cache.fleet import forget_aliases
from bergizi_redis.cache.listeners import _listeners
from bergizi_redis.cache.outbox import RELAY
from bergizi_redis.circuit import circuit_of
from bergizi_redis.scripts.script import script
from bergizi_redis.security import alarming, subjects
from bergizi_redis.security.courier import COURIER
from bergizi_redis.security.limiting.fallback import LOCAL
from bergizi_redis.security.local import limiter
from bergizi_redis.security.postponed import POSTPONED
from bergizi_redis.security.replay import ledger
from bergizi_redis.sessions.sweeping import SWEEPER
from tests import moments
from tests.commandlog import command_log
from tests.leaks import watching
from tests.servers import PrivateServer, plain_client, private_server

# A busy machine is slow at drawing examples, and at trying them.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

# A step that took long is no finding, and asyncio's words about it would be among those that a test looks at.
logging.getLogger("asyncio").setLevel(logging.ERROR)

WAITS = ("REQUEST_BUDGET", "COMMAND_TIMEOUT", "CONNECT_TIMEOUT")
PATIENCE = 20.0  # seconds; a busy machine may stop for some
HEALTH_DEADLINE = health.DEADLINE


# What depends on no version of Python, Django or the server, or brings its own: CI runs it in one environment.
ONCE = {
    "test_architecture", "test_benchmarks", "test_docs", "test_embedded", "test_example_commands", "test_killed",
    "test_packaging", "test_sessions_killed", "test_translations", "test_write_behind_crash",
}  # fmt: skip


@pytest.fixture
def prefix() -> str:
    """What every key of this test begins with."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def redis_url(settings: Any) -> str:
    return str(settings.REDIS_URL)


@pytest.fixture(scope="session", autouse=True)
def known_scripts() -> None:
    """Tell the shared server every script: one that it meets for the first time costs one more round trip, or step."""
    site: Any = django_settings
    with plain_client(site.REDIS_URL) as client:
        for path in Path(scripts.__file__).parent.glob("*.lua"):
            client.script_load(script(path.stem).text)


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    """A plain client of the shared server: to look behind the scenes."""
    with plain_client(redis_url) as client:
        yield client


@pytest.fixture(autouse=True)
def own_keys(request: pytest.FixtureRequest, settings: Any, prefix: str) -> Iterator[None]:
    """Give the test its own prefixes in settings, and remove what it left on the shared server: no secret is in it."""
    moments.begin()
    # Only the tests that are about time have the time that users have.
    is_about_time = any(word in request.node.name for word in ("_hung_", "_hangs_"))
    patience = {} if is_about_time else dict.fromkeys(WAITS, PATIENCE)
    settings.BERGIZI_REDIS = {"KEY_PREFIX": prefix, "STATS_EVERY": 3000.0, **patience}
    caches = copy.deepcopy(settings.CACHES)
    for alias in caches.values():
        alias["KEY_PREFIX"] = prefix
    settings.CACHES = caches
    deadline = HEALTH_DEADLINE if is_about_time else PATIENCE
    with mock.patch.object(health, "DEADLINE", deadline), watching() as watch:
        yield
    with plain_client(settings.REDIS_URL) as client:
        keys = list(client.scan_iter(match=f"{prefix}*", count=1000))
        leaks = [] if request.node.get_closest_marker("shows_secrets") else watch.leaks(client, keys)
        if keys:
            client.unlink(*keys)
    forget_aliases()
    assert not leaks, "\n".join(leaks[:10])


@pytest.fixture(autouse=True)
def own_minutes() -> Iterator[None]:
    """What this process does once in so many seconds, behind any request, comes in no other test than those about it.

    It would be among the commands and the queries that are counted, of whichever test is there at the time.
    """
    subjects.forget()  # users of earlier tests, which the database has taken back
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SWEEPER, "due", float("inf"))
        patched.setattr(RELAY, "_due_at", float("inf"))
        patched.setattr(RELAY, "_outages_seen", 0)
        patched.setattr(alarming, "_looked", float("inf"))
        yield


@pytest.fixture(autouse=True)
def own_circuits() -> Iterator[None]:
    """Forget which servers were silent: whose last command came late would leave the next test 0.1 s for its first."""
    yield
    for kept in list(connections._kept.values()):
        pool = getattr(kept, "connection_pool", kept)  # of a client; clusters have none
        if isinstance(pool, redis.ConnectionPool):
            circuit_of(pool).answered()


@pytest.fixture(autouse=True)
def own_counts(own_keys: None) -> Iterator[None]:
    """Forget what this process has counted by itself, and owes Redis: the next attempt, or event, would pay it."""
    yield
    COURIER.join()  # what it still writes would be written as the next test's
    LOCAL.forget()
    limiter._counts.clear()
    ledger._owed.clear()
    POSTPONED.__init__()  # type: ignore[misc]


@pytest.fixture
def usual_time(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that users have: for what does not answer anyway, since a busy machine's server may need longer."""
    settings.BERGIZI_REDIS = {name: value for name, value in settings.BERGIZI_REDIS.items() if name not in WAITS}
    monkeypatch.setattr(health, "DEADLINE", HEALTH_DEADLINE)


@pytest.fixture(autouse=True)
def own_listeners() -> Iterator[None]:
    """Forget the functions that a test has registered with ``@invalidates``: they would void more in others."""
    signals = (post_save, post_delete, class_prepared)
    before = dict(_listeners), [list(signal.receivers) for signal in signals]
    yield
    _listeners.clear()
    _listeners.update(before[0])
    for signal, receivers in zip(signals, before[1], strict=True):
        signal.receivers = receivers
        signal.sender_receivers_cache.clear()


@pytest.fixture
def commands(redis_url: str, prefix: str) -> Callable[[], AbstractContextManager[list[str]]]:
    """``with commands() as log:`` – the commands this test sent meanwhile, complete when the block has ended."""
    return partial(command_log, redis_url, prefix)


@pytest.fixture
def server(settings: Any) -> Iterator[PrivateServer]:
    """A server of this test's own, behind the alias ``default``: kill it, pause it, configure it."""
    with private_server() as running:
        caches = copy.deepcopy(settings.CACHES)
        caches["default"]["LOCATION"] = running.url
        settings.CACHES = caches
        yield running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes runs only where it is asked for: ``make soak``, or ``pytest -m soak``."""
    for item in items:
        if item.path.stem in ONCE or "browser" in item.path.parts:
            item.add_marker("once")
    if "soak" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what failed to the file that ``.ci/run`` names, too: it says so once more at the end of its long output."""
    path = os.environ.get("BERGIZI_TEST_FAILURES")
    if path and not hasattr(terminalreporter.config, "workerinput"):  # workers tell the one that started them
        python = sys.version.split()[0]
        reports = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
        with Path(path).open("a") as told:
            told.writelines(f"\n{one.nodeid} (Python {python})\n{one.longreprtext[-1500:]}\n" for one in reports)
