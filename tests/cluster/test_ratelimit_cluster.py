"""Rate limits on a cluster: one round trip for each slot, exactly N, and errors to the strict side alone."""

import asyncio
import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.crc import key_slot

from bergizi_redis import connections
from bergizi_redis.security.limiting.charging import acharge, charge
from tests.commandlog import command_log
from tests.ratelimits import quota
from tests.servers import Cluster


@pytest.fixture(autouse=True)
def on_a_cluster(settings: Any, cluster: Cluster) -> Iterator[None]:
    caches = copy.deepcopy(settings.CACHES)
    caches["default"]["LOCATION"] = cluster.url
    settings.CACHES = caches
    yield
    connections.disconnect_all()


@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
def test_40_clients_pass_exactly_as_often_as_they_may(algorithm: str) -> None:
    asked = [quota(3, 86_400, algorithm) for _ in range(40)]
    with ThreadPoolExecutor(16) as pool:
        verdicts = list(pool.map(lambda number: charge([asked[number % 40]])[0], range(240)))
    for one in asked:
        assert sum(not verdict.refused for verdict in verdicts if verdict.quota is one) == 3


def test_tasks_too() -> None:
    asked = quota(20, 86_400)

    async def main() -> list[Any]:
        return await asyncio.gather(*(acharge([asked]) for _ in range(100)))

    assert sum(not verdict.refused for (verdict,) in asyncio.run(main())) == 20


def test_several_limits_are_one_round_trip_for_each_slot(cluster: Cluster) -> None:
    asked = [quota(50, 60, tag=tag) for tag in ("a", "b", "a")]
    assert len({key_slot(one.key.encode()) for one in asked}) == 2
    charge(asked)
    seen: list[str] = []
    for node in cluster.nodes:
        with command_log(node.url, "ratelimit") as log:
            charge(asked)
        seen += log
    assert len(seen) == 2  # each node tells of what it was asked
    assert [verdict.quota for verdict in charge(asked)] == [asked[0], asked[2], asked[1]]


def test_what_an_earlier_slot_has_charged_stays_and_a_later_one_is_not_asked() -> None:
    wide, narrow, last = (quota(9, 60, tag=tag) for tag in ("x", "y", "z"))
    narrow = quota(1, 60, tag="y")
    assert len(charge([wide, narrow, last])) == 3
    assert [verdict.refused for verdict in charge([wide, narrow, last])] == [False, True]
    assert [charge([one], count=False)[0].count for one in (wide, narrow, last)] == [2, 1, 1]
