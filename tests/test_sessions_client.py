"""The client: what is kept of it, what another browser brings about, and the trail of what happened.

Seen red: without the comparison of labels, without the note's own comparison (each of two requests at once told the
change), without the trim and the ``pcall`` of the trail, and where a request without a name is taken for an event. Of
held sessions: where a load or ``validate_session`` does not look at the mark, where anybody's log-in takes the data up,
where the held session is not ended by it, where it counts for the limit, and where its cookie is removed.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from bergizi_redis import keys, signals
from bergizi_redis.exceptions import RedisUnavailable, TenantError
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.changes import act, noticed
from bergizi_redis.sessions.client import client_ip, client_label, noted_ip
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.quotas import SessionLimitReached
from bergizi_redis.sessions.sweeping import sweep
from tests.sessionsite import counted
from tests.spoken import WAYS, Spoken

Commands = Callable[[], AbstractContextManager[list[str]]]
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"
NEWER_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("_auth_user_id")))


async def awhoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await request.session.aget("_auth_user_id")))


def sign_in(request: HttpRequest) -> HttpResponse:
    user = User.objects.get(username=request.GET.get("as", "sari"))
    user.tenant = "sppg-1"  # type: ignore[attr-defined]
    login(request, user, backend=MODEL_BACKEND)
    return HttpResponse("in")


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("out")


def cart(request: HttpRequest) -> HttpResponse:
    if "put" in request.GET:
        request.session["cart"] = request.GET["put"]
    return HttpResponse(str(request.session.get("cart")))


def why(request: HttpRequest) -> HttpResponse:
    assert request.session.get("cart") is None
    return HttpResponse(str(request.session_ended))  # type: ignore[attr-defined]


urlpatterns = [
    path("", whoami), path("async/", awhoami), path("in/", sign_in), path("out/", sign_out), path("cart/", cart),
    path("why/", why),
]  # fmt: skip


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["bergizi_redis.sessions.middleware.SessionMiddleware"]


@pytest.fixture
def policy(settings: Any) -> Callable[..., None]:
    def put(**changes: Any) -> None:
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **changes}

    return put


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """What ``session_client_changed`` told."""
    log: list[dict[str, Any]] = []

    def changed(sender: Any, signal: Any, **told: Any) -> None:
        log.append(told)

    signals.session_client_changed.connect(changed)
    yield log
    signals.session_client_changed.disconnect(changed)


@pytest.fixture
def visitor(client: Client, db: None) -> Client:
    """Logged in with Firefox on Linux, from 203.0.113.77, at the tenant sppg-1."""
    User.objects.create_user("sari")
    client.get("/in/", headers={"user-agent": FIREFOX}, REMOTE_ADDR="203.0.113.77")
    return client


def session_of(user_id: object = "user123", tenant: str = "sppg-1", **changes: Any) -> Session:
    profile = {"role": "", "user_type": "", "email": "", "name": "", "permissions": []}
    return sessions.create_session(
        user_id, tenant, **{**profile, "ip": "203.0.113.77", "user_agent": FIREFOX, **changes}
    )


def names(entries: list[sessions.Activity]) -> list[str]:
    return [entry.event for entry in entries]


# What is kept


@pytest.mark.parametrize(
    ("privacy", "ip", "client"),
    [("full", "203.0.113.77", "Firefox · Linux"), ("prefix", "203.0.113.0/24", "Firefox · Linux"), ("off", None, None)],
)
def test_a_session_keeps_what_privacy_lets_it(
    policy: Callable[..., None], privacy: str, ip: str | None, client: str | None, raw: "redis.Redis", prefix: str
) -> None:
    policy(SESSION_CLIENT_PRIVACY=privacy)
    info = sessions.validate_session(session_of().key)
    assert info is not None
    assert (info.ip, info.client) == (ip, client)
    if privacy != "full":
        assert all(b"203.0.113.77" not in (raw.dump(key) or b"") for key in raw.scan_iter(f"{prefix}*"))


def test_hashed_addresses_are_the_same_for_the_same_and_depend_on_the_secret(
    policy: Callable[..., None], settings: Any
) -> None:
    policy(SESSION_CLIENT_PRIVACY="hash")
    first = noted_ip("203.0.113.77")
    assert first is not None
    assert "203" not in first
    assert len(first) == 17
    assert noted_ip("203.0.113.77") == first == noted_ip("::ffff:203.0.113.77")
    assert noted_ip("203.0.113.78") != first
    settings.SECRET_KEY = "another"
    assert noted_ip("203.0.113.77") != first


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::ffff:10.1.2.3", "10.1.2.0/24"),
        ("?", None),
    ],
)
def test_a_prefix_is_what_a_household_has(policy: Callable[..., None], address: str, network: str | None) -> None:
    policy(SESSION_CLIENT_PRIVACY="prefix")
    assert noted_ip(address) == network


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("203.0.113.1, 198.51.100.9", "198.51.100.9"),  # the left one is the client's own claim
        ("127.0.0.1, 10.0.0.3, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.9", "10.0.0.9"),
        ("198.51.100.9, <script>", "10.0.0.1"),
    ],
)
def test_a_forged_forwarded_header_is_not_believed(
    policy: Callable[..., None], visitor: Client, forwarded: str, address: str
) -> None:
    policy(TRUSTED_PROXIES=["10.0.0.0/8"])
    visitor.get("/in/", headers={"x-forwarded-for": forwarded}, REMOTE_ADDR="10.0.0.1")
    info = sessions.validate_session(visitor.cookies["sessionid"].value)
    assert info is not None
    assert info.ip == address
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers={"x-forwarded-for": forwarded})
    assert client_ip(request) == address
    stranger = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1", headers={"x-forwarded-for": forwarded})
    assert client_ip(stranger) == "192.0.2.1"


def test_a_version_is_no_part_of_the_label() -> None:
    assert client_label(FIREFOX) == client_label(NEWER_FIREFOX) == "Firefox · Linux"


# Another browser


def test_an_update_of_the_browser_is_no_change(visitor: Client, told: list[Any], commands: Commands) -> None:
    with commands() as log:
        visitor.get("/", headers={"user-agent": NEWER_FIREFOX})
    assert told == []
    assert len([line for line in log if "session:" in line]) == 1


def test_by_default_a_change_is_told_once_and_the_session_goes_on(visitor: Client, told: list[Any]) -> None:
    user = str(User.objects.get().pk)
    for _ in range(2):
        assert visitor.get("/", headers={"user-agent": CHROME}, REMOTE_ADDR="192.0.2.9").content == user.encode()
    [change] = told
    assert (change["before"], change["after"], change["policy"]) == ("Firefox · Linux", "Chrome · Windows", "event")
    assert (change["user_id"], change["tenant"]) == (user, "sppg-1")
    info = sessions.validate_session(visitor.cookies["sessionid"].value)
    assert info is not None
    assert info.client == "Chrome · Windows"
    entry = sessions.activity(user)[0]
    assert (entry.event, entry.ip, entry.client) == ("client_changed", "192.0.2.9", "Chrome · Windows")
    assert counted("sppg-1").client_changed == 1


def test_of_requests_at_once_that_show_a_change_one_tells_it(visitor: Client, told: list[Any]) -> None:
    """Red when the note does not compare: a page with ten pictures would send ten mails."""

    def arrived() -> HttpRequest:
        request = RequestFactory().get("/", headers={"user-agent": CHROME})
        session = SessionStore(visitor.cookies["sessionid"].value)
        session.prefetch()
        request.session = session
        return request

    for request in [arrived(), arrived()]:
        change = noticed(request)
        assert change is not None
        act(request, change)
    assert len(told) == 1


def test_a_request_that_names_no_browser_is_no_event(visitor: Client, told: list[Any]) -> None:
    visitor.get("/")
    assert told == []


def arriving_with(visitor: Client, agent: str) -> Client:
    """The cookie of the visitor in another browser."""
    other = Client(headers={"user-agent": agent})
    other.cookies["sessionid"] = visitor.cookies["sessionid"].value
    return other


@pytest.mark.parametrize("asynchronous", [False, True])
def test_after_another_browser_nobody_is_signed_in_until_the_user_logs_in_again(
    visitor: Client, told: list[Any], policy: Callable[..., None], asynchronous: bool
) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate")
    user, key = User.objects.get().pk, visitor.cookies["sessionid"].value
    thief = arriving_with(visitor, CHROME)
    if asynchronous:
        elsewhere = AsyncClient()
        elsewhere.cookies["sessionid"] = key
        answer: Any = async_to_sync(elsewhere.get)("/async/", headers={"user-agent": CHROME})
    else:
        answer = thief.get("/")
    assert answer.content == b"None"
    assert not answer.cookies, "with the cookie the user goes on where they were"
    assert [event["policy"] for event in told] == ["re-authenticate"]
    assert thief.get("/").content == b"None"
    assert visitor.get("/", headers={"user-agent": FIREFOX}).content == b"None", "the first browser too"
    answer = visitor.get("/why/", headers={"user-agent": FIREFOX})
    assert answer.content.startswith(b"Please sign in again")
    assert not answer.cookies, "it stays when the reason was shown, too"
    assert sessions.validate_session(key) is None
    assert len(told) == 1
    assert counted("sppg-1").client_changed == 1
    assert [info.public_id for info in sessions.sessions_for_user(user)] == [sid_of(key)], "it can still be ended"
    visitor.get("/in/", headers={"user-agent": FIREFOX})
    assert visitor.get("/", headers={"user-agent": FIREFOX}).content == str(user).encode()
    assert thief.get("/").content == b"None"


def test_who_logs_in_again_goes_on_with_the_data_and_nobody_else_does(
    visitor: Client, policy: Callable[..., None], raw: "redis.Redis"
) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate")
    user, key = User.objects.get().pk, visitor.cookies["sessionid"].value
    visitor.get("/cart/?put=rice", headers={"user-agent": FIREFOX})
    thief = arriving_with(visitor, CHROME)
    assert thief.get("/cart/").content == b"None"
    User.objects.create_user("budi")
    thief.get("/in/?as=budi")
    assert thief.get("/cart/").content == b"None"
    new = arriving_with(visitor, CHROME)  # the user has indeed another browser
    new.get("/in/")
    assert new.get("/cart/").content == b"rice"
    assert new.cookies["sessionid"].value != key
    assert not SessionStore().exists(key)
    (info,) = sessions.sessions_for_user(user)
    assert (info.public_id, info.client) == (sid_of(new.cookies["sessionid"].value), "Chrome · Windows")
    assert not raw.hexists(keys.session(info.public_id), "@held")


@pytest.mark.parametrize("limit", ["deny", "evict"])
@pytest.mark.parametrize("with_cookie", [False, True])
def test_a_held_session_takes_no_place_from_its_user(
    visitor: Client, policy: Callable[..., None], limit: str, with_cookie: bool, raw: "redis.Redis"
) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate", SESSION_LIMIT=1, SESSION_LIMIT_POLICY=limit)
    user, listing = User.objects.get().pk, keys.user_sessions(User.objects.get().pk)
    arriving_with(visitor, CHROME).get("/")
    # Listed long ago, not just now: a log-in on its way is waited for.
    held = sid_of(visitor.cookies["sessionid"].value)
    raw.zadd(listing, {held: int(raw.zscore(listing, held) or 0) + ((raw.time()[0] - 60) % 2048) / 2048})
    again = arriving_with(visitor, CHROME) if with_cookie else Client(headers={"user-agent": CHROME})
    assert again.get("/in/").content == b"in"
    assert again.get("/").content == str(user).encode()
    assert len(sessions.sessions_for_user(user)) == raw.zcard(listing) == 1
    assert counted("sppg-1").evicted == (0 if with_cookie else 1)


def test_a_log_in_without_the_signal_takes_up_a_held_session_in_its_place(
    policy: Callable[..., None], visitor: Client
) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate", SESSION_LIMIT=1, SESSION_LIMIT_POLICY="evict")
    user, key = User.objects.get().pk, visitor.cookies["sessionid"].value
    arriving_with(visitor, CHROME).get("/")
    store = SessionStore(key)
    store["_auth_user_id"] = str(user)
    store.note_login(tenant="sppg-1", ip=None, client=None)
    store.save()
    assert [info.public_id for info in sessions.sessions_for_user(user)] == [store.sid]
    assert store.session_key != key
    assert counted("sppg-1").evicted == 0


def test_of_requests_at_once_one_holds_the_session(visitor: Client, told: list[Any], policy: Any) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate")

    def arrived() -> HttpRequest:
        request = RequestFactory().get("/", headers={"user-agent": CHROME})
        session = SessionStore(visitor.cookies["sessionid"].value)
        session.prefetch()
        request.session = session
        return request

    for request in [arrived(), arrived()]:
        change = noticed(request)
        assert change is not None
        act(request, change)
        assert request.session.is_empty()
    assert len(told) == 1


@pytest.mark.parametrize("way", ["blocking", "awaiting"])
def test_a_new_key_is_no_way_out_of_being_held(visitor: Client, policy: Callable[..., None], way: str) -> None:
    """Forced: held after this request has loaded the session, and before it changes its key, as for a new password."""
    policy(SESSION_CLIENT_CHANGE="re-authenticate")
    user, store = User.objects.get().pk, SessionStore(visitor.cookies["sessionid"].value)
    assert store["_auth_user_id"] == str(user)
    arriving_with(visitor, CHROME).get("/")
    with pytest.raises(SessionInterrupted):
        store.cycle_key() if way == "blocking" else async_to_sync(store.acycle_key)()
    assert sessions.sessions_for_user(user) == []
    assert store.session_key is None


def test_a_held_session_can_be_ended(visitor: Client, policy: Callable[..., None]) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate")
    arriving_with(visitor, CHROME).get("/")
    (held,) = sessions.sessions_for_user(User.objects.get().pk)
    assert sessions.revoke(held.public_id)
    assert sessions.sessions_for_user(User.objects.get().pk) == []


def test_a_session_that_cannot_be_held_is_an_outage(server: Any, policy: Callable[..., None]) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate")
    session = SessionStore(session_of().key)
    session.prefetch()
    request = RequestFactory().get("/", headers={"user-agent": CHROME})
    request.session = session
    change = noticed(request)
    assert change is not None
    server.kill()
    with pytest.raises(RedisUnavailable):
        act(request, change)
    assert session.unavailable is not None


def test_a_request_that_names_no_browser_is_not_let_in(visitor: Client, policy: Callable[..., None]) -> None:
    policy(SESSION_CLIENT_CHANGE="re-authenticate")
    assert visitor.get("/").content == b"None"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_session_may_end_with_its_browser(
    visitor: Client, told: list[Any], policy: Callable[..., None], asynchronous: bool
) -> None:
    policy(SESSION_CLIENT_CHANGE="end")
    user, key = User.objects.get().pk, visitor.cookies["sessionid"].value
    thief: Any = AsyncClient() if asynchronous else Client()
    thief.cookies["sessionid"] = key
    if asynchronous:
        response = asyncio.run(thief.get("/async/", headers={"user-agent": CHROME}))
    else:
        response = thief.get("/", headers={"user-agent": CHROME})
    assert response.content == b"None"
    assert not SessionStore().exists(key)
    assert len(told) == 1
    assert sessions.activity(user)[0].event == "client_changed"
    assert visitor.get("/", headers={"user-agent": FIREFOX}).content == b"None"


@pytest.mark.parametrize("settled", [{"SESSION_CLIENT_CHANGE": "ignore"}, {"SESSION_CLIENT_PRIVACY": "off"}])
def test_nothing_is_compared_where_that_is_switched_off(
    visitor: Client, told: list[Any], policy: Callable[..., None], settled: dict[str, str], commands: Commands
) -> None:
    policy(**settled)
    with commands() as log:
        visitor.get("/", headers={"user-agent": CHROME})
    assert told == []
    assert len(log) == 1


def test_an_outage_at_the_note_harms_nothing(server: Any, told: list[Any], caplog: Any) -> None:
    session = SessionStore(session_of().key)
    session.prefetch()
    request = RequestFactory().get("/", headers={"user-agent": CHROME})
    request.session = session
    change = noticed(request)
    assert change is not None
    server.kill()
    act(request, change)
    assert len(told) == 1
    assert "Could not note" in caplog.text


# The trail


@pytest.mark.parametrize("way", WAYS)
def test_the_trail_tells_what_happened_the_newest_first(way: str) -> None:
    service: Any = Spoken(sessions, way)
    began = datetime.now(UTC) - timedelta(milliseconds=1)  # which is what Redis rounds to
    first = service.create_session("user123", "sppg-1", "", "", "", "", [], "203.0.113.77", FIREFOX)
    second = service.create_session("user123", "sppg-2", "", "", "", "", [])
    service.revoke(first.sid)
    assert [(entry.event, entry.sid, entry.tenant) for entry in service.activity("user123")] == [
        ("revoked", first.sid, "sppg-1"),
        ("logged_in", second.sid, "sppg-2"),
        ("logged_in", first.sid, "sppg-1"),
    ]
    assert names(service.activity(tenant="sppg-1")) == ["revoked", "logged_in"]
    assert names(service.activity("user123", tenant="sppg-2")) == ["logged_in"]
    assert names(service.activity("user123", limit=1)) == ["revoked"]
    entry = service.activity("user123")[-1]
    assert (entry.user_id, entry.ip, entry.client) == ("user123", "203.0.113.77", "Firefox · Linux")
    assert began <= entry.at <= datetime.now(UTC)


def test_django_log_in_and_log_out_are_noted_and_cycling_is_not(visitor: Client) -> None:
    user = User.objects.get().pk
    SessionStore(visitor.cookies["sessionid"].value).load()
    session = SessionStore(visitor.cookies["sessionid"].value)
    session.cycle_key()
    visitor.cookies["sessionid"] = session.session_key or ""
    visitor.get("/out/")
    assert names(sessions.activity(user)) == ["logged_out", "logged_in"]


def test_what_has_run_out_is_in_the_trails_once_it_is_swept(raw: "redis.Redis") -> None:
    made = session_of()
    raw.delete(keys.session(made.sid))
    raw.zadd(keys.tenant_sessions("sppg-1"), {made.sid: 1.0})
    assert sweep() == 1
    newest = sessions.activity(tenant="sppg-1")[0]
    assert (newest.event, newest.sid, newest.user_id) == ("expired", made.sid, "user123")
    theirs = sessions.activity("user123")[0]
    assert replace(theirs, at=newest.at) == newest  # two entries: a millisecond may lie between them


def test_a_log_in_that_is_denied_is_noted(policy: Callable[..., None]) -> None:
    policy(SESSION_LIMIT=1)
    session_of()
    with pytest.raises(SessionLimitReached):
        session_of()
    assert names(sessions.activity("user123")) == ["denied", "logged_in"]
    policy(SESSION_LIMIT=1, SESSION_LIMIT_POLICY="evict")
    session_of()
    assert {*names(sessions.activity("user123", limit=2))} == {"evicted", "logged_in"}


def test_reading_a_trail_is_one_round_trip(commands: Commands) -> None:
    session_of()
    with commands() as log:
        sessions.activity("user123")
        sessions.activity(tenant="sppg-1")
    assert len(log) == 2


def test_a_trail_is_bounded_by_number_and_by_age(raw: "redis.Redis", policy: Callable[..., None]) -> None:
    policy(ACTIVITY_LENGTH=2, ACTIVITY_DAYS=1)
    old = int(raw.time()[0]) * 1000 - 2 * 86_400_000
    raw.lpush(keys.user_activity("user123"), f'{old} ["logged_in","","user123","sppg-1",null,null]')
    raw.xadd(keys.tenant_activity("sppg-1"), {"e": f'{old} ["logged_in","","u","sppg-1",null,null]'}, id=f"{old}-0")
    assert sessions.activity("user123") == []
    for _ in range(3):
        session_of()
    assert raw.llen(keys.user_activity("user123")) == 2
    assert raw.xlen(keys.tenant_activity("sppg-1")) == 3
    for _ in range(9):
        session_of()
    assert raw.xlen(keys.tenant_activity("sppg-1")) == 10
    for key in (keys.user_activity("user123"), keys.tenant_activity("sppg-1")):
        assert 0 < raw.ttl(key) <= 86400


def test_no_trail_is_kept_where_none_is_wanted(raw: "redis.Redis", policy: Callable[..., None], prefix: str) -> None:
    policy(ACTIVITY_LENGTH=0)
    sessions.revoke(session_of().sid)
    assert list(raw.scan_iter(f"{prefix}*activity*")) == []


def test_a_damaged_trail_fails_no_request_and_its_entries_are_left_out(raw: "redis.Redis") -> None:
    """Red when the script's commands are not protected: a log-out would answer 500."""
    raw.set(keys.user_activity("user123"), "no list")
    made = session_of()
    assert sessions.revoke(made.sid)
    raw.delete(keys.user_activity("user123"))
    raw.lpush(keys.user_activity("user123"), "no entry", "12 [1]", "1e99 [1,2,3,4,5,6]")
    assert sessions.activity("user123") == []


def test_a_full_server_still_lets_people_log_out(server: Any) -> None:
    made = session_of()
    with server.client() as client:
        client.config_set("maxmemory", 1)
        SessionStore(made.key).delete()
        client.config_set("maxmemory", 0)
    assert sessions.validate_session(made.key) is None


def test_a_trail_is_somebodys(server: Any) -> None:
    with pytest.raises(ValueError, match="Say whose activity"):
        sessions.activity()
    with pytest.raises(ValueError, match="Say whose activity"):
        sessions.activity("user123", limit=0)
    with pytest.raises(TenantError):
        sessions.activity(tenant="no tenant}")
    server.kill()
    with pytest.raises(RedisUnavailable):
        sessions.activity("user123")


def test_a_user_and_a_tenant_of_one_name_have_trails_of_their_own() -> None:
    session_of("sppg-9", "sppg-1")
    assert sessions.activity(tenant="sppg-9") == []
    assert names(sessions.activity("sppg-9")) == ["logged_in"]
