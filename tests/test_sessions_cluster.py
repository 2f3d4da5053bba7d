"""Sessions on a cluster of three primaries: each script stays in one slot, pipelines reach every node."""

import asyncio
import copy
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from bergizi_redis import connections
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.info import Session
from tests.servers import Cluster

USERS = 12  # with their sessions, spread over all three


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(directory)
        try:
            yield cluster.start()
        finally:
            connections.disconnect_all()
            cluster.kill()


@pytest.fixture(autouse=True)
def cluster(running: Cluster, settings: Any) -> Cluster:
    caches = copy.deepcopy(settings.CACHES)
    caches["default"]["LOCATION"] = running.url
    settings.CACHES = caches
    return running


def profile(number: int) -> dict[str, Any]:
    return {
        "user_id": f"user{number}",
        "tenant": "sppg-1",
        "role": "COOK",
        "user_type": "SPPG_USER",
        "email": f"user{number}@sppg.id",
        "name": "Cook",
        "permissions": ["MENU_MANAGE"],
    }


def test_sessions_are_made_listed_changed_and_revoked_across_slots() -> None:
    made: list[Session] = [sessions.create_session(**profile(number)) for number in range(USERS)]
    assert len(sessions.sessions_for_tenant("sppg-1")) == sessions.stats("sppg-1").live == USERS
    session = SessionStore(made[0].key)
    session["cart"] = [1]
    session.save()
    session.cycle_key()
    assert SessionStore(session.session_key)["cart"] == [1]
    assert [info.public_id for info in sessions.sessions_for_user("user0")] == [session.sid]
    assert sessions.revoke_user("user1") == 1
    assert sessions.revoke_tenant("sppg-1") == USERS - 1
    assert sessions.sessions_for_tenant("sppg-1") == []


def test_the_same_asynchronously() -> None:
    async def life() -> None:
        made = [await sessions.acreate_session(**profile(number)) for number in range(USERS)]
        assert len(await sessions.asessions_for_tenant("sppg-1")) == USERS
        session = SessionStore(made[0].key)
        await session.aset("cart", [1])
        await session.asave()
        await session.acycle_key()
        assert await SessionStore(session.session_key).aget("cart") == [1]
        assert await sessions.arevoke_tenant("sppg-1") == USERS

    asyncio.run(life())
