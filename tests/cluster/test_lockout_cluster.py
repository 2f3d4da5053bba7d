"""The lockout on three primaries, where networks, accounts and tenants lie in different slots; and through a fail-over.

Seen red: without the refund of the networks when the account refuses.
"""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bergizi_redis import connections
from bergizi_redis.security import lockout
from bergizi_redis.security.networks import networks_of
from tests.cluster.conftest import Watched
from tests.servers import Cluster

ACCOUNTS, EACH = 40, 100


@pytest.fixture
def who() -> str:
    return f"ayu-{uuid.uuid4().hex}"


@pytest.fixture
def on_cluster(cluster: Cluster, settings: Any) -> Iterator[Cluster]:
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": cluster.url}}
    yield cluster
    connections.disconnect_all()


def tried(who: str, ip: str | None = None, succeeds: bool = False) -> str:
    try:
        with lockout.guard_login(who, ip=ip) as attempt:
            if succeeds:
                attempt.succeeded()
    except lockout.AccountLocked as refusal:
        return refusal.reason
    return "checked"


def in_log(cluster: Cluster, ip: str) -> int:
    key = networks_of(ip, "password")[0].keys[0]
    with cluster.node_of(key).client() as node:
        return int(node.zcard(key))


@pytest.mark.usefixtures("on_cluster")
def test_forty_accounts_with_a_hundred_guesses_each_are_two_hundred_checks(who: str) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda n: tried(f"{who}-{n % ACCOUNTS}"), range(ACCOUNTS * EACH)))
    assert answers.count("checked") == ACCOUNTS * 5


@pytest.mark.usefixtures("on_cluster")
def test_so_they_are_with_tasks(who: str) -> None:
    checked = 0

    async def one(number: int) -> None:
        nonlocal checked
        async with lockout.guard_login(f"{who}-{number % 5}"):
            checked += 1
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(100)), return_exceptions=True)

    asyncio.run(main())
    assert checked == 25


def test_a_network_refuses_before_its_accounts_are_debited(on_cluster: Cluster, who: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "NETWORK_LOCKOUT": {"address": (6, 900), "network48": (4, 900)}}
    ip = "203.0.113.7"
    assert [tried(f"{who}-{n}", ip) for n in range(8)] == ["checked"] * 6 + ["address"] * 2
    assert lockout.is_account_locked(f"{who}-7").failures == 0
    six = "2001:db8::1"
    assert [tried(f"{who}-x{n}", six) for n in range(6)] == ["checked"] * 4 + ["network"] * 2
    assert in_log(on_cluster, six) == 4, "the address was given back what the wider network refused"


def test_a_refused_account_gives_its_network_back_what_it_paid(on_cluster: Cluster, who: str) -> None:
    ip = "203.0.113.8"
    assert [tried(who, ip) for _ in range(9)] == ["checked"] * 5 + ["account"] * 4
    assert in_log(on_cluster, ip) == 5


def test_a_success_is_refunded_in_every_slot(on_cluster: Cluster, who: str) -> None:
    ip = "203.0.113.9"
    for _ in range(3):
        tried(who, ip)
    assert tried(who, ip, succeeds=True) == "checked"
    assert in_log(on_cluster, ip) == 3
    assert lockout.is_account_locked(who).failures == 0


def test_through_a_fail_over_there_are_never_more(watched: Watched, who: str, settings: Any) -> None:
    """A replica that has all takes over in the middle of a storm; each attempt is counted here, there, or refused."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ON_OUTAGE": "closed"}
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": watched.url}}
    primary, other = watched.primary.client(), watched.other.client()
    primary.config_set("repl-diskless-sync-delay", 0)
    other.replicaof("127.0.0.1", watched.primary.port)
    checked = []
    try:
        for _ in range(3):
            assert tried(who) == "checked"
            checked.append(1)
        primary.set("a write of this connection", "for WAIT to wait for, and all before it")
        assert primary.execute_command("WAIT", 1, 60_000) == 1
        watched.primary.kill()
        with pytest.raises(lockout.LockoutUnavailable):
            tried(who)
        other.replicaof("NO", "ONE")
        for sentinel in watched.sentinels:
            sentinel.name_primary(watched.other.port)
        connections.disconnect_all()
        checked += [1 for _ in range(9) if tried(who) == "checked"]
    finally:
        primary.close()
        other.close()
        connections.disconnect_all()
    assert len(checked) == 5
