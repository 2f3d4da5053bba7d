"""Sessions on a cluster of three primaries: each script stays in one slot, pipelines reach every node."""

import asyncio
import copy
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from bergizi_redis import connections, keys
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.sessions import barriers
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.doctor import examine
from bergizi_redis.sessions.info import Session
from tests.servers import Cluster, server_directory
from tests.sessionsite import PATIENCE_WITH_NODES
from tests.spoken import WAYS, Spoken

USERS = 12  # with their sessions, spread over all three


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with server_directory() as directory:
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
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **PATIENCE_WITH_NODES}
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


@pytest.mark.parametrize("way", WAYS)
def test_revocations_hold_in_every_shard_but_for_the_session_to_keep(way: str) -> None:
    service = Spoken(sessions, way)
    made = [sessions.create_session(**profile(number)) for number in range(USERS)]
    others = [sessions.create_session(**profile(0)) for _ in range(USERS)]
    assert service.revoke_user("user0", keep=made[0].key) == USERS
    assert [sessions.validate_session(one.key) for one in others] == [None] * USERS
    kept = SessionStore(made[0].key)
    kept["x"] = 1
    kept.cycle_key()
    assert sessions.validate_session(kept.session_key, "MENU_MANAGE") is not None
    service.permissions_changed("user0")
    assert sessions.validate_session(kept.session_key, "MENU_MANAGE") is not None
    assert service.revoke_everybody(keep=made[1].sid) == USERS - 1
    assert sessions.validate_session(made[1].key) is not None
    assert sessions.create_session(**profile(2)).key
    assert service.revoke_tenant("sppg-1") == 2
    with pytest.raises(ConfigurationError, match="not for a cluster"):
        service.revoke_user("user0", wait_replicas=1)


def test_a_new_key_in_the_midst_of_a_revocation_does_not_slip_through(monkeypatch: Any) -> None:
    """Red without the second time in ``barriers._bar``: the new key's shard is barred first, the old one's last."""
    made = sessions.create_session(**profile(0))
    session = SessionStore(made.key)
    session["x"] = 1
    sent, shards, calls = barriers._sent, barriers.SHARDS, list[int]()

    def halting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:  # one more where the nodes do not know the script yet
            return sent(*args, **kwargs)
        old = made.sid[:2]
        monkeypatch.setattr(barriers, "SHARDS", tuple(shard for shard in shards if shard != old))
        replies = sent(*args, **kwargs)
        if isinstance(replies[-1], Exception):
            monkeypatch.setattr(barriers, "SHARDS", shards)
            return replies
        calls.append(1)
        session.cycle_key()
        monkeypatch.setattr(barriers, "SHARDS", (old,))
        replies += sent(*args, **kwargs)
        monkeypatch.setattr(barriers, "SHARDS", shards)
        return replies

    monkeypatch.setattr(barriers, "_sent", halting)
    sessions.revoke_user("user0")
    assert session.sid != made.sid
    assert sessions.validate_session(session.session_key) is None


def test_sessions_move_in_and_the_doctor_looks_at_every_node(settings: Any) -> None:
    old = import_module("django.contrib.sessions.backends.cache").SessionStore()
    old["cart"] = [1]
    old.create()
    settings.BERGIZI_REDIS = {
        **settings.BERGIZI_REDIS,
        "SESSION_MOVE_FROM": "django.contrib.sessions.backends.cache",
    }
    assert SessionStore(old.session_key)["cart"] == [1]
    made = [sessions.create_session(**profile(number)) for number in range(USERS)]
    for session in made:
        connections.client("default").persist(keys.session(session.sid))
    connections.client("default").delete(*[keys.user_sessions("user0")])
    found = {finding for batch in examine(repair=True) for finding in batch.findings}  # SCAN may name a key twice
    assert Counter(finding.kind for finding in found) == {"endless": USERS, "unlisted": 1}
    assert len(sessions.sessions_for_user("user0")) == 1
    assert not [finding for batch in examine() for finding in batch.findings]
