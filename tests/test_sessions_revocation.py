"""Revocations: they hold at once, everywhere, whatever clocks say and whoever is killed; log-ins after them stand.

Taken out, these turned tests red: the barrier in ``session_load.lua``, in ``session_save.lua`` (a slow request brought
the session back) and in ``session_end.lua`` (a new key survived the old one's revocation); ``@bar`` at a log-in, and
at a new key; ``@top`` growing by one at least; the look at what is kept, and the pass it is given; the clean-up's look
for the barrier; barred sessions told from ghosts in ``index.listed``. On a cluster: the second time in
``barriers._bar``.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from bergizi_redis import connections, keys, scripts, signals
from bergizi_redis.exceptions import RedisUnavailable, TenantError
from bergizi_redis.exchange import Exchange
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import barriers, index, revoking, sweeping
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.barriers import Revocation
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.info import Session
from tests.servers import PrivateServer, private_server
from tests.sessionsite import PATIENCE, counted
from tests.spoken import WAYS, Spoken

Commands = Callable[[], AbstractContextManager[list[str]]]
TENANT, OTHER = "sppg-jakarta-001", "sppg-bogor-002"


@pytest.fixture(autouse=True)
def scripts_known(raw: "redis.Redis") -> None:
    """A server that meets a script for the first time is told it in one more round trip; not so in these tests."""
    for name in ("load", "save", "end", "index", "prune", "report", "bar"):
        raw.script_load(script(f"session_{name}").text)


@pytest.fixture(params=WAYS)
def service(request: pytest.FixtureRequest) -> Spoken:
    return Spoken(sessions, request.param)


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """What ``sessions_revoked`` told."""
    log: list[dict[str, Any]] = []

    def revoked(sender: Any, signal: Any, **facts: Any) -> None:
        log.append(facts)

    signals.sessions_revoked.connect(revoked)
    yield log
    signals.sessions_revoked.disconnect(revoked)


def session_of(user_id: object = "user123", tenant: str = TENANT) -> Session:
    return sessions.create_session(user_id, tenant, "COOK", "SPPG_USER", "a@sppg.id", "A", ["MENU_MANAGE"])


def lives(made: Session) -> bool:
    return sessions.validate_session(made.key) is not None


def barred(exchange_of: Revocation, keep: str | None = None) -> None:
    """Put the barrier up, and stop there for good: the process has been killed."""
    spoken(barriers.put_up(exchange_of, keep))


def spoken(exchange: Exchange[Any]) -> Any:
    try:
        request = next(exchange)
        while True:
            request = exchange.send(request(connections.client("default")))
    except StopIteration as stop:
        return stop.value


EVERYBODY = Revocation("a")
OF_USER = Revocation("b", "user123")
OF_TENANT = Revocation("c", None, TENANT)
OF_MEMBER = Revocation("d", "user123", TENANT)
SCOPES = pytest.mark.parametrize("scope", [EVERYBODY, OF_USER, OF_TENANT, OF_MEMBER], ids=lambda scope: scope.id)


# Whom a barrier ends


def test_one_session_ends_with_its_reason_and_actor(service: Spoken, told: list[dict[str, Any]]) -> None:
    made, other = session_of(), session_of()
    assert service.revoke(made.sid, TENANT, reason="stolen phone", actor="admin7") is True
    assert service.revoke(made.sid, TENANT) is False
    assert service.revoke(other.sid, OTHER) is False
    assert not lives(made)
    assert lives(other)
    assert told == [
        {
            "sid": made.sid,
            "user_id": "user123",
            "tenant": TENANT,
            "actor": "admin7",
            "reason": "stolen phone",
            "ended": 1,
        }
    ]


def test_a_user_ends_but_for_the_session_to_keep(service: Spoken, told: list[dict[str, Any]]) -> None:
    kept, first, second, other = session_of(), session_of(), session_of(tenant=OTHER), session_of("other")
    assert service.revoke_user("user123", keep=kept.key, reason="log out elsewhere", actor="user123") == 2
    assert [lives(made) for made in (kept, first, second, other)] == [True, False, False, True]
    assert told[0]["ended"] == 2
    assert (told[0]["user_id"], told[0]["reason"], told[0]["actor"]) == ("user123", "log out elsewhere", "user123")
    assert service.revoke_user("user123", keep=kept.sid) == 0
    assert lives(kept)
    assert service.revoke_user("user123") == 1


def test_a_user_of_a_tenant_goes_on_elsewhere(service: Spoken) -> None:
    here, there, colleague = session_of(), session_of(tenant=OTHER), session_of("other")
    assert service.revoke_user("user123", tenant=TENANT) == 1
    assert [lives(made) for made in (here, there, colleague)] == [False, True, True]


def test_a_tenant_ends_and_no_other(service: Spoken) -> None:
    made, other, admin = session_of(), session_of(tenant=OTHER), session_of("admin")
    assert service.revoke_tenant(TENANT, keep=admin.key) == 1
    assert [lives(one) for one in (made, other, admin)] == [False, True, True]
    with pytest.raises(TenantError):
        service.revoke_tenant("no tenant}")


def test_everybody_ends_and_visitors_stay(service: Spoken, raw: "redis.Redis", monkeypatch: Any) -> None:
    monkeypatch.setattr(index, "BATCH", 2)
    visitor = SessionStore()
    visitor["cart"] = [1]
    visitor.create()
    admin, *others = session_of("admin"), session_of(), session_of(tenant=OTHER), session_of("third")
    assert service.revoke_everybody(keep=admin.key) == 3
    assert [lives(one) for one in (admin, *others)] == [True, False, False, False]
    assert SessionStore(visitor.session_key)["cart"] == [1]
    assert [raw.exists(keys.session(one.sid)) for one in others] == [0, 0, 0]
    assert sessions.sessions_for_tenant(OTHER) == []


@pytest.mark.parametrize("user_id", ["a:b", "*", "", "u}", "é\udc80", "x" * 300, "@top"])
def test_any_text_may_be_a_users_id(user_id: str) -> None:
    made = session_of(user_id or "0")
    other = session_of("other")
    barred(Revocation("x", user_id or "0"))
    assert not lives(made)
    assert lives(other)


# In force before any session was found


@SCOPES
def test_a_barrier_holds_before_the_clean_up(scope: Revocation, raw: "redis.Redis") -> None:
    made, django = session_of(), SessionStore()
    django["_auth_user_id"] = "user123"
    django.note_login(tenant=TENANT, ip=None, client=None)
    django.save()
    raw.delete(keys.user_sessions("user123"), keys.tenant_sessions(TENANT))  # not even listed
    barred(scope)
    assert raw.exists(keys.session(made.sid))
    assert not lives(made)
    assert SessionStore(django.session_key).load() == {}
    assert asyncio.run(SessionStore(django.session_key).aload()) == {}
    assert sessions.sessions_for_user("user123") == []
    assert SessionStore().exists(made.key) is False


@SCOPES
def test_a_slow_request_does_not_bring_a_revoked_session_back(scope: Revocation, raw: "redis.Redis") -> None:
    made = session_of()
    slow, native = SessionStore(made.key), SessionStore(made.key)
    slow["x"] = 1
    native["y"] = 1
    barred(scope)
    with pytest.raises(UpdateError):
        slow.save()
    with pytest.raises(UpdateError):
        asyncio.run(native.asave())
    assert sessions.resume_revocations() == 1
    with pytest.raises(UpdateError):
        slow.save()
    assert not raw.exists(keys.session(made.sid))


@SCOPES
@pytest.mark.parametrize("way", WAYS)
def test_a_new_key_does_not_carry_a_session_past_a_barrier(
    scope: Revocation, way: str, raw: "redis.Redis", prefix: str
) -> None:
    made = session_of()
    slow = SessionStore(made.key)
    slow["x"] = 1
    barred(scope)
    with pytest.raises(SessionInterrupted):
        Spoken(slow, way).cycle_key()
    sessions.resume_revocations()
    assert list(raw.scan_iter(f"{prefix}:session:*")) == []


@SCOPES
def test_a_log_in_after_a_revocation_stands(scope: Revocation) -> None:
    """In the same millisecond too: twenty in a row, so that some are."""
    after = session_of()
    for _ in range(20):
        before = session_of()
        barred(scope)
        after = session_of()
        assert not lives(before)
        assert lives(after)
    sessions.resume_revocations()
    assert lives(after)


@SCOPES
def test_a_session_from_after_a_revocation_may_change_its_key(scope: Revocation) -> None:
    barred(scope)
    made = session_of()
    session = SessionStore(made.key)
    for number in range(5):
        session["x"] = number
        session.cycle_key()
        assert SessionStore(session.session_key)["x"] == number
    sessions.resume_revocations()
    assert SessionStore(session.session_key)["x"] == 4


@SCOPES
def test_a_visitor_of_before_a_revocation_who_logs_in_after_it_stays(scope: Revocation) -> None:
    visitor = SessionStore()
    visitor.create()
    barred(scope)
    visitor["_auth_user_id"] = "user123"
    visitor.note_login(tenant=TENANT, ip=None, client=None)
    visitor.save()
    assert sessions.validate_session(visitor.session_key) is not None


def test_the_kept_session_may_change_its_key_and_ends_with_the_next_revocation() -> None:
    made = session_of()
    sessions.revoke_user("user123", keep=made.key)
    session = SessionStore(made.key)
    session["x"] = 1
    session.cycle_key()
    assert sessions.validate_session(session.session_key) is not None
    sessions.revoke_user("user123")
    assert sessions.validate_session(session.session_key) is None


def test_keeping_a_session_that_is_over_does_not_bring_it_back() -> None:
    made = session_of()
    barred(OF_TENANT)
    barred(OF_USER, made.sid)
    assert not lives(made)


def test_logging_out_of_a_revoked_session_tells_of_its_revocation_once() -> None:
    log: list[str] = []

    def ended(reason: str, **_: Any) -> None:
        log.append(reason)

    signals.session_ended.connect(ended)
    try:
        made = session_of()
        barred(OF_USER)
        SessionStore(made.key).delete()
        sessions.resume_revocations()
    finally:
        signals.session_ended.disconnect(ended)
    assert log == ["revoked"]


@pytest.mark.parametrize("policy", ["deny", "evict"])
def test_a_log_in_in_the_place_of_a_revoked_session_tells_of_its_revocation(policy: str, settings: Any) -> None:
    """Before the clean-up, which then finds nothing. Red without the look at the barrier in ``session_evict.lua``, and
    where ``quotas.admit`` takes barred sessions for ghosts: nobody was told."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_LIMIT": 1, "SESSION_LIMIT_POLICY": policy}
    log: list[tuple[str, str]] = []

    def ended(sid: str, reason: str, **_: Any) -> None:
        log.append((sid, reason))

    signals.session_ended.connect(ended)
    try:
        before = session_of()
        barred(OF_MEMBER)
        after = session_of()
        assert sessions.resume_revocations() == 0
    finally:
        signals.session_ended.disconnect(ended)
    assert log == [(before.sid, "revoked")]
    assert [info.public_id for info in sessions.sessions_for_user("user123")] == [after.sid]
    assert (sessions.stats(TENANT).live, counted(TENANT).revoked, counted(TENANT).evicted) == (1, 1, 0)
    browser = SessionStore(before.key)
    browser.load()
    assert browser.why_ended == "revoked"


