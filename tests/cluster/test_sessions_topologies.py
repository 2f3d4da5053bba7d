"""Sessions while slots move between nodes and primaries fail over: served or unavailable, never "no session"; what was
revoked and confirmed by a replica stays revoked.
"""

import asyncio
import copy
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from redis.crc import key_slot

from bergizi_redis import connections, keys
from bergizi_redis.circuit import circuit_of
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.info import Session
from tests.cluster.conftest import Watched, hurried
from tests.nearness import until
from tests.servers import Cluster, PrivateServer
from tests.sessionacts import PROFILE, TENANT

SARI = "sari"


@pytest.fixture
def at(settings: Any) -> Iterator[Callable[[str], None]]:
    def set_location(url: str) -> None:
        caches = copy.deepcopy(settings.CACHES)
        caches["default"]["LOCATION"] = url
        settings.CACHES = caches

    yield set_location
    connections.disconnect_all()


def made(user_id: str = SARI) -> Session:
    return sessions.create_session(user_id, TENANT, **PROFILE)


def impatient(settings: Any) -> None:
    """A slot that moves is waited for, for as long as there is time."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.15}


def patient(settings: Any) -> None:
    """Not so long that entries of a minute ago are not taken for ghosts."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 20.0}


# Slots that move


class Move:
    """A slot on its way from its node to the next, in as many steps as there are keys, and one before and after."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self.slot = key_slot(key.encode())
        self.source = next(node for node in cluster.nodes if self.is_at(node))
        self.target = cluster.nodes[(cluster.nodes.index(self.source) + 1) % len(cluster.nodes)]

    def is_at(self, node: PrivateServer) -> bool:
        with node.client() as raw:
            return any(
                owner[1] == node.port and first <= self.slot <= last
                for first, last, owner, *_ in raw.execute_command("CLUSTER SLOTS")
            )

    def steps(self) -> Iterator[None]:
        with self.source.client() as old, self.target.client() as new:
            source, target = old.execute_command("CLUSTER MYID"), new.execute_command("CLUSTER MYID")
            new.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", source)
            old.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", target)
            yield
            while found := old.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 1):
                old.execute_command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 60_000, "REPLACE", "KEYS", *found)
                yield
            for node in (new, old):
                node.execute_command("CLUSTER SETSLOT", self.slot, "NODE", target)
            yield


def save(key: str, value: int) -> bool:
    session = SessionStore(key)
    session["n"] = value
    session.save()
    return True


def served(act: Callable[[], Any]) -> Any:
    """What it gives; None where it is not available now."""
    try:
        return act()
    except RedisUnavailable:
        return None


@pytest.mark.parametrize("barred", [False, True])
def test_a_session_whose_slot_moves_is_served_or_unavailable_and_never_gone(
    at: Any, cluster: Cluster, settings: Any, barred: bool
) -> None:
    at(cluster.url)
    if barred:
        sessions.revoke_user("somebody else")  # so that the slot has more than one key
    one = made()
    save(one.key, 0)
    values = {0}  # of which the session has one: what had no time for its answer may have been saved
    impatient(settings)
    for number, _ in enumerate(Move(cluster, keys.session(one.sid)).steps(), 1):
        found = served(lambda: SessionStore(one.key).load())
        assert found is None or found["n"] in values, found
        info = served(lambda: [sessions.validate_session(one.key)])
        assert info is None or info[0] is not None
        values = {number} if served(partial(save, one.key, number)) else {*values, number}
    patient(settings)
    assert SessionStore(one.key)["n"] in values
    sessions.revoke_user(SARI)
    assert sessions.validate_session(one.key) is None


def test_log_ins_while_the_slot_of_their_user_moves_are_counted_right(at: Any, cluster: Cluster, settings: Any) -> None:
    limit = {"SESSION_LIMIT": 2, "SESSION_LIMIT_POLICY": "evict"}
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **limit}
    at(cluster.url)
    first = made()
    impatient(settings)
    for _ in Move(cluster, keys.user_sessions(SARI)).steps():
        served(made)
        served(lambda: asyncio.run(sessions.acreate_session(SARI, TENANT, **PROFILE)))
    patient(settings)
    a_minute_goes_by(keys.user_sessions(SARI), keys.tenant_sessions(TENANT))
    last = [made(), made()]
    assert {info.public_id for info in sessions.sessions_for_user(SARI)} == {one.sid for one in last}
    assert sessions.validate_session(first.key) is None
    assert {info.public_id for info in sessions.sessions_for_tenant(TENANT)} == {one.sid for one in last}
    assert sessions.stats(TENANT).live == 2


def a_minute_goes_by(*listings: str) -> None:
    """Log-ins that ran out of time have left entries, which are not taken for ghosts at once."""
    client: Any = connections.client("default")
    for listing in listings:
        for sid, score in client.zrange(listing, 0, -1, withscores=True):
            client.zadd(listing, {sid: int(score) + ((score % 1) * 2048 - 60) % 2048 / 2048})


# A primary that fails


def follow(replica: PrivateServer, primary: PrivateServer) -> None:
    with primary.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
    with replica.client() as client:
        client.replicaof("127.0.0.1", str(primary.port))
        deadline = time.monotonic() + 60
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            os.sched_yield()


def fail_over(watched: Watched) -> None:
    watched.primary.kill()
    with watched.other.client() as client:
        client.replicaof("NO", "ONE")
    for sentinel in watched.sentinels:
        sentinel.name_primary(watched.other.port)


def test_a_revocation_that_a_replica_has_confirmed_survives_the_failover(at: Any, watched: Watched) -> None:
    at(watched.url)
    follow(watched.other, watched.primary)
    revoked, other = made(), made("other")
    assert sessions.revoke_user(SARI, wait_replicas=1) == 1
    fail_over(watched)
    assert sessions.validate_session(revoked.key) is None
    assert sessions.validate_session(other.key) is not None
    after = made()
    assert sessions.validate_session(after.key) is not None
    assert asyncio.run(sessions.arevoke_user("other")) == 1
    assert sessions.validate_session(other.key) is None


def is_told() -> bool:
    """That no replica has confirmed it; or, on a busy machine, that there was no time to ask."""
    circuit_of(connections.client("default").connection_pool).answered()  # the whole time again: a probe's is too short
    with pytest.raises((sessions.NotReplicated, RedisUnavailable)) as caught:
        sessions.revoke_user(SARI, wait_replicas=1)
    return "0 of 1 replicas" in str(caught.value)


def test_one_that_no_replica_has_confirmed_holds_and_says_so(at: Any, watched: Watched, settings: Any) -> None:
    """A fail-over forgets it, as it was said that it might; called again it holds there, too."""
    at(watched.url)
    follow(watched.other, watched.primary)
    one = made()
    with watched.primary.client() as client:
        client.set("a write of this connection", "for WAIT to wait for, and all before it")
        assert client.wait(1, 60_000) == 1
    with watched.other.client() as client:
        client.replicaof("NO", "ONE")  # cut off
    with hurried(settings, 0.5):  # it waits for the replica for half of that
        until(is_told)
    assert sessions.validate_session(one.key) is None
    fail_over(watched)
    assert sessions.validate_session(one.key) is not None
    assert sessions.revoke_user(SARI) == 1
    assert sessions.validate_session(one.key) is None
