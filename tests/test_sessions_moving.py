"""Moving in from another session store: nobody is logged out, and what has ended here stays ended.

Seen red: without the mark in ``session_adopt.lua`` the test of the ended session, without ``end_old`` the one of the
log-out, without ``move_in`` in ``validate_session`` those of keys, with the entry of a session on its way taken for a
ghost that of the log-in meanwhile, without the look of ``session_adopt.lua`` at barriers that of the revocation, and
where the import asks the old store first that of the lists.
"""

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session as Row
from django.db import connection
from django.test import Client
from redis.exceptions import NoScriptError

from bergizi_redis import connections, keys, signals
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable
from bergizi_redis.sessions import moving
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.importing import bring_in
from bergizi_redis.sessions.moving import sources
from bergizi_redis.sessions.quotas import SessionLimitReached
from bergizi_redis.sessions.sources import SessionDecoder
from tests.roundtrips import round_trips
from tests.servers import PrivateServer
from tests.spoken import WAYS

DB, CACHED_DB, CACHE, REDIS_SESSIONS = ENGINES = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.cache",
    "redis_sessions.session",
)
LIFE = 3 * 3600  # seconds that the old sessions have left

pytestmark = [pytest.mark.django_db, pytest.mark.shows_secrets("other engines keep the key of the cookie")]


@pytest.fixture(autouse=True)
def stores(settings: Any, prefix: str) -> None:
    settings.SESSION_REDIS = {"prefix": f"{prefix}rs"}


@pytest.fixture
def told() -> Iterator[list[str]]:
    log: list[str] = []

    def started(reason: str, **_: Any) -> None:
        log.append(reason)

    signals.session_started.connect(started)
    yield log
    signals.session_started.disconnect(started)