def test_another_user_in_the_same_session_is_not_barred() -> None:
    made = session_of()
    session = SessionStore(made.key)
    session["_auth_user_id"] = "42"
    session.save()
    barred(OF_USER)
    assert lives(made)


@pytest.mark.parametrize("cleaned", [False, True])
def test_the_browser_of_a_revoked_session_can_be_told_why(cleaned: bool, raw: "redis.Redis") -> None:
    made, single, out = session_of(), session_of("other"), session_of("third")
    barred(OF_USER)
    if cleaned:
        assert sessions.resume_revocations() == 1
        assert 0 < raw.pttl(keys.session_ended(made.sid)) <= 15 * 60 * 1000
    sessions.revoke(single.sid)
    SessionStore(out.key).delete()
    whys = []
    for one in (made, single, out):
        session = SessionStore(one.key)
        session.load()
        whys.append(session.why_ended)
    assert whys == ["revoked", "revoked", None]


def test_revocations_are_counted_once_each() -> None:
    session_of()
    session_of()
    barred(OF_USER)
    sessions.resume_revocations()
    sessions.resume_revocations()
    assert sessions.stats(TENANT).live == 0
    assert counted(TENANT).revoked == 2


def test_reading_a_list_takes_nothing_from_the_clean_up(raw: "redis.Redis") -> None:
    """Red when ``index.listed`` or a page takes barred sessions for ghosts."""
    made = session_of()
    barred(OF_USER)
    now = raw.time()[0]
    for listing in index.index_keys("user123", TENANT):  # written a minute ago
        raw.zadd(listing, {made.sid: (now + 3600) * 1000 + ((now - 60) % 2048) / 2048})
    assert sessions.sessions_for_user("user123") == sessions.sessions_for_tenant(TENANT) == []
    for page in (sessions.page_for_user("user123"), sessions.page_for_tenant(TENANT)):
        assert (page.sessions, page.total) == ((), 0)
    assert sessions.resume_revocations() == 1
    assert not raw.exists(keys.session(made.sid))


