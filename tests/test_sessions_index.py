"""Pages, statistics and the sweeper: counts that are exact, and ``session_expired`` once for each session.

Seen red: with ``session_claim.lua`` not asking whether the entry is still there (four sweepers tell one session twice),
and without its look at the score (a renewed session is told as expired); without the skipped entries of
``session_page.lua`` (a page repeats the one before).
"""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from bergizi_redis import connections, keys, signals
from bergizi_redis.sessions import paging, sweeping
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.asking import ask
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.middleware import SessionMiddleware
from bergizi_redis.sessions.quotas import SessionLimitReached
from bergizi_redis.sessions.statistics import NAMES, count
from tests.roundtrips import round_trips
from tests.servers import Cluster, PrivateServer, server_directory
from tests.sessionsite import PATIENCE_WITH_NODES, counted
from tests.spoken import WAYS, Spoken

TENANT = "sppg-1"
PROFILE: dict[str, Any] = {"role": "COOK", "user_type": "U", "email": "e", "name": "n", "permissions": []}


def session_of(user_id: str = "sari", tenant: str = TENANT) -> Session:
    return sessions.create_session(user_id, tenant, **PROFILE)


def run_out(raw: Any, *made: Session) -> None:
    """Let so many sessions have ended by their TTL, an hour ago."""
    for session in made:
        raw.delete(keys.session(session.sid))
        raw.zadd(keys.tenant_sessions(session.tenant or None), {session.sid: (raw.time()[0] - 3600) * 1000})


@pytest.fixture
def expired() -> Iterator[list[tuple[str, str | None, str | None]]]:
    """Public id, user and tenant, as ``session_expired`` told them."""
    log: list[tuple[str, str | None, str | None]] = []

    def note(sid: str, user_id: str | None, tenant: str | None, **_: Any) -> None:
        log.append((sid, user_id, tenant))

    signals.session_expired.connect(note)
    yield log
    signals.session_expired.disconnect(note)


# The sweeper


def test_what_has_run_out_is_told_and_counted_once(raw: Any, expired: list[Any]) -> None:
    gone, kept, other = session_of(), session_of(), session_of("budi", "sppg-2")
    run_out(raw, gone, other)
    assert sessions.stats(TENANT).live == sessions.stats(TENANT).online == 1  # exact before any sweep
    assert sweeping.sweep() == 2
    assert sorted(expired) == sorted([(gone.sid, "sari", TENANT), (other.sid, "budi", "sppg-2")])
    assert sweeping.sweep() == 0
    assert counted(TENANT).expired == counted("sppg-2").expired == 1
    assert [info.public_id for info in sessions.sessions_for_tenant(TENANT)] == [kept.sid]


