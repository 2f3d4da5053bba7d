"""The store: round trips, merging, no resurrection, expiry, and what lies in Redis."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils import timezone

from bergizi_redis import keys
from bergizi_redis.sessions import backend
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.encoding import SessionTooLarge
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.tenancy import use_tenant

Commands = Callable[[], AbstractContextManager[list[str]]]
HASH = "f" * 64


def saved(**data: Any) -> SessionStore:
    session = SessionStore()
    session.update(data)
    session.save()
    return session


def logged_in(user_id: str = "7", tenant: str | None = None, **data: Any) -> SessionStore:
    with use_tenant(tenant):
        return saved(
            _auth_user_id=user_id, _auth_user_backend="django.contrib.auth.backends.ModelBackend",
            _auth_user_hash=HASH, **data,
        )  # fmt: skip


def stored(raw: "redis.Redis", session: SessionStore) -> dict[bytes, bytes]:
    return raw.hgetall(keys.session(session.sid or ""))  # type: ignore[return-value]


def again(session: SessionStore) -> SessionStore:
    return SessionStore(session.session_key)


# Round trips


def test_a_load_is_one_round_trip(commands: Commands) -> None:
    key = logged_in(cart=[1, 2]).session_key
    with commands() as log:
        assert SessionStore(key)["cart"] == [1, 2]
    assert len(log) == 1


def test_a_save_is_one_round_trip(commands: Commands) -> None:
    session = again(logged_in())
    session["cart"] = [1]
    with commands() as log:
        session.save()
    assert len(log) == 1


def test_a_first_save_of_an_anonymous_session_is_one_round_trip(commands: Commands) -> None:
    saved(x=0)  # the server knows the scripts now
    with commands() as log:
        saved(cart=[1])
    assert len(log) == 1


def test_a_log_in_is_saved_in_three_round_trips(commands: Commands) -> None:
    logged_in(tenant="sppg-1")
    session = again(saved(cart=[1]))
    session["_auth_user_id"] = "7"
    with commands() as log, use_tenant("sppg-1"):
        session.save()
    # The indices in one pipeline, then the session, then the statistics.
    kinds = [command.split()[3].split(":", 1)[1].split(":")[0] for command in log if ":activity:" not in command]
    assert kinds == ["user", "tenant", "sessions", "session", "tenant"]


def test_async_costs_the_same_and_needs_no_thread(commands: Commands) -> None:
    key = logged_in(cart=[1]).session_key

    async def visit() -> None:
        threads = {*threading.enumerate()}
        session = SessionStore(key)
        assert await session.aget("cart") == [1]
        await session.aset("cart", [2])
        await session.asave()
        assert {*threading.enumerate()} <= threads

    with commands() as log:
        asyncio.run(visit())
    assert len(log) == 2
    assert SessionStore(key)["cart"] == [2]


# Merging


def test_two_requests_that_change_different_keys_both_survive() -> None:
    """Red when a save writes every field and removes those it does not know (``change_of`` without ``before``)."""
    first = saved(a=1, b=1, c=1)
    second = again(first)
    second["b"] = 2
    del second["c"]
    first["a"] = 2
    first["new"] = "x"
    second.save()
    first.save()
    assert dict(again(first).items()) == {"a": 2, "b": 2, "new": "x"}


def test_only_what_changed_is_written(commands: Commands) -> None:
    session = again(saved(large="x" * 1000, n=1))
    session["n"] = 2
    with commands() as log:
        session.save()
    assert "xxx" not in log[0]


def test_a_change_in_place_is_saved() -> None:
    session = again(saved(cart={"rice": 1}, other=1))
    session["cart"]["rice"] = 2
    session.save()
    assert again(session)["cart"] == {"rice": 2}


def test_clearing_a_session_that_was_never_loaded_removes_what_it_held() -> None:
    session = again(saved(a=1, b=2))
    session.clear()
    session["c"] = 3
    session.save()
    assert dict(again(session).items()) == {"c": 3}


def test_clearing_asynchronously_removes_what_it_held() -> None:
    key = saved(a=1).session_key

    async def clear() -> None:
        session = SessionStore(key)
        session.clear()
        await session.asave()

    asyncio.run(clear())
    assert dict(SessionStore(key).items()) == {}


# No resurrection


@pytest.mark.parametrize("end", [SessionStore.delete, SessionStore.flush])
def test_a_save_does_not_bring_back_a_session_that_ended_meanwhile(
    raw: "redis.Redis", end: Callable[[SessionStore], None]
) -> None:
    """Red when ``session_save.lua`` does not look for the session in the same step as it writes."""
    slow = logged_in(a=1)
    sid = slow.sid or ""
    end(again(slow))
    slow["a"] = 2
    with pytest.raises(UpdateError):
        slow.save()
    assert not raw.exists(keys.session(sid))


def test_saving_a_session_that_expired_before_it_was_loaded_is_an_update_error(raw: "redis.Redis") -> None:
    session = again(saved(a=1))
    raw.delete(keys.session(session.sid or ""))
    with pytest.raises(UpdateError):
        session.save()


def test_async_saves_do_not_bring_it_back_either() -> None:
    key = saved(a=1).session_key

    async def race() -> None:
        slow, other = SessionStore(key), SessionStore(key)
        await slow.aset("a", 2)
        await other.aflush()
        with pytest.raises(UpdateError):
            await slow.asave()
        cleared = SessionStore(key)
        cleared.clear()
        with pytest.raises(UpdateError):
            await cleared.asave()

    asyncio.run(race())


def test_writers_against_one_log_out_leave_nothing_behind(raw: "redis.Redis") -> None:
    """Twenty rounds of eight writers and one end. Red when ``session_save.lua`` does not check for the session."""
    for _ in range(20):
        session = logged_in(n=0)
        writers = [again(session) for _ in range(8)]
        start = threading.Barrier(9, timeout=60)

        def write(writer: SessionStore, start: threading.Barrier = start) -> None:
            writer["n"] = id(writer)
            start.wait()
            for n in range(5):
                writer["n"] = n
                try:
                    writer.save()
                except UpdateError:
                    return

        threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        start.wait()
        again(session).delete()
        for thread in threads:
            thread.join()
        assert not raw.exists(keys.session(session.sid or ""))
        assert not raw.exists(keys.user_sessions("7"))


def test_an_existing_key_is_not_created_again() -> None:
    session = saved(a=1)
    twin = again(session)
    twin._session_cache = {}
    with pytest.raises(CreateError):
        twin.save(must_create=True)
    assert again(session)["a"] == 1


def test_creating_gives_up_when_every_key_is_taken(monkeypatch: pytest.MonkeyPatch, raw: "redis.Redis") -> None:
    taken = saved().session_key
    raw.hincrby(keys.session(sid_of(taken or "")), "@new", -3_600_000)  # an hour ago: it is not this creation's own
    monkeypatch.setattr(backend, "new_key", lambda: taken)
    with pytest.raises(RuntimeError, match="No free session key"):
        SessionStore().create()
    with pytest.raises(RuntimeError, match="No free session key"):
        asyncio.run(SessionStore().acreate())


# A new key


def test_cycling_keeps_data_and_log_in_and_ends_the_old_key(raw: "redis.Redis") -> None:
    session = logged_in(tenant="sppg-1", a=1)
    old, created = again(session), stored(raw, session)[b"@in"]
    session.cycle_key()
    assert dict(old.items()) == {}
    assert again(session)["a"] == 1
    meta = stored(raw, session)
    assert (meta[b"@uid"], meta[b"@ten"], meta[b"@in"]) == (b"7", b"sppg-1", created)
    members = [(session.sid or "").encode()]
    assert raw.zrange(keys.user_sessions("7"), 0, -1) == members == raw.zrange(keys.tenant_sessions("sppg-1"), 0, -1)


def test_a_session_that_ended_while_its_key_was_changed_stays_ended(raw: "redis.Redis", prefix: str) -> None:
    """Red when ``cycle_key`` does not look whether the old session was still there."""
    slow = again(logged_in())
    slow.load_first = slow["_auth_user_id"]  # type: ignore[attr-defined]
    again(slow).flush()
    with pytest.raises(SessionInterrupted, match="ended before its key could be changed"):
        slow.cycle_key()
    left = {key.decode().split(":")[1] for key in raw.scan_iter(f"{prefix}:*")} - {"activity", "ended", prefix}
    assert left == {"tenant", "sessions"}  # the statistics, and that the tenant has had sessions
    assert not raw.exists(keys.tenant_sessions(None), keys.user_sessions("7"))


def test_of_two_that_change_the_key_at_once_one_goes_on(raw: "redis.Redis", prefix: str) -> None:
    first, second = again(session := logged_in()), again(session)
    assert first["_auth_user_id"] == second["_auth_user_id"]
    first.cycle_key()
    with pytest.raises(SessionInterrupted):
        second.cycle_key()
    assert again(first)["_auth_user_id"] == "7"
    assert len(list(raw.scan_iter(f"{prefix}:session:*"))) == 1


def test_changing_the_key_asynchronously_keeps_the_same_promises() -> None:
    key = logged_in(a=1).session_key

    async def race() -> str | None:
        first, second = SessionStore(key), SessionStore(key)
        assert await first.aget("a") == await second.aget("a") == 1
        await first.acycle_key()
        with pytest.raises(SessionInterrupted):
            await second.acycle_key()
        fresh = SessionStore()
        await fresh.acycle_key()
        assert await fresh.aexists(fresh.session_key)
        return first.session_key

    assert SessionStore(asyncio.run(race()))["a"] == 1


def test_two_visitors_of_one_anonymous_cookie_may_both_log_in() -> None:
    first, second = again(visitor := saved(cart=[1])), again(visitor)
    assert first["cart"] == second["cart"]
    first.cycle_key()
    second.cycle_key()
    assert again(first)["cart"] == again(second)["cart"] == [1]


def test_a_cleared_session_takes_no_log_in_along_to_a_new_key(raw: "redis.Redis") -> None:
    session = logged_in()
    session.clear()
    session.create()
    assert b"@uid" not in stored(raw, session)


# What lies in Redis


def everything(raw: Any, prefix: str) -> bytes:
    """Every key and value of this test, as one text."""
    found = []
    for key in raw.scan_iter(f"{prefix}*"):
        ask: Any = {
            b"hash": raw.hgetall, b"list": lambda key: raw.lrange(key, 0, -1), b"stream": raw.xrange,
            b"zset": lambda key: raw.zrange(key, 0, -1, withscores=True), b"string": raw.get,
        }[raw.type(key)]  # fmt: skip
        found.append(repr((key, ask(key))).encode())
    return b"\n".join(found)


def test_the_key_of_the_cookie_is_nowhere_in_redis(raw: "redis.Redis", prefix: str) -> None:
    session = logged_in(tenant="sppg-1", a=1)
    text = everything(raw, prefix)
    assert session.session_key is not None
    assert (session.sid or "?").encode() in text
    assert session.session_key.encode() not in text
    assert session.session_key[:12].encode() not in text


@pytest.mark.shows_secrets("a public id is sent as a key")
def test_the_public_id_sent_as_a_cookie_is_no_session() -> None:
    session = logged_in()
    assert session.sid is not None
    thief = SessionStore(session.sid)
    assert dict(thief.items()) == {}
    assert thief.session_key is None


@pytest.mark.parametrize("key", ["{" * 12, "nul\0nul\0nul", "k" * 4096, "..%2f*?[a]", "\ud800" * 8])
def test_a_cookie_may_hold_anything(key: str) -> None:
    session = SessionStore(key)
    assert dict(session.items()) == {}
    assert session.session_key is None
    assert session.exists(key) is False


def test_the_log_in_of_django_stays_a_listpack(raw: "redis.Redis") -> None:
    session = logged_in("123456", tenant="sppg-jakarta-001", _csrftoken="c" * 32)
    session.note_login(
        tenant="sppg-jakarta-001", ip="2001:db8:85a3::8a2e:370:7334", client="Samsung Internet · Android"
    )
    session.save()
    key = keys.session(session.sid or "")
    assert raw.object("encoding", key) == b"listpack"
    assert (raw.memory_usage(key) or 0) < 700


def test_a_damaged_field_is_dropped_and_the_session_goes_on(raw: "redis.Redis") -> None:
    session = logged_in(a=1, b=2)
    raw.hset(keys.session(session.sid or ""), mapping={"a": ":{broken", "@seen": "soon", "@abs": "later"})
    damaged = again(session)
    assert "a" not in damaged
    assert damaged["b"] == 2
    damaged["b"] = 3
    damaged.save()
    assert again(session)["b"] == 3


def test_a_key_that_holds_no_hash_is_no_session(raw: "redis.Redis") -> None:
    session = saved(a=1)
    raw.set(keys.session(session.sid or ""), "something else")
    session["a"] = 2
    with pytest.raises(UpdateError):
        session.save()
    found = again(session)
    assert dict(found.items()) == {}
    found["x"] = 1
    found.save()
    assert again(found)["x"] == 1


def test_a_hash_that_is_none_of_ours_is_no_session(raw: "redis.Redis") -> None:
    raw.hset(keys.session(sid_of(key := new_key())), "a", ":1")
    assert dict(SessionStore(key).items()) == {}


def test_five_thousand_keys_are_saved_merged_and_removed() -> None:
    session = saved(**{f"k{n}": n for n in range(5000)})
    assert len(dict(again(session).items())) == 5000
    session.clear()
    session["left"] = 1
    session.save()
    assert dict(again(session).items()) == {"left": 1}


def test_a_session_above_the_cap_leaves_the_saved_one_as_it_was() -> None:
    session = saved(a=1)
    session["rows"] = "x" * 2**20
    with pytest.raises(SessionTooLarge):
        session.save()
    assert dict(again(session).items()) == {"a": 1}


# Expiry


@pytest.mark.parametrize("expiry", [None, 0, 90, timedelta(minutes=3)])
def test_the_life_in_redis_is_the_age_of_the_cookie(raw: "redis.Redis", expiry: Any) -> None:
    session = SessionStore()
    session.set_expiry(expiry)
    session.save()
    key = keys.session(session.sid or "")
    assert raw.pexpiretime(key) - int(raw.hget(key, "@seen") or 0) == session.get_expiry_age() * 1000


def test_an_expiry_at_a_moment_is_the_sessions_end_in_redis(raw: "redis.Redis") -> None:
    """By whole seconds, as Django counts them, and ms of Redis; and later by as long as the save was on its way."""
    session, began = SessionStore(), timezone.now()
    end = began + timedelta(hours=2)
    session.set_expiry(end)
    session.save()
    key = keys.session(session.sid or "")
    on_its_way = int(raw.hget(key, "@seen") or 0) / 1000 - began.timestamp()
    assert -1.01 < raw.pexpiretime(key) / 1000 - end.timestamp() <= on_its_way
    assert session.get_expiry_age() <= 2 * 3600


def test_a_saved_expiry_in_the_past_ends_the_session_at_once(raw: "redis.Redis") -> None:
    session = logged_in()
    session.set_expiry(-1)
    session.save()
    assert not raw.exists(keys.session(session.sid or ""))


def test_reading_a_session_of_django_does_not_prolong_it(raw: "redis.Redis") -> None:
    session = logged_in()
    raw.pexpire(key := keys.session(session.sid or ""), 500_000)
    ends = raw.pexpiretime(key)
    assert again(session)["_auth_user_id"] == "7"
    assert raw.pexpiretime(key) == ends


def test_clearing_expired_sessions_is_redis_work() -> None:
    session = saved(a=1)
    SessionStore.clear_expired()
    asyncio.run(SessionStore.aclear_expired())
    assert again(session)["a"] == 1


def test_sessions_use_djangos_own_alias_setting(settings: Any, raw: "redis.Redis") -> None:
    settings.CACHES = {**settings.CACHES, "apart": {**settings.CACHES["default"]}}
    settings.SESSION_CACHE_ALIAS = "apart"
    assert stored(raw, saved(a=1))[b"a"] == b":1"


def test_deleting_what_is_not_there_is_no_error() -> None:
    SessionStore().delete()
    SessionStore().delete(new_key())
    asyncio.run(SessionStore().adelete())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def prefetched(request: pytest.FixtureRequest) -> SessionStore:
    session = again(saved(a=1))
    if request.param:
        asyncio.run(session.aprefetch())
    else:
        session.prefetch()
    return session


def test_loading_ahead_is_no_access_and_is_not_repeated(prefetched: SessionStore, commands: Commands) -> None:
    assert prefetched.accessed is False
    with commands() as log:
        prefetched.prefetch()
        assert prefetched["a"] == 1
    assert log == []