def test_the_sweeper_goes_on_with_what_was_left() -> None:
    made = session_of()
    barred(OF_TENANT)
    revoking.resume_small()
    assert sessions.resume_revocations() == 0
    assert not lives(made)
    session_of("other", OTHER)
    barred(Revocation("z", None, OTHER))
    sweeping.sweep()
    assert sessions.resume_revocations() == 0
    assert sessions.stats(OTHER).live == 0


# Clocks


@pytest.mark.parametrize("minutes", [-10, 10])
def test_clocks_of_applications_do_not_matter(minutes: int, monkeypatch: Any) -> None:
    real = time.time
    before = session_of()
    monkeypatch.setattr(time, "time", lambda: real() + 60 * minutes)
    sessions.revoke_user("user123")
    after = session_of()
    monkeypatch.setattr(time, "time", lambda: real() - 60 * minutes)
    assert not lives(before)
    assert lives(after)


def test_a_servers_clock_that_went_back_does_not_matter(raw: "redis.Redis") -> None:
    """The barrier of before stands ten minutes ahead, as a clock that was put back leaves it."""
    first = session_of()
    shard = keys.revoked(first.sid[:2])
    sessions.revoke_user("somebody else")
    raw.hset(shard, "@top", int(raw.hget(shard, "@top") or 0) + 600_000)
    raw.hset(keys.session(first.sid), "@bar", raw.hget(shard, "@top"))
    barred(OF_USER)
    assert not lives(first)


