"""The audit trail and alerts on three primaries: a trail and its chain share a slot, and all trails are found."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from bergizi_redis import connections
from bergizi_redis.security import alerts, audit
from bergizi_redis.security.trails import HEADS
from tests.servers import Cluster

USERS = [f"user-{number}" for number in range(24)]


@pytest.fixture
def on_cluster(cluster: Cluster, settings: Any) -> Iterator[Cluster]:
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": cluster.url}}
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ALERTS": True}
    HEADS.clear()
    yield cluster
    connections.disconnect_all()


@pytest.mark.usefixtures("on_cluster")
def test_trails_of_all_nodes_are_written_read_verified_and_found() -> None:
    def write(number: int) -> None:
        audit.record("authz_admin", USERS[number % len(USERS)], tenant="sppg-1", reason=str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(4 * len(USERS))))
    audit.record("authn_login_fail", tenant="sppg-1")
    assert all(audit.verify(user).events == 4 for user in USERS)
    out = StringIO()
    call_command("redis_audit", "verify", "--all", "--json", stdout=out)
    verdicts = json.loads(out.getvalue())
    assert len(verdicts) == len(USERS) + 1
    assert {each["ok"] for each in verdicts} == {True}


@pytest.mark.usefixtures("on_cluster")
def test_so_they_are_with_tasks() -> None:
    async def storm() -> list[Any]:
        await asyncio.gather(*(audit.arecord("authz_admin", user, reason="task") for user in USERS for _ in range(3)))
        return [await audit.averify(user) for user in USERS]

    assert [(verdict.ok, verdict.events) for verdict in asyncio.run(storm())] == [(True, 3)] * len(USERS)


@pytest.mark.usefixtures("on_cluster")
def test_an_alert_is_told_once_and_ended_once() -> None:
    alert = alerts.Alert(alerts.LOCKED, "user-1", "sppg-1")
    assert [alerts.raise_alert(alert) for _ in range(3)] == [True, False, False]
    assert [alerts.end_alert(alert.kind, alert.subject, alert.tenant) for _ in range(2)] == [True, False]
