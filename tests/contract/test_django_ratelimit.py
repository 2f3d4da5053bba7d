"""django-ratelimit's own suite passes with this package's limits, in ``fixed`` mode, by other imports alone.

Its tests are part of its package. What fails is listed, with the reason, and nothing else may. Their settings file is
not published: the aliases that it names stand for a server that is down, and for one that forgets at once.
"""

import ast
import copy
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.test import SimpleTestCase

from bergizi_redis import connections
from bergizi_redis.security.limiting.fallback import LOCAL
from bergizi_redis.security.limiting.rates import rate_of
from bergizi_redis.security.limiting.sources import network as _get_ip
from bergizi_redis.security.ratelimit import get_usage, is_ratelimited
from tests.proxies import Proxy, proxy, relay
from tests.servers import free_port, private_server

OURS = {
    "django_ratelimit.decorators": "bergizi_redis.security.ratelimit",
    "django_ratelimit.exceptions": "bergizi_redis.security.ratelimit",
    "django_ratelimit.core": __name__,
}
__all__ = ["_get_ip", "_split_rate", "get_usage", "is_ratelimited"]  # what it imports of their core


def _split_rate(text: str) -> tuple[int, int]:
    rate = rate_of(text)
    assert rate is not None
    return rate.limit, rate.seconds


DIFFERENCES = {
    "test_is_ratelimited_cache_connection_error_without_increment": "where Redis is down and a limit fails closed, who"
    " asks without counting is refused as well: a log-in that asks first, and counts failures, would be open otherwise",
}


def suite() -> ModuleType:
    """Their module with our imports; its database is not needed."""
    found = importlib.util.find_spec("django_ratelimit.tests")
    assert found is not None
    assert found.origin is not None
    text = Path(found.origin).read_text(encoding="utf-8")
    tree = ast.parse(text, filename=found.origin)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            node.module = OURS.get(node.module, node.module)
            for name in node.names:
                if name.name == "TestCase":
                    name.name, name.asname = "SimpleTestCase", "TestCase"
    module = ModuleType("django_ratelimit.contract")
    exec(compile(tree, found.origin, "exec"), vars(module))  # noqa: S102 – their tests
    return module


SUITE = suite()
TESTS = {
    f"{case.__name__}.{name}": (case, name)
    for case in vars(SUITE).values()
    if isinstance(case, type) and issubclass(case, SimpleTestCase) and case is not SimpleTestCase
    for name in dir(case)
    if name.startswith("test_")
}


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Proxy]:
    """A server that has forgotten everything when it has answered."""
    with private_server() as server, server.client() as eraser:

        def serve(link: Any) -> None:
            def reply(data: bytes) -> None:
                eraser.flushall()
                link.sendall(data)

            relay(link, server.port, reply)

        with proxy(serve) as running:
            yield running


@pytest.fixture(autouse=True)
def their_settings(settings: Any, forgetful: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "django_ratelimit.tests", SUITE)  # it names its own functions by their paths
    caches = copy.deepcopy(settings.CACHES)
    for alias in ("connection-errors", "connection-errors-redis"):
        caches[alias] = {**caches["default"], "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    caches["instant-expiration"] = {**caches["default"], "LOCATION": forgetful.url}
    settings.CACHES = caches
    settings.BERGIZI_REDIS = {
        **settings.BERGIZI_REDIS, "RATELIMIT_ALGORITHM": "fixed", "RATELIMIT_ON_OUTAGE": "closed",
    }  # fmt: skip
    yield
    connections.disconnect_all()
    LOCAL.forget()


@pytest.mark.parametrize("test", TESTS)
def test_what_passes_with_theirs_passes_with_ours(test: str) -> None:
    case, name = TESTS[test]
    if name in DIFFERENCES:
        with pytest.raises(AssertionError):
            case(name).debug()
    else:
        case(name).debug()


def test_the_suite_is_there_whole() -> None:
    assert len(TESTS) >= 49
    assert {test.partition(".")[2] for test in TESTS} >= DIFFERENCES.keys()