# Crashes

CHILD = """
import os, signal, sys, django
django.setup()
from bergizi_redis.sessions import asking, service
asked = 0
def counted(exchange, client):
    global asked
    try:
        request = next(exchange)
        while True:
            asked += 1
            if asked > int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)
            reply = request(client)
            request = exchange.send(reply)
    except StopIteration as stop:
        return stop.value
asking.speak = counted
getattr(service, sys.argv[2])(*sys.argv[3:])
"""


@pytest.mark.parametrize("requests", [0, 1, 2, 3, 4, 99])
@pytest.mark.parametrize(
    "call", [("revoke_user", "user123"), ("revoke_tenant", TENANT), ("revoke_everybody",)], ids=str
)
def test_killed_after_any_request_a_revocation_holds_or_never_was(
    server: PrivateServer, settings: Any, monkeypatch: Any, requests: int, call: tuple[str, ...]
) -> None:
    settings.BERGIZI_REDIS = PATIENCE
    settings.CACHES["default"]["KEY_PREFIX"] = ""
    with server.client() as client:  # so that a request is a step
        for path in Path(scripts.__file__).parent.glob("session_*.lua"):
            client.script_load(script(path.stem).text)
    made = [session_of(), session_of()]
    died = subprocess.run(
        [sys.executable, "-c", CHILD, str(requests), *call],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": server.url},
        check=False, timeout=240, capture_output=True, text=True,
    )  # fmt: skip
    assert died.returncode in (-signal.SIGKILL, 0), died.stderr
    assert (died.returncode == 0) == (requests == 99 or (requests == 4 and call == ("revoke_everybody",)))
    assert [lives(one) for one in made] == ([True] * 2 if requests == 0 else [False] * 2)
    sessions.resume_revocations()
    with server.client() as client:
        assert client.hlen(keys.revocations()) == 0
        assert [client.exists(keys.session(one.sid)) for one in made] == ([1, 1] if requests == 0 else [0, 0])
    assert sessions.stats(TENANT).live in (0, 2)


def test_what_one_clean_up_left_the_next_one_ends(
    service: Spoken, told: list[dict[str, Any]], raw: "redis.Redis"
) -> None:
    session_of()
    barred(Revocation("1", None, TENANT, "admin7", "closed"))
    barred(Revocation("2", "user123"))
    later = session_of()
    assert service.resume_revocations() == 1
    assert service.resume_revocations() == 0
    assert sorted(facts["ended"] for facts in told) == [0, 1]
    assert {facts["actor"] for facts in told} == {"admin7", ""}
    assert lives(later)
    assert not raw.exists(keys.revocations())


