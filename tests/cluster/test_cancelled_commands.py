"""A task that is cancelled at any step of a command ends: the cancellation is not lost on the way.

Seen red on Python 3.11: with ``_send_within`` of ``aconnecting.py`` left out, ``asyncio.wait_for`` loses what comes as
the sending ends; and for the cluster with its nodes' connections as redis-py makes them.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bergizi_redis import connections
from bergizi_redis.aconnections import aclient
from tests.servers import Cluster

MOST = 60  # steps of the loop; a command takes far fewer, where its answer is there


async def pinged(client: Any) -> Any:
    return await client.get("k")


async def piped(client: Any) -> Any:
    pipeline = client.pipeline()
    pipeline.get("k")
    return await pipeline.execute()


async def cancelled_at_each_step(act: Callable[[Any], Awaitable[Any]]) -> int:
    """How many cancellations came before the end; each of them is to be heard of."""
    client = aclient()
    await act(client)
    heard = 0
    for steps in range(MOST):
        task = asyncio.ensure_future(act(client))
        for _ in range(steps):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            heard += 1
    await act(client)
    return heard


@pytest.mark.parametrize("act", [pinged, piped])
def test_a_cancelled_command_ends_its_task(act: Any) -> None:
    # So long a budget as it has here leaves the time of a single command to redis-py.
    assert asyncio.run(cancelled_at_each_step(act)) > 3


@pytest.mark.parametrize("act", [pinged, piped])
def test_a_cancelled_command_ends_its_task_on_a_cluster(settings: Any, cluster: Cluster, act: Any) -> None:
    caches = copy.deepcopy(settings.CACHES)
    caches["default"]["LOCATION"] = cluster.url
    settings.CACHES = caches
    assert asyncio.run(cancelled_at_each_step(act)) > 3
    connections.disconnect_all()
