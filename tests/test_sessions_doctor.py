"""The doctor finds each kind of drift, and puts it right; what is right is left as it is."""

from collections import Counter
from typing import Any

import redis

from bergizi_redis import keys
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.doctor import Finding, examine, server_faults
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.info import Session
from tests.servers import PrivateServer
from tests.sessionsite import counted

TENANT = "sppg-jakarta-001"


def made(user: str = "u1") -> Session:
    return sessions.create_session(user, TENANT, "COOK", "SPPG_USER", "u@sppg.id", "U", ["MENU_MANAGE"])


def found(*, repair: bool = False) -> list[Finding]:
    return [finding for batch in examine(repair=repair) for finding in batch.findings]


def kinds(findings: list[Finding]) -> dict[str, int]:
    return dict(Counter(finding.kind for finding in findings))


def test_a_healthy_store_has_nothing_to_find() -> None:
    made()
    SessionStore().create()
    assert found() == []


def test_a_session_that_no_list_shows_is_listed_again(raw: "redis.Redis") -> None:
    session = made()
    raw.delete(keys.user_sessions("u1"), keys.tenant_sessions(TENANT))
    assert found() == [Finding("unlisted", session.sid, False)]
    assert sessions.sessions_for_user("u1") == []
    assert kinds(found(repair=True)) == {"unlisted": 1}
    assert [info.public_id for info in sessions.sessions_for_user("u1")] == [session.sid]
    assert [info.public_id for info in sessions.sessions_for_tenant(TENANT)] == [session.sid]
    assert found() == []


def test_a_revoked_session_that_no_list_shows_is_ended_not_listed(raw: "redis.Redis") -> None:
    """The index was flushed before the revocation, whose clean-up then found nothing."""
    session = made()
    raw.delete(keys.tenant_sessions(TENANT))
    assert sessions.revoke_tenant(TENANT) == 0
    assert found() == [Finding("revoked", session.sid, False)]
    assert kinds(found(repair=True)) == {"revoked": 1}
    assert not raw.exists(keys.session(session.sid))
    assert (sessions.stats(TENANT).live, counted(TENANT).revoked) == (0, 1)
    assert found() == []


def test_entries_without_a_session_are_taken_off(raw: "redis.Redis") -> None:
    ghost, other = sid_of(new_key()), made("u2")
    made()
    for name in (keys.user_sessions("u1"), keys.tenant_sessions(TENANT)):
        second = int(raw.time()[0]) - 60
        raw.zadd(name, {ghost: (second + 3600) * 1000 + (second % 2048) / 2048})
    raw.zadd(keys.user_sessions("u1"), {other.sid: raw.zscore(keys.user_sessions("u2"), other.sid) or 0})
    assert kinds(found()) == {"ghost": 3}, "another user's session is a ghost as well"
    found(repair=True)
    assert raw.zscore(keys.user_sessions("u1"), ghost) is None
    assert raw.zscore(keys.tenant_sessions(TENANT), ghost) is None
    assert len(sessions.sessions_for_user("u2")) == 1


def test_a_session_without_a_ttl_is_given_one(raw: "redis.Redis") -> None:
    session = made()
    raw.persist(keys.session(session.sid))
    raw.persist(keys.user_sessions("u1"))
    assert kinds(found()) == {"endless": 2}
    found(repair=True)
    assert 0 < raw.pttl(keys.session(session.sid)) <= 8 * 3600 * 1000
    assert raw.pttl(keys.user_sessions("u1")) > 0
    assert found() == []


def test_what_is_no_session_is_removed(raw: "redis.Redis") -> None:
    wrong, foreign, kept = (sid_of(new_key()) for _ in range(3))
    raw.set(keys.session(wrong), "a string", ex=600)
    raw.hset(keys.session(foreign), "field", "value")
    raw.hset(keys.user_sessions("u9"), "no", "list")
    raw.hset(keys.prefixed(f"cache:{kept}"), "field", "value")
    assert kinds(found()) == {"damaged": 3}
    found(repair=True)
    assert found() == []
    assert not raw.exists(keys.session(wrong), keys.session(foreign), keys.user_sessions("u9"))
    assert raw.exists(keys.prefixed(f"cache:{kept}"))


def test_a_site_with_another_prefix_is_left_alone(raw: "redis.Redis", settings: Any, prefix: str) -> None:
    def use(other: str) -> None:
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "KEY_PREFIX": other}

    use(f"{prefix}*")
    mine = made()
    use(f"{prefix}xx")
    theirs = made()
    raw.persist(keys.session(theirs.sid))
    use(f"{prefix}*")
    assert found(repair=True) == []
    assert sessions.validate_session(mine.key) is not None


def test_a_server_that_evicts_or_forgets_is_said_to(server: PrivateServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("save", "")
        faults = " ".join(server_faults())
        assert "maxmemory-policy noeviction" in faults
        assert "appendonly yes" in faults


def test_a_server_that_is_down_is_a_fault(server: PrivateServer) -> None:
    server.kill()
    assert len(server_faults()) == 1
