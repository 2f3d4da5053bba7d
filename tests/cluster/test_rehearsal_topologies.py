"""``bergizi_redis.testing`` on a cluster and behind Sentinels: the outage reaches every node, and all keys go."""

import asyncio
import copy
import logging
from typing import Any

import pytest
from django.core.cache import caches

from bergizi_redis.cache.domains import menu
from bergizi_redis.connections import client
from bergizi_redis.testing import assert_invalidates, isolated_redis, redis_is_down
from tests.cluster.conftest import Watched
from tests.servers import Cluster


@pytest.fixture
def at(settings: Any, caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.ERROR, "bergizi_redis.cache")

    def place(url: str) -> None:
        aliases = copy.deepcopy(settings.CACHES)
        aliases["default"]["LOCATION"] = url
        settings.CACHES = aliases

    return place


def everything_works() -> None:
    with isolated_redis():
        cache = caches["default"]
        cache.set_many({f"k{number}": number for number in range(20)})
        assert asyncio.run(cache.aget("k7")) == 7
        with redis_is_down():
            assert cache.get("k7") is None
            assert asyncio.run(cache.aget("k7")) is None
        assert cache.get("k7") == 7
        assert asyncio.run(cache.aget("k7")) == 7
        with assert_invalidates(None, menu.lookup("sppg-a", 42)):
            menu.invalidate("sppg-a")


def test_a_cluster(cluster: Cluster, at: Any) -> None:
    at(cluster.url)
    everything_works()
    assert [*client().scan_iter(match="*test-*")] == []


def test_a_primary_behind_sentinels(watched: Watched, at: Any) -> None:
    at(watched.url)
    everything_works()
    assert [*client().scan_iter(match="*test-*")] == []
