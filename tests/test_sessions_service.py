"""Sessions as a service: create, validate, list, revoke, count; and indices that cannot lie."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from bergizi_redis import connections, keys, signals
from bergizi_redis.exceptions import TenantError, TenantRequired
from bergizi_redis.exchange import Exchange
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index, steps
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.record import LOGGED_IN, Record
from bergizi_redis.tenancy import use_tenant

Commands = Callable[[], AbstractContextManager[list[str]]]
FIREFOX = "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0"


@pytest.fixture(autouse=True)
def scripts_known(raw: "redis.Redis") -> None:
    """A server that meets a script for the first time is told it in one more round trip; not so in these tests."""
    for name in ("load", "save", "end", "index", "unlist", "stats", "note_tenant", "prune", "report"):
        raw.script_load(script(f"session_{name}").text)


def session_of(user_id: object = "user123", tenant: str = "sppg-jakarta-001", **changes: Any) -> Session:
    return sessions.create_session(user_id, tenant, **{**PROFILE, **changes})


PROFILE: dict[str, Any] = {
    "role": "SPPG_ADMIN",
    "user_type": "SPPG_USER",
    "email": "admin@sppg.jakarta.id",
    "name": "Admin Jakarta",
    "permissions": ["PROCUREMENT_MANAGE", "MENU_MANAGE"],
    "ip": "192.168.1.100",
    "user_agent": FIREFOX,
}


@pytest.fixture
def told() -> Iterator[list[tuple[str, str, str | None, str]]]:
    """What the signals told: started or ended, user, tenant, reason."""
    log: list[tuple[str, str, str | None, str]] = []

    def started(user_id: str, tenant: str | None, reason: str, **_: Any) -> None:
        log.append(("started", user_id, tenant, reason))

    def ended(user_id: str, tenant: str | None, reason: str, **_: Any) -> None:
        log.append(("ended", user_id, tenant, reason))

    signals.session_started.connect(started)
    signals.session_ended.connect(ended)
    yield log
    signals.session_started.disconnect(started)
    signals.session_ended.disconnect(ended)


# Create and validate


def test_a_session_says_whose_it_is_and_until_when() -> None:
    made = session_of()
    info = sessions.validate_session(made.key)
    assert info is not None
    now = datetime.now(UTC)
    assert (info.public_id, info.user_id, info.tenant) == (made.sid, "user123", "sppg-jakarta-001")
    assert (info.role, info.user_type) == ("SPPG_ADMIN", "SPPG_USER")
    assert (info.email, info.name) == ("admin@sppg.jakarta.id", "Admin Jakarta")
    assert info.permissions == ("MENU_MANAGE", "PROCUREMENT_MANAGE")
    assert (info.ip, info.client, info.idle) == ("192.168.1.100", "Firefox · Android", 8 * 3600)
    assert info.expires is not None
    assert info.absolute is not None
    minutes = timedelta(minutes=5)  # a busy machine's; by the clocks of the test and of the server
    assert abs(info.expires - now - timedelta(hours=8)) < minutes
    assert abs(info.absolute - now - timedelta(hours=24)) < minutes
    assert max(abs(moment - now) for moment in (info.created, info.authenticated, info.last_seen)) < minutes


def test_the_key_is_not_in_the_repr_of_a_session() -> None:
    made = session_of()
    assert made.key not in repr(made)
    assert dataclasses.asdict(made)["sid"] == sid_of(made.key)


@pytest.mark.parametrize(
    ("permission", "valid"), [(None, True), ("MENU_MANAGE", True), ("HRD_MANAGE", False), ("", False)]
)
def test_a_permission_is_asked_of_the_snapshot(permission: str | None, valid: bool) -> None:
    assert (sessions.validate_session(session_of().key, permission=permission) is not None) is valid


@pytest.mark.parametrize("damage", ["{", '"MENU_MANAGE"', ""])
def test_a_damaged_snapshot_permits_nothing(raw: "redis.Redis", damage: str) -> None:
    made = session_of()
    raw.hset(keys.session(made.sid), "@perm", damage)
    assert sessions.validate_session(made.key) is not None
    assert sessions.validate_session(made.key, "MENU_MANAGE") is None


@pytest.mark.parametrize("key", [None, "", "x", "unknown" * 5])
def test_no_key_and_an_unknown_key_are_no_session(key: str | None) -> None:
    assert sessions.validate_session(key) is None
    assert asyncio.run(sessions.avalidate_session(key)) is None


def test_an_anonymous_session_is_not_valid() -> None:
    visitor = SessionStore()
    visitor.create()
    assert sessions.validate_session(visitor.session_key) is None


def test_validating_is_one_round_trip_and_creating_three(commands: Commands) -> None:
    session_of()
    with commands() as log:
        made = session_of()
    # The indices and the note of the tenant in one pipeline, the session, the statistics.
    assert len([command for command in log if ":activity:" not in command]) == 3 + 1 + 1
    with commands() as log:
        sessions.validate_session(made.key, "MENU_MANAGE")
    assert len(log) == 1


def test_a_session_made_here_is_one_of_django_and_the_other_way_round() -> None:
    made = session_of()
    request_session = SessionStore(made.key)
    request_session["cart"] = [1]
    request_session.save()
    assert SessionStore(made.key)["cart"] == [1]
    assert sessions.validate_session(made.key, "MENU_MANAGE") is not None
    django_session = SessionStore()
    django_session["_auth_user_id"] = "42"
    django_session.save()
    info = sessions.validate_session(django_session.session_key)
    assert info is not None
    assert (info.user_id, info.tenant, info.permissions, info.idle) == ("42", None, (), None)
    assert sessions.validate_session(django_session.session_key, "MENU_MANAGE") is None


def test_another_user_logging_in_leaves_nothing_of_the_first_profile(told: list[Any]) -> None:
    made = session_of()
    session = SessionStore(made.key)
    session["_auth_user_id"] = "42"
    session.save()
    info = sessions.validate_session(made.key)
    assert info is not None
    assert (info.user_id, info.tenant, info.email, info.permissions, info.idle) == ("42", None, None, (), None)
    assert sessions.sessions_for_user("user123") == sessions.sessions_for_tenant("sppg-jakarta-001") == []
    assert [entry[:2] for entry in told] == [("started", "user123"), ("ended", "user123"), ("started", "42")]


def test_logging_out_within_a_session_takes_it_off_the_lists(told: list[Any], raw: "redis.Redis") -> None:
    session = SessionStore()
    session["_auth_user_id"] = "42"
    session.save()
    del session["_auth_user_id"]
    session.save()
    assert not raw.exists(keys.user_sessions("42"))
    assert sessions.validate_session(session.session_key) is None
    assert told[-1] == ("ended", "42", None, "logout")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tenant": "sppg jakarta"}, TenantError, "'sppg jakarta' is not a tenant id"),
        ({"permissions": "MENU_MANAGE"}, TypeError, "give a list of names"),
        ({"email": 5}, TypeError, "email is 5; give a string"),
        ({"user_id": ""}, ValueError, "a session belongs to a user"),
        ({"user_id": None}, ValueError, "a session belongs to a user"),
    ],
)
def test_arguments_that_cannot_be_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        session_of(**changes)


# Idle and absolute deadlines


def aged(raw: "redis.Redis", made: Session, seconds: int) -> None:
    """Let the session have been seen last so long ago, which is what an idle time is counted from."""
    key = keys.session(made.sid)
    seen = int(raw.hget(key, "@seen") or 0)
    raw.hset(key, "@seen", seen - seconds * 1000)
    raw.pexpire(key, 8 * 3600 * 1000 - seconds * 1000)


def test_use_moves_the_idle_deadline_once_a_minute(raw: "redis.Redis", commands: Commands) -> None:
    made = session_of()
    aged(raw, made, 30)
    with commands() as log:
        assert SessionStore(made.key).get("x") is None
    assert len(log) == 1
    aged(raw, made, 120)
    with commands() as log:
        sessions.validate_session(made.key)
    assert len(log) == 1 + 3  # the load; two indices and the session in one pipeline
    assert raw.pttl(keys.session(made.sid)) > (8 * 3600 - 100) * 1000
    with commands() as log:
        sessions.validate_session(made.key)
    assert len(log) == 1


def test_use_never_moves_the_absolute_deadline(raw: "redis.Redis") -> None:
    made = session_of()
    key = keys.session(made.sid)
    soon = int(raw.hget(key, "@seen") or 0) + 600_000
    raw.hset(key, "@abs", soon)
    aged(raw, made, 120)
    assert sessions.validate_session(made.key) is not None
    assert raw.pttl(key) <= 600_000
    session = SessionStore(made.key)
    session["x"] = 1
    assert session.get_expiry_age() <= 600
    session.save()
    assert raw.pttl(key) <= 600_000
    session.cycle_key()
    assert raw.pttl(keys.session(session.sid or "")) <= 600_000


def test_past_the_absolute_deadline_it_is_over_whatever_the_ttl(raw: "redis.Redis") -> None:
    made = session_of()
    key = keys.session(made.sid)
    slow = SessionStore(made.key)
    slow["x"] = 1
    raw.hset(key, "@abs", int(raw.hget(key, "@seen") or 0) - 1)
    raw.persist(key)
    assert sessions.validate_session(made.key) is None
    slow.save()
    assert not raw.exists(key)


def test_a_session_that_ends_while_it_is_touched_is_over(raw: "redis.Redis") -> None:
    made = session_of()
    aged(raw, made, 120)
    load = steps.load(made.sid)
    ends_before_touch = played(load, 1, and_then=lambda: raw.delete(keys.session(made.sid)))
    assert ends_before_touch is None
    assert not raw.exists(keys.session(made.sid))


def test_the_cookie_of_an_idle_session_is_as_old_as_its_life_in_redis(raw: "redis.Redis") -> None:
    made = session_of()
    session = SessionStore(made.key)
    session["x"] = 1
    session.save()
    assert session.get_expiry_age() == 8 * 3600
    assert (8 * 3600 - 300) * 1000 < raw.pttl(keys.session(made.sid)) <= 8 * 3600 * 1000


def test_set_expiry_keeps_its_meaning_and_is_not_prolonged(raw: "redis.Redis") -> None:
    made = session_of()
    session = SessionStore(made.key)
    session.set_expiry(300)
    session.save()
    assert raw.pttl(keys.session(made.sid)) <= 300_000
    key = keys.session(made.sid)
    ends, before = raw.pexpiretime(key), int(raw.hget(key, "@seen") or 0) - 120_000
    raw.hset(key, "@seen", before)
    assert sessions.validate_session(made.key) is not None
    assert raw.pexpiretime(key) == ends
    assert int(raw.hget(key, "@seen") or 0) > before + 60_000, "it was used"


# Lists and indices


def test_sessions_are_listed_by_user_and_by_tenant_the_latest_first() -> None:
    first, second = session_of(), session_of()
    session_of("other", "sppg-bogor-002")
    assert {info.public_id for info in sessions.sessions_for_user("user123")} == {first.sid, second.sid}
    listed = sessions.sessions_for_tenant("sppg-jakarta-001")
    assert [info.authenticated for info in listed] == sorted((info.authenticated for info in listed), reverse=True)
    assert {info.public_id for info in listed} == {first.sid, second.sid}
    assert [info.user_id for info in sessions.sessions_for_tenant("sppg-bogor-002")] == ["other"]


def test_a_list_is_two_round_trips(commands: Commands) -> None:
    for _ in range(3):
        session_of()
    with commands() as log:
        assert len(sessions.sessions_for_user("user123")) == 3
    assert len([command for command in log if command.startswith("ZRANGE")]) == 1
    assert len(log) == 1 + 3  # one ZRANGE, three reads in one pipeline


def test_reading_a_list_is_no_activity(raw: "redis.Redis") -> None:
    made = session_of()
    aged(raw, made, 600)
    seen = raw.hget(keys.session(made.sid), "@seen")
    sessions.sessions_for_user("user123")
    assert raw.hget(keys.session(made.sid), "@seen") == seen


def ghostly(raw: Any, sid: str, *, seconds: int) -> None:
    """An entry written ``seconds`` ago in both indices, with no session behind it."""
    for key in index.index_keys("user123", "sppg-jakarta-001"):
        now = raw.time()[0]
        raw.zadd(key, {sid: (now + 3600) * 1000 + ((now - seconds) % 2048) / 2048})


def test_ghosts_are_neither_shown_nor_kept(raw: "redis.Redis") -> None:
    made = session_of()
    ghostly(raw, "0" * 32, seconds=60)
    raw.set(keys.session("1" * 32), "no hash")
    ghostly(raw, "1" * 32, seconds=60)
    assert [info.public_id for info in sessions.sessions_for_user("user123")] == [made.sid]
    assert [info.public_id for info in sessions.sessions_for_tenant("sppg-jakarta-001")] == [made.sid]
    assert raw.zcard(keys.user_sessions("user123")) == raw.zcard(keys.tenant_sessions("sppg-jakarta-001")) == 1


def test_an_entry_of_another_users_session_is_a_ghost(raw: "redis.Redis") -> None:
    other = session_of("other")
    ghostly(raw, other.sid, seconds=60)
    assert sessions.sessions_for_user("user123") == []
    assert sessions.revoke_user("user123") == 0
    assert sessions.validate_session(other.key) is not None


def played(exchange: Exchange[Any], requests: int, and_then: Callable[[], Any] | None = None) -> Any:
    """Run so many requests of the exchange; then stop there for good, or do ``and_then`` and go on to the end."""
    client = connections.client("default")
    request = next(exchange)
    try:
        for number in range(1, 100):
            reply = request(client)
            if number == requests:
                if and_then is None:
                    return None
                and_then()
            request = exchange.send(reply)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the exchange does not end")


def creation(sid: str) -> Exchange[Any]:
    login = Record({b"@uid": b"user123", b"@ten": b"sppg-jakarta-001"})
    return steps.save(steps.Save(sid, {}, login, 600_000, create=True, moments={LOGGED_IN: 0}))


def test_a_list_read_during_a_log_in_does_not_unlist_it() -> None:
    """Red when ``session_prune.lua`` removes young entries too."""
    session_of()  # the server knows the scripts, so that each step is one request
    sid = sid_of(new_key())
    played(creation(sid), 1, and_then=lambda: sessions.sessions_for_user("user123"))
    assert sid in {info.public_id for info in sessions.sessions_for_user("user123")}


@pytest.mark.parametrize("steps_before_crash", [1, 2, 3])
def test_a_crash_between_steps_never_leaves_a_live_session_unlisted(
    raw: Any, prefix: str, steps_before_crash: int
) -> None:
    """A log-in and a log-out, each cut off; a new key is both. Red when ``steps.save`` lists after it writes."""
    session_of()
    made = session_of()

    def unlisted() -> set[str]:
        live = {key.decode().split("{")[1].replace("}", "") for key in raw.scan_iter(f"{prefix}:session:*")}
        return live - {member.decode() for member in raw.zrange(keys.user_sessions("user123"), 0, -1)}

    for exchange in (creation(sid_of(new_key())), steps.end(made.sid, "logout")):
        played(exchange, steps_before_crash)
        assert unlisted() == set()


def test_an_index_lives_as_long_as_its_longest_session(raw: "redis.Redis") -> None:
    session = SessionStore()
    session["_auth_user_id"] = "user123"
    session.save()  # two weeks
    session_of()  # eight hours
    assert raw.pttl(keys.user_sessions("user123")) > 13 * 86400 * 1000


def test_entries_long_expired_leave_the_index_with_the_next_log_in(raw: "redis.Redis") -> None:
    session_of()
    raw.zadd(keys.user_sessions("user123"), {"0" * 32: 1000.0})
    session_of()
    assert raw.zscore(keys.user_sessions("user123"), "0" * 32) is None


def test_a_longer_life_is_noted_in_the_index_but_not_on_every_save(raw: "redis.Redis", commands: Commands) -> None:
    session = SessionStore()
    session["_auth_user_id"] = "user123"
    session.set_expiry(600)
    session.save()
    before = raw.zscore(keys.user_sessions("user123"), session.sid or "")
    session["x"] = 1
    with commands() as log:
        session.save()
    assert len(log) == 1
    session.set_expiry(1200)
    session.save()
    after = raw.zscore(keys.user_sessions("user123"), session.sid or "")
    assert 598_000 <= float(after or 0) - float(before or 0) < 900_000  # and what has gone by between the two


def test_a_damaged_tenant_in_a_session_does_not_stop_its_log_out(raw: "redis.Redis") -> None:
    made = session_of()
    raw.hset(keys.session(made.sid), "@ten", "no tenant}")
    SessionStore(made.key).flush()
    assert sessions.sessions_for_user("user123") == []


def test_an_error_in_a_pipeline_is_raised(raw: "redis.Redis") -> None:
    raw.set(keys.user_sessions("user123"), "no zset")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        session_of()


# Revoking


def test_revoking_ends_one_session_and_tells_it(told: list[Any], commands: Commands) -> None:
    kept, ended = session_of(), session_of()
    with commands() as log:
        assert sessions.revoke(ended.sid) is True
    # The session; two indices and the statistics in one pipeline.
    assert len([command for command in log if ":activity:" not in command]) == 1 + 3
    assert sessions.revoke(ended.sid) is False
    assert sessions.validate_session(ended.key) is None
    assert [info.public_id for info in sessions.sessions_for_user("user123")] == [kept.sid]
    assert told[-1] == ("ended", "user123", "sppg-jakarta-001", "revoked")


def test_another_tenants_session_is_not_found() -> None:
    made = session_of()
    assert sessions.revoke(made.sid, tenant="sppg-bogor-002") is False
    assert sessions.revoke_user("user123", tenant="sppg-bogor-002") == 0
    assert sessions.validate_session(made.key) is not None
    assert sessions.revoke(made.sid, tenant="sppg-jakarta-001") is True


@pytest.mark.parametrize("public_id", ["", "x", "0" * 31, "0" * 33, "G" * 32, None, "*"])
def test_what_is_no_public_id_is_not_found(public_id: Any) -> None:
    assert sessions.revoke(public_id) is False
    assert asyncio.run(sessions.arevoke(public_id)) is False


def test_the_key_of_the_cookie_is_no_public_id() -> None:
    made = session_of()
    assert sessions.revoke(made.key) is False


def test_all_of_a_user_end_but_the_one_to_keep() -> None:
    kept, *others = session_of(), session_of(), session_of()
    assert sessions.revoke_user("user123", keep=kept.key) == 2
    assert [info.public_id for info in sessions.sessions_for_user("user123")] == [kept.sid]
    assert all(sessions.validate_session(other.key) is None for other in others)
    assert sessions.revoke_user("user123", keep=kept.sid) == 0
    assert sessions.revoke_user("user123") == 1


def test_a_tenant_ends_in_batches_and_no_other_tenant_with_it(raw: "redis.Redis", monkeypatch: Any) -> None:
    monkeypatch.setattr(index, "BATCH", 2)
    for number in range(5):
        session_of(f"user{number}")
    other = session_of("other", "sppg-bogor-002")
    assert len(sessions.sessions_for_tenant("sppg-jakarta-001")) == 5
    assert sessions.revoke_tenant("sppg-jakarta-001") == 5
    assert sessions.sessions_for_tenant("sppg-jakarta-001") == sessions.sessions_for_user("user3") == []
    assert not raw.exists(keys.tenant_sessions("sppg-jakarta-001"))
    assert sessions.validate_session(other.key) is not None


# Counting


def test_statistics_count_what_lives(raw: "redis.Redis") -> None:
    session_of()
    session_of()
    raw.zadd(keys.tenant_sessions("sppg-jakarta-001"), {"0" * 32: 1000.0})
    assert sessions.stats("sppg-jakarta-001").live == 2
    with use_tenant("sppg-jakarta-001"):
        assert (sessions.stats().tenant, sessions.stats().live) == ("sppg-jakarta-001", 2)
    with pytest.raises(TenantRequired, match="name one"):
        sessions.stats()


# Async


def test_the_async_twins_do_the_same(told: list[Any]) -> None:
    async def life() -> None:
        made = await sessions.acreate_session("user123", "sppg-jakarta-001", **PROFILE)
        info = await sessions.avalidate_session(made.key, "MENU_MANAGE")
        assert info is not None
        assert await sessions.asessions_for_user("user123") == [info]
        assert await sessions.asessions_for_tenant("sppg-jakarta-001") == [info]
        assert (await sessions.astats("sppg-jakarta-001")).live == 1
        with use_tenant("sppg-jakarta-001"):
            assert (await sessions.astats()).live == 1
        assert await sessions.arevoke(made.sid, tenant="sppg-bogor-002") is False
        assert await sessions.arevoke(made.sid) is True
        for _ in range(2):
            await sessions.acreate_session("user123", "sppg-jakarta-001", **PROFILE)
        kept = await sessions.acreate_session("user123", "sppg-jakarta-001", **PROFILE)
        assert await sessions.arevoke_user("user123", keep=kept.key) == 2
        assert await sessions.arevoke_tenant("sppg-jakarta-001") == 1

    asyncio.run(life())
    assert [entry[0] for entry in told] == ["started", "ended", *["started"] * 3, *["ended"] * 3]


def test_a_receiver_that_fails_harms_neither_session_nor_caller(caplog: pytest.LogCaptureFixture) -> None:
    def broken(**_: Any) -> None:
        raise ZeroDivisionError

    signals.session_started.connect(broken)
    try:
        assert sessions.validate_session(session_of().key) is not None
    finally:
        signals.session_started.disconnect(broken)
    assert "ZeroDivisionError" in caplog.text


def test_a_server_that_has_forgotten_the_scripts_is_taught_them_again(server: Any) -> None:
    made = session_of()
    with server.client() as client:
        client.script_flush()
    assert [info.public_id for info in sessions.sessions_for_user("user123")] == [made.sid]
    with server.client() as client:
        client.script_flush()
    assert len({session_of().sid, session_of().sid}) == 2
    assert sessions.revoke_user("user123") == 3