def move_from(settings: Any, *engines: str, **more: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_MOVE_FROM": list(engines), **more}


def kept_by(engine: str, raw: "redis.Redis", data: dict[str, Any]) -> str:
    """A session in an old store; its key."""
    if engine == REDIS_SESSIONS:
        key = new_key()
        raw.set(f"{config.KEY_PREFIX}rs:{key}", SessionDecoder().encode(data), ex=LIFE)
        return key
    store = import_module(engine).SessionStore()
    store.update(data)
    store.set_expiry(LIFE)
    store.create()
    return str(store.session_key)


def log_in(user: User) -> dict[str, str]:
    backend = "bergizi_redis.security.backends.LockoutModelBackend"
    return {SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: backend, HASH_SESSION_KEY: user.get_session_auth_hash()}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_session_of_another_store_moves_in_with_its_life_and_its_user(
    engine: str, settings: Any, raw: "redis.Redis", told: list[str]
) -> None:
    began = datetime.now(UTC) - timedelta(milliseconds=1)  # which is what Redis rounds to
    user = User.objects.create_user("siti")
    key = kept_by(engine, raw, {**log_in(user), "cart": [1, 2]})
    move_from(settings, engine)
    session = SessionStore(key)
    assert session["cart"] == [1, 2]
    assert session.session_key == key
    assert told == ["moved"]
    listed = sessions.sessions_for_user(user.pk)
    assert [info.public_id for info in listed] == [session.sid]
    assert listed[0].expires is not None
    assert timedelta(seconds=-2) < listed[0].expires - began - timedelta(seconds=LIFE) < datetime.now(UTC) - began
    assert began <= listed[0].authenticated <= datetime.now(UTC)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_browser_stays_logged_in_and_logging_out_ends_both(
    engine: str, settings: Any, raw: "redis.Redis", client: Client
) -> None:
    user = User.objects.create_user("siti")
    key = kept_by(engine, raw, log_in(user))
    move_from(settings, engine)
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    assert client.get("/").status_code == 200
    session = SessionStore(key)
    assert session[SESSION_KEY] == str(user.pk)
    session.flush()
    source = sources()[0]
    assert source.find(key) is None
    assert SessionStore(key).load() == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_ended_here_does_not_come_back_from_there(engine: str, settings: Any, raw: "redis.Redis") -> None:
    key = kept_by(engine, raw, log_in(User.objects.create_user("siti")))
    move_from(settings, engine)
    SessionStore(key).load()
    assert sessions.revoke(sid_of(key))
    assert sources()[0].find(key) is not None, "the old copy stays for processes that are not deployed anew"
    assert SessionStore(key).load() == {}
    assert SessionStore(key).load() == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_asynchronous_store_moves_sessions_in_too(
    engine: str, settings: Any, raw: "redis.Redis", told: list[str]
) -> None:
    user = User.objects.create_user("siti")
    key = kept_by(engine, raw, {**log_in(user), "cart": [1]})
    move_from(settings, engine)
    assert async_to_sync(SessionStore(key).aload)()["cart"] == [1]
    assert told == ["moved"]
    assert [info.public_id for info in sessions.sessions_for_user(user.pk)] == [sid_of(key)]
    async_to_sync(SessionStore(key).aflush)()
    assert sources()[0].find(key) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_key_of_before_is_valid_without_a_request(
    engine: str, way: str, settings: Any, raw: "redis.Redis", told: list[str]
) -> None:
    user = User.objects.create_user("siti")
    key, anonymous = kept_by(engine, raw, log_in(user)), kept_by(engine, raw, {"cart": [1]})

    def valid(key: str) -> Any:
        if way == "awaiting":
            return async_to_sync(sessions.avalidate_session)(key)
        return sessions.validate_session(key)

    assert valid(key) is None, "nothing is moved yet"
    move_from(settings, engine)
    info = valid(key)
    assert info is not None
    assert (info.user_id, info.public_id) == (str(user.pk), sid_of(key))
    assert told == ["moved"]
    assert [valid(other) for other in (anonymous, new_key(), "x", "")] == [None] * 4
    sessions.revoke(sid_of(key))
    assert valid(key) is None


# Limits and lists


@pytest.mark.parametrize("policy", ["deny", "evict"])
def test_nobody_is_logged_out_by_a_limit_and_the_next_log_in_is_held_to_it(
    policy: str, settings: Any, raw: "redis.Redis", monkeypatch: Any
) -> None:
    monkeypatch.setattr(moving, "_tenant_of", lambda data: "sppg-1")
    user = User.objects.create_user("siti")
    old = [kept_by(DB, raw, log_in(user)) for _ in range(3)]
    move_from(settings, DB, SESSION_LIMIT=2, SESSION_LIMIT_POLICY=policy)
    assert all(sessions.validate_session(key) for key in old)
    assert len(sessions.sessions_for_user(user.pk)) == sessions.stats("sppg-1").live == 3
    long_ago = {sid_of(key): ((raw.time()[0] - 60) % 2048) / 2048 for key in old}  # listed, not just now
    raw.zadd(keys.user_sessions(user.pk), {sid: int(_score(raw, user, sid)) + part for sid, part in long_ago.items()})
    if policy == "deny":
        with pytest.raises(SessionLimitReached):
            session_of(user)
    else:
        session_of(user)
    left = {"deny": 3, "evict": 2}[policy]
    assert len(sessions.sessions_for_user(user.pk)) == sessions.stats("sppg-1").live == left
    assert all(sessions.validate_session(key) for key in old) == (policy == "deny")


def _score(raw: "redis.Redis", user: User, sid: str) -> float:
    return float(raw.zscore(keys.user_sessions(user.pk), sid) or 0)


def session_of(user: User) -> Any:
    return sessions.create_session(user.pk, "sppg-1", "", "", "", "", [])


def test_a_log_in_while_a_session_moves_in_counts_it(settings: Any, raw: "redis.Redis", monkeypatch: Any) -> None:
    """Forced: the log-in comes between the list and the session. Red where it is taken for a ghost."""
    monkeypatch.setattr(moving, "_tenant_of", lambda data: "sppg-1")
    user = User.objects.create_user("siti")
    key = kept_by(DB, raw, log_in(user))
    move_from(settings, DB, SESSION_LIMIT=1)
    this = moving.look_up(key)
    assert this is not None
    steps, client = moving.adopt(this), connections.client("default")
    reply = next(steps)(client)
    if any(isinstance(each, NoScriptError) for each in reply):
        reply = steps.send(reply)(client)
    with pytest.raises(SessionLimitReached):
        session_of(user)
    request = steps.send(reply)
    with pytest.raises(StopIteration) as ended:
        steps.send(request(client))
    assert ended.value.value is moving.Adopted.MOVED
    assert [info.public_id for info in sessions.sessions_for_user(user.pk)] == [sid_of(key)]


def test_an_import_leaves_the_lists_of_what_is_here_alone(settings: Any, raw: "redis.Redis") -> None:
    user = User.objects.create_user("siti")
    key = kept_by(DB, raw, log_in(user))
    move_from(settings, DB)
    session = SessionStore(key)
    session.set_expiry(LIFE * 10)
    session.save()
    before = _score(raw, user, sid_of(key))
    assert [one.became for one in bring_in(sources()[0])] == ["there"]
    assert _score(raw, user, sid_of(key)) == before


def test_who_is_brought_in_by_an_import_is_not_online_for_it(settings: Any, raw: "redis.Redis") -> None:
    users = [User.objects.create_user(name) for name in ("siti", "budi")]
    first, _ = (kept_by(DB, raw, log_in(user)) for user in users)
    move_from(settings, DB)
    assert SessionStore(first)[SESSION_KEY], "by a request"
    assert sorted(one.became for one in bring_in(sources()[0])) == ["moved", "there"]
    assert (sessions.stats("@").live, sessions.stats("@").online) == (2, 1)


# What it costs


def test_moving_is_four_round_trips_once_and_one_from_then_on(server: PrivateServer, settings: Any) -> None:
    """The old store is a table here, so that every round trip is to the new one."""
    user = User.objects.create_user("siti")
    raw = server.client()
    key, anonymous, first = (kept_by(DB, raw, data) for data in (log_in(user), {"cart": [1]}, log_in(user)))
    move_from(settings, DB)
    SessionStore(first).load()  # the server knows the scripts from now on
    costs = {}
    for name, who in (("user", key), ("again", key), ("anonymous", anonymous), ("unknown", new_key())):
        with round_trips(server) as counted:
            SessionStore(who).load()
        costs[name] = counted[0]
    assert costs == {"user": 4, "again": 1, "anonymous": 3, "unknown": 1}
    with round_trips(server) as counted:
        assert sessions.validate_session(new_key()) is None
    assert counted == [1]


def test_a_revocation_of_the_user_ends_sessions_that_have_not_moved_yet(settings: Any, raw: "redis.Redis") -> None:
    users = [User.objects.create_user(name) for name in ("siti", "budi")]
    first, other = (kept_by(DB, raw, log_in(user)) for user in users)
    move_from(settings, DB)
    assert sessions.revoke_user(users[0].pk) == 0, "none is here yet"
    assert SessionStore(first).load() == {}
    assert SessionStore(first).load() == {}
    assert not raw.exists(keys.session(sid_of(first))), "the clean-up is over: who would take it away?"
    assert SessionStore(other)[SESSION_KEY] == str(users[1].pk)
    assert sessions.stats("@").live == sessions.stats("@").online == 1


def test_of_parallel_requests_one_moves_the_session_and_all_have_it(
    settings: Any, raw: "redis.Redis", told: list[str]
) -> None:
    key = kept_by(CACHE, raw, {**log_in(User.objects.create_user("siti")), "cart": [1]})
    move_from(settings, CACHE)
    ready = threading.Barrier(4, timeout=60)
    tenant_of = moving.moving_of

    def at_once(*args: Any) -> Any:
        ready.wait()  # all have looked it up, and none has written it
        return tenant_of(*args)

    def read(_: int) -> Any:
        try:
            return SessionStore(key).load()["cart"]
        finally:
            connection.close()

    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(4) as pool:
        patched.setattr(moving, "_tenant_of", lambda data: None)  # an in-memory SQLite belongs to one thread
        patched.setattr(moving, "moving_of", at_once)
        assert list(pool.map(read, range(4))) == [[1]] * 4
    assert told == ["moved"]


def test_an_unknown_cookie_is_still_no_session(settings: Any) -> None:
    move_from(settings, *ENGINES)
    for key in (new_key(), "x", "a" * 4096, "{}:*" * 8, "../../etc/passwd"):
        store = SessionStore(key)
        assert store.load() == {}
        assert store.session_key is None


def test_after_the_last_day_nothing_is_asked(settings: Any, raw: "redis.Redis") -> None:
    key = kept_by(DB, raw, {"cart": [1]})
    today = datetime.now(UTC).date()
    move_from(settings, DB, SESSION_MOVE_UNTIL=today - timedelta(days=1))
    assert SessionStore(key).load() == {}
    move_from(settings, DB, SESSION_MOVE_UNTIL=today.isoformat())
    assert len(sources(today=today)) == 1
    assert sources(today=today + timedelta(days=1)) == []
    move_from(settings, DB, SESSION_MOVE_UNTIL=today + timedelta(days=1))
    assert SessionStore(key)["cart"] == [1]


@pytest.mark.parametrize("value", ["tomorrow", "2027-13-01"])
def test_a_last_day_that_is_none_is_refused(settings: Any, value: str) -> None:
    move_from(settings, DB, SESSION_MOVE_UNTIL=value)
    with pytest.raises(ConfigurationError, match="SESSION_MOVE_UNTIL"):
        _ = config.SESSION_MOVE_UNTIL


@pytest.mark.parametrize(("path", "said"), [("nowhere.at.all", "nowhere"), (f"{CACHE}@gone", "no alias")])
def test_an_engine_that_is_none_is_said_to_be(settings: Any, path: str, said: str) -> None:
    move_from(settings, path)
    with pytest.raises(ConfigurationError, match=said):
        SessionStore(new_key()).load()


def test_an_old_store_that_is_down_is_an_outage_and_keeps_the_cookie(settings: Any, client: Client) -> None:
    caches = copy.deepcopy(settings.CACHES)
    caches["old"] = {**caches["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = caches
    move_from(settings, f"{REDIS_SESSIONS}@old")
    with pytest.raises(RedisUnavailable, match="SESSION_MOVE_FROM"):
        SessionStore(new_key()).load()
    client.cookies[settings.SESSION_COOKIE_NAME] = new_key()
    answer = client.get("/")
    assert answer.status_code == 503
    assert settings.SESSION_COOKIE_NAME not in answer.cookies


def test_a_value_that_no_json_holds_is_left_behind_and_the_session_moves(settings: Any, raw: "redis.Redis") -> None:
    key = kept_by(CACHE, raw, {"cart": [1], "day": date(2026, 1, 1)})
    move_from(settings, CACHE)
    assert "day" not in SessionStore(key).load()
    assert SessionStore(key)["cart"] == [1]


def test_an_engine_of_the_project_moves_by_djangos_own_api(settings: Any) -> None:
    old = import_module(DB).SessionStore()
    old["cart"] = [1]
    old.create()
    move_from(settings, "tests.oldsessions")
    assert SessionStore(old.session_key)["cart"] == [1]
    SessionStore(old.session_key).delete()
    assert not Row.objects.exists()