def test_whose_session_ran_out_is_told_as_far_as_the_tenants_trail_goes(
    raw: Any, expired: list[Any], settings: Any
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ACTIVITY_LENGTH": 30}  # 150 of a tenant
    forgotten = session_of("budi")
    made = [session_of(f"user{number}") for number in range(149)]
    last = session_of("sari")
    run_out(raw, forgotten, made[0], last)
    assert sweeping.sweep() == 3
    assert sorted(expired) == sorted([
        (forgotten.sid, None, TENANT), (made[0].sid, "user0", TENANT), (last.sid, "sari", TENANT),
    ])  # fmt: skip
    assert [entry.event for entry in sessions.activity("sari")] == ["expired", "logged_in"]
    run_out(raw, made[1])
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ACTIVITY_LENGTH": 0}
    raw.delete(keys.tenant_activity(TENANT))
    assert asyncio.run(sweeping.asweep()) == 1
    assert expired[-1] == (made[1].sid, None, TENANT)


def test_sessions_without_a_tenant_are_swept_too(raw: Any, expired: list[Any]) -> None:
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.save()
    raw.delete(keys.session(session.sid or ""))
    raw.zadd(keys.tenant_sessions(None), {session.sid: 1000.0})
    assert asyncio.run(sweeping.asweep()) == 1
    assert expired == [(session.sid, None, None)]


def test_four_sweepers_at_once_tell_each_session_once(raw: Any, expired: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(sweeping, "ENTRIES_AT_ONCE", 20)
    made = [session_of(f"user{number}", f"sppg-{number % 3}") for number in range(100)]
    run_out(raw, *made)
    ready = threading.Barrier(4)

    def one(_: int) -> int:
        ready.wait(60)
        return sweeping.sweep()

    with ThreadPoolExecutor(4) as threads:
        told = sum(threads.map(one, range(4)))
    assert told == len(expired) == 100
    assert {sid for sid, *_ in expired} == {session.sid for session in made}
    assert sum(counted(f"sppg-{number}").expired for number in range(3)) == 100


def test_reading_a_list_takes_nothing_from_the_sweeper(raw: Any, expired: list[Any]) -> None:
    """Red when ``session_prune.lua`` takes entries whose time is over for ghosts: nobody told of them."""
    made = session_of()
    run_out(raw, made)
    assert sessions.sessions_for_tenant(TENANT) == []
    assert paging.page_for_tenant(TENANT).total == 0
    assert sweeping.sweep() == 1
    assert expired == [(made.sid, "sari", TENANT)]


def test_two_sweepers_that_saw_the_same_entries_share_them(raw: Any, expired: list[Any]) -> None:
    """Forced: the second one claims between the first one's look and its claim."""
    run_out(raw, session_of(), session_of())
    first, client = sweeping._claimed([TENANT]), connections.client("default")
    looked = first.send(next(first)(client))(client)
    assert sweeping.sweep() == 2
    claim = first.send(looked)
    with pytest.raises(StopIteration) as ended:
        first.send(claim(client))
    assert ended.value.value[0] == []
    assert len(expired) == 2
    assert counted(TENANT).expired == 2


def test_a_session_that_was_renewed_meanwhile_has_not_expired(raw: Any, expired: list[Any]) -> None:
    made = session_of()
    listing = keys.tenant_sessions(TENANT)
    score = raw.zscore(listing, made.sid)
    raw.zadd(listing, {made.sid: 1000.0})
    first, client = sweeping._claimed([TENANT]), connections.client("default")
    reply = next(first)(client)
    hidden = raw.dump(keys.session(made.sid))
    raw.delete(keys.session(made.sid))
    reply = first.send(reply)(client)
    raw.restore(keys.session(made.sid), 60_000, hidden)
    raw.zadd(listing, {made.sid: score})
    claim = first.send(reply)
    with pytest.raises(StopIteration) as ended:
        first.send(claim(client))
    assert ended.value.value[0] == []
    assert raw.zscore(listing, made.sid) == score


def test_a_session_whose_entry_is_behind_is_listed_anew(raw: Any, expired: list[Any]) -> None:
    made = session_of()
    raw.zadd(keys.tenant_sessions(TENANT), {made.sid: 1000.0})
    assert sweeping.sweep() == 0
    assert expired == []
    assert sessions.stats(TENANT).live == 1


def test_one_process_sweeps_a_minute_behind_a_response(raw: Any, expired: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(sweeping, "AT_REQUEST", 20)  # seconds: a busy machine may stop for some
    run_out(raw, session_of())
    early, due, second = sweeping.Sweeper(), sweeping.Sweeper(), sweeping.Sweeper()
    due.due = second.due = 0
    early.at_request()
    assert expired == []
    due.at_request()
    assert len(expired) == 1
    run_out(raw, session_of())
    second.at_request()  # the first one's lease holds
    assert len(expired) == 1
    assert 0 < raw.pttl(keys.sessions_swept()) <= sweeping.LEASE


def test_an_outage_behind_a_response_harms_nobody(server: PrivateServer, caplog: pytest.LogCaptureFixture) -> None:
    session_of()
    server.kill()
    sweeper = sweeping.Sweeper()
    sweeper.due = 0
    sweeper.at_request()
    assert "Could not sweep sessions" in caplog.text


# Statistics


def test_each_thing_that_happens_is_counted_on_its_day(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_LIMIT": 3}
    first, second = session_of(), session_of()
    session_of()
    with pytest.raises(SessionLimitReached):
        session_of()
    SessionStore(first.key).flush()
    sessions.revoke(second.sid)
    sessions.revoke_user("sari")
    ask(count(TENANT, "client_changed"))
    told = counted(TENANT)
    assert (told.logins, told.logouts, told.revoked, told.denied, told.client_changed) == (3, 1, 2, 1, 1)
    assert told.expired == 0
    with pytest.raises(ValueError, match="'logons' is not counted"):
        ask(count(TENANT, "logons"))


def given(**more: Any) -> Any:
    site: Any = django_settings
    return override_settings(BERGIZI_REDIS={**site.BERGIZI_REDIS, **more})


def visit(made: Session, agent: str = "") -> None:
    """A request with the session's cookie, through the middleware."""
    request = RequestFactory().get("/", headers={"user-agent": agent})
    request.COOKIES[django_settings.SESSION_COOKIE_NAME] = made.key
    response: Any = SessionMiddleware(lambda _: HttpResponse(""))(request)
    assert response.status_code == 200, "an outage"


def one_too_many(made: Session) -> None:
    with given(SESSION_LIMIT=1):
        with pytest.raises(SessionLimitReached):
            session_of()
        with pytest.raises(SessionLimitReached):
            async_to_sync(sessions.acreate_session)("sari", TENANT, **PROFILE)


def makes_room(made: Session) -> None:
    with given(SESSION_LIMIT=1, SESSION_LIMIT_POLICY="evict"):
        session_of()
        async_to_sync(sessions.acreate_session)("sari", TENANT, **PROFILE)


def another_browser(made: Session) -> None:
    for policy in ("event", "re-authenticate", "end"):
        one = sessions.create_session("sari", TENANT, **PROFILE, user_agent="Firefox/1 Linux")
        with given(SESSION_CLIENT_CHANGE=policy):
            visit(one, "Chrome/1 Windows")


def run_out_and_swept(made: Session) -> None:
    run_out(connections.client("default"), made)
    sweeping.sweep()
    store = SessionStore(session_of().key)
    store.set_expiry(-1)
    store.save()


def logged_out(made: Session) -> None:
    SessionStore(made.key).flush()
    async_to_sync(SessionStore(session_of().key).aflush)()
    store = SessionStore()
    store["_auth_user_id"] = "sari"
    store.note_login(tenant=TENANT, ip=None, client=None)
    store.save()
    del store["_auth_user_id"]
    store.save()


def revoked(made: Session) -> None:
    sessions.revoke(made.sid)
    session_of()
    sessions.revoke_user("sari")
    session_of()
    sessions.revoke_tenant(TENANT)
    session_of()
    async_to_sync(sessions.arevoke_everybody)()


def shown_elsewhere(made: Session) -> None:
    assert sessions.validate_session(made.key, tenant="sppg-2") is None
    assert async_to_sync(sessions.avalidate_session)(made.key, tenant="sppg-3") is None


@pytest.mark.parametrize(
    ("name", "times", "happens"),
    [
        ("logouts", 3, logged_out),
        ("expired", 2, run_out_and_swept),
        ("evicted", 2, makes_room),
        ("denied", 2, one_too_many),
        ("revoked", 4, revoked),
        ("client_changed", 3, another_browser),
        ("tenant_mismatch", 2, shown_elsewhere),
    ],
)
def test_each_count_goes_up_where_it_happens_and_no_other_does(
    name: str, times: int, happens: Callable[[Session], None], caplog: pytest.LogCaptureFixture
) -> None:
    started: list[str] = []

    def note(reason: str, **_: Any) -> None:
        started.append(reason)

    signals.session_started.connect(note)
    try:
        happens(session_of())
    finally:
        signals.session_started.disconnect(note)
    told = asdict(counted(TENANT))
    told.pop("day")
    assert started == ["login"] * len(started)
    assert {key: value for key, value in told.items() if value} == {"logins": len(started), name: times}, caplog.text
    answers = sessions.stats(TENANT), async_to_sync(sessions.astats)(TENANT), sessions.stats(TENANT)
    assert answers[1] in (answers[0], answers[2])  # a day may end between two of them, and no more than one


def test_every_name_of_the_counts_is_tried_above() -> None:
    tried = {"logins", "logouts", "expired", "evicted", "denied", "revoked", "client_changed", "tenant_mismatch"}
    assert tried == NAMES


def test_a_new_key_for_the_same_log_in_is_counted_as_nothing() -> None:
    store = SessionStore(session_of().key)
    store.load()
    store.cycle_key()
    told = counted(TENANT)
    assert (told.logins, told.logouts, told.revoked) == (1, 0, 0)


@pytest.mark.parametrize("hours", [-11, 0, 11])
def test_the_day_is_the_servers_whatever_this_clock_says(monkeypatch: Any, raw: Any, hours: int) -> None:
    now = time.time()
    monkeypatch.setattr("bergizi_redis.sessions.statistics.time.time", lambda: now + hours * 3600)
    before = day_of(raw)
    session_of()
    [day] = [day for day in sessions.stats(TENANT, days=2).days if day.logins]
    assert before <= day.day <= day_of(raw)
    assert 39 * 86400 < raw.ttl(keys.session_stats(TENANT, str(day.day))) <= 40 * 86400


def day_of(raw: Any) -> date:
    """The server's today."""
    return datetime.fromtimestamp(raw.time()[0], UTC).date()


def test_days_are_told_from_today_backwards(raw: Any) -> None:
    before = day_of(raw)
    session_of()
    after = day_of(raw)
    numbers = sessions.stats(TENANT, days=3)
    assert after <= numbers.today.day <= day_of(raw)
    assert [(numbers.today.day - day.day).days for day in numbers.days] == [0, 1, 2]
    assert sum(day.logins for day in numbers.days) == 1
    assert sum(day.logins for day in numbers.days if before <= day.day <= after) == 1
    with pytest.raises(ValueError, match="give 1 to 40"):
        sessions.stats(TENANT, days=41)


def test_sessions_of_no_tenant_have_their_own_lists_and_counts() -> None:
    """As in a project without tenants."""
    store = SessionStore()
    store["_auth_user_id"] = "7"
    store.save()
    session_of("7")
    for way in WAYS:
        service: Any = Spoken(sessions, way)
        numbers = service.stats("@", days=2)
        assert (numbers.tenant, numbers.live, numbers.online) == (None, 1, 1)
        assert sorted(day.logins for day in numbers.days) == [0, 1]
        assert [info.public_id for info in service.sessions_for_tenant("@")] == [store.sid]
        assert [info.public_id for info in service.page_for_tenant("@").sessions] == [store.sid]
        assert service.page_for_tenant("@") == service.page_for_tenant(None)


def test_online_is_who_was_seen_lately(raw: Any) -> None:
    made = session_of()
    session_of("budi")
    assert sessions.stats(TENANT).online == 2
    raw.zadd(keys.tenant_online(TENANT), {made.sid: (raw.time()[0] - 301) * 1000})
    assert (sessions.stats(TENANT).live, sessions.stats(TENANT).online) == (2, 1)
    key = keys.session(made.sid)
    raw.hset(key, "@seen", int(raw.hget(key, "@seen") or 0) - 120_000)
    sessions.validate_session(made.key)
    assert sessions.stats(TENANT).online == 2
    sessions.revoke(made.sid)
    assert sessions.stats(TENANT).online == 1


# Pages


def pages(page_of: Callable[..., paging.Page], *args: Any, size: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = page_of(*args, cursor=cursor, size=size)
        found.append([info.public_id for info in page.sessions])
        assert len(found) < 50, "the pages do not end"
        cursor = page.cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_pages_show_each_session_once(raw: Any, size: int) -> None:
    made = {session_of().sid for _ in range(7)}
    listing = keys.tenant_sessions(TENANT)
    soon = (raw.time()[0] + 3600) * 1000
    raw.zadd(listing, dict.fromkeys(sorted(made)[:4], soon))  # as of one and the same moment
    for page_of, whose in ((paging.page_for_tenant, TENANT), (paging.page_for_user, "sari")):
        found = pages(page_of, whose, size=size)
        assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1)
        shown = [sid for page in found for sid in page]
        assert (len(shown), set(shown)) == (7, made)
    assert paging.page_for_tenant(TENANT, size=size).total == 7


def test_the_sessions_of_all_tenants_are_read_up_to_a_number_and_it_is_told() -> None:
    made = {session_of().sid for _ in range(3)} | {session_of(tenant="sppg-2").sid for _ in range(2)}
    found, is_all = paging.first_of_all(5)
    assert ({info.public_id for info in found}, is_all) == (made, True)
    found, is_all = paging.first_of_all(4)
    assert (len({info.public_id for info in found} & made), is_all) == (4, False)


def test_a_log_in_between_two_pages_shifts_nothing() -> None:
    made = [session_of().sid for _ in range(6)]
    first = paging.page_for_tenant(TENANT, size=3)
    session_of()
    second = asyncio.run(paging.apage_for_tenant(TENANT, first.cursor, 3))
    assert {info.public_id for page in (first, second) for info in page.sessions} == set(made)
    assert asyncio.run(paging.apage_for_user("sari")).total == 7


def test_a_page_is_two_round_trips(server: PrivateServer) -> None:
    for _ in range(60):
        session_of()
    first = paging.page_for_tenant(TENANT)
    with round_trips(server) as trips:
        assert len(paging.page_for_tenant(TENANT, first.cursor).sessions) == 10
    assert trips == [2]


def test_lost_sessions_leave_the_list_with_their_page(raw: Any) -> None:
    made, lost = session_of(), session_of()
    raw.delete(keys.session(lost.sid))
    second = raw.time()[0]
    long_ago = (second - 600) % 2048 / 2048  # when it was listed, see session_index.lua: the young stay
    raw.zadd(keys.tenant_sessions(TENANT), {lost.sid: (second + 3600) * 1000 + long_ago})
    page = paging.page_for_tenant(TENANT)
    assert ([info.public_id for info in page.sessions], page.total) == ([made.sid], 1)


@pytest.mark.parametrize("cursor", ["", "x", "1-2", "1e5-" + "0" * 32, "+inf-" + "0" * 32])
def test_what_is_no_cursor_is_named(cursor: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        paging.page_for_tenant(TENANT, cursor)
    with pytest.raises(ValueError, match="size is 0"):
        paging.page_for_user("sari", size=0)


# A cluster


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with server_directory() as directory:
        cluster = Cluster(directory)
        try:
            yield cluster.start()
        finally:
            connections.disconnect_all()
            cluster.kill()


@pytest.mark.parametrize("policy", ["deny", "evict"])
def test_limits_pages_and_sweeps_work_across_slots(
    running: Cluster, settings: Any, policy: str, expired: list[Any]
) -> None:
    caches = copy.deepcopy(settings.CACHES)
    caches["default"]["LOCATION"] = running.url
    settings.CACHES = caches
    limits = {"SESSION_LIMIT": 2, "SESSION_LIMIT_POLICY": policy}
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **PATIENCE_WITH_NODES, **limits}

    def tried(number: int) -> Session | None:
        try:
            return session_of(f"user{number % 3}", f"{policy}-1")
        except SessionLimitReached:
            return None

    with ThreadPoolExecutor(10) as threads:
        made = [session for session in threads.map(tried, range(60)) if session]
    alive = [session for session in made if sessions.validate_session(session.key)]
    assert len(alive) == 6
    assert sessions.stats(f"{policy}-1").live == paging.page_for_tenant(f"{policy}-1").total == 6
    client = connections.client("default")
    client.delete(keys.session(alive[0].sid))
    client.zadd(keys.tenant_sessions(f"{policy}-1"), {alive[0].sid: 1000.0})
    assert sweeping.sweep() == 1
    assert expired == [(alive[0].sid, alive[0].user_id, f"{policy}-1")]