# Cost


@SCOPES
def test_it_holds_after_one_request_and_costs_a_load_none(scope: Revocation, commands: Commands) -> None:
    made, other = session_of(), session_of("other", OTHER)
    exchange = barriers.put_up(scope)
    next(exchange)(connections.client("default"))
    assert not lives(made)
    for one in (made, other):
        with commands() as log:
            lives(one)
        assert len(log) == 1


def test_a_revocation_of_many_is_few_round_trips(service: Spoken, commands: Commands) -> None:
    made = [session_of() for _ in range(50)]
    with commands() as log:
        assert service.revoke_user("user123") == 50
    assert [command.split(" ")[0] for command in log[:4]] == [
        "HSET",
        "PEXPIRE",
        "EVALSHA",
        "ZRANGE",
    ]  # noted and barred
    assert len([command for command in log if keys.session(made[0].sid) in command]) == 1


def test_without_revocations_there_are_no_barriers(raw: "redis.Redis", prefix: str) -> None:
    made = session_of()
    lives(made)
    sessions.revoke(made.sid)
    assert list(raw.scan_iter(f"{prefix}:revok*")) == []


def test_barriers_stand_as_long_as_a_session_of_before_may_live(raw: "redis.Redis", settings: Any) -> None:
    settings.SESSION_COOKIE_AGE = 40 * 86400
    sessions.revoke_user("user123")
    settings.SESSION_COOKIE_AGE = 60
    sessions.revoke_user("other")
    assert raw.pttl(keys.revoked("00")) > 39 * 86400_000
    assert len(list(raw.scan_iter(keys.revoked("*").replace("{*}", "{??}")))) == 256


def test_old_barriers_are_dropped_once_an_hour(raw: "redis.Redis") -> None:
    key = keys.revoked("00")
    raw.hset(key, mapping={"u:old": 1000, "@top": 1000, "@swept": 1000})
    sessions.revoke_user("user123")
    assert set(raw.hkeys(key)) == {b"u:user123", b"@top", b"@swept"}
    raw.hset(key, "u:old", 1000)
    sessions.revoke_user("user123")
    assert raw.hexists(key, "u:old")


# Replicas and outages


def no_more_waiting(primary: PrivateServer) -> None:
    """End somebody's ``WAIT`` when every replica that is there has confirmed."""
    deadline = time.monotonic() + 60
    with primary.client() as client:

        def waiting() -> list[str]:
            return [one["id"] for one in client.client_list() if one["cmd"] == "wait" and "b" in one["flags"]]

        while not waiting():
            assert time.monotonic() < deadline
            os.sched_yield()
        written = client.info("replication")["master_repl_offset"]
        while client.info("replication")["slave0"]["offset"] < written:
            assert time.monotonic() < deadline
            os.sched_yield()
        client.client_unblock(waiting()[0])


def test_replicas_may_be_waited_for(service: Spoken, settings: Any) -> None:
    # Half of it is for the replicas; nobody here waits for so long.
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 120.0, "COMMAND_TIMEOUT": 120.0}
    with private_server() as primary, private_server() as replica:
        caches = {**settings.CACHES, "default": {**settings.CACHES["default"], "LOCATION": primary.url}}
        settings.CACHES = caches
        made = session_of()
        with primary.client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            deadline = time.monotonic() + 60
            while client.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < deadline
                os.sched_yield()
        assert service.revoke_user("user123", wait_replicas=1) == 1
        with replica.client() as client:
            assert client.exists(keys.revoked(made.sid[:2]))
        again = session_of()
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(service.revoke_user, "user123", wait_replicas=2)
            no_more_waiting(primary)
            with pytest.raises(sessions.NotReplicated, match="1 of 2 replicas"):
                asked.result()
        assert not lives(again)


def test_an_outage_is_told(server: PrivateServer, service: Spoken) -> None:
    session_of()
    server.kill()
    for call in (service.revoke_user, service.revoke_tenant):
        with pytest.raises(RedisUnavailable):
            call(TENANT)
    for call in (service.revoke_everybody, service.resume_revocations):
        with pytest.raises(RedisUnavailable):
            call()
    with pytest.raises(RedisUnavailable):
        service.revoke(sid_of("x"))
