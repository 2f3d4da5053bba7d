"""How many sessions a user may have: exact however many log in at once, and nothing that died locks anybody out.

Seen red: with ``session_admit.lua`` missing one entry, or taking one that must go for one that stays; without either
look of ``session_save.lua`` at the note of ``session_evict.lua``; without ``settling``; without the retry of
``quotas.admit``, and without the note that it leaves for ghosts; with ``session_admit.lua`` naming every marked one to
everybody, or no more of them to who asks again; with ``steps.save`` not telling of a log-in that was overtaken.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth import alogin, login
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.checks import run_checks
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import translation

from bergizi_redis import checklist, connections, keys
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.scripts.script import script
from bergizi_redis.security import lockout
from bergizi_redis.sessions import quotas, steps
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.asking import ask
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.quotas import SessionLimitReached
from bergizi_redis.sessions.record import LOGGED_IN, Record
from bergizi_redis.sessions.refusals import SessionLimitMixin
from tests.moments import left_of
from tests.roundtrips import round_trips
from tests.servers import PrivateServer
from tests.sessionsite import counted as told_of

Commands = Callable[[], AbstractContextManager[list[str]]]
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
TENANT = "sppg-1"
PROFILE: dict[str, Any] = {"role": "COOK", "user_type": "U", "email": "e", "name": "n", "permissions": []}


@pytest.fixture
def limit(settings: Any) -> Callable[..., None]:
    def set_limit(most: Any, policy: str = "deny") -> None:
        given = {"SESSION_LIMIT": most, "SESSION_LIMIT_POLICY": policy}
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **given}

    return set_limit


def session_of(user_id: str = "sari", role: str = "COOK") -> Session:
    return sessions.create_session(user_id, TENANT, **{**PROFILE, "role": role})


def tried(_: object = None) -> Session | None:
    try:
        return session_of()
    except SessionLimitReached:
        return None


async def atried() -> Session | None:
    try:
        return await sessions.acreate_session("sari", TENANT, **PROFILE)
    except SessionLimitReached:
        return None


def live(made: list[Session | None]) -> list[Session]:
    return [session for session in made if session and sessions.validate_session(session.key)]


# At one time


@pytest.mark.parametrize("policy", ["deny", "evict"])
@pytest.mark.parametrize("most", [1, 3, 5])
@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_two_hundred_log_ins_at_once_leave_exactly_the_limit(
    limit: Callable[..., None], raw: Any, prefix: str, most: int, policy: str, way: str
) -> None:
    limit(most, policy)
    if way == "threads":
        with ThreadPoolExecutor(20) as threads:
            made = list(threads.map(tried, range(200)))
    else:

        async def crowd() -> list[Session | None]:
            gate = asyncio.Semaphore(20)

            async def one() -> Session | None:
                async with gate:
                    return await atried()

            return await asyncio.gather(*(one() for _ in range(200)))

        made = asyncio.run(crowd())
    left = {session.sid for session in live(made)}
    assert len(left) == most
    assert {info.public_id for info in sessions.sessions_for_user("sari")} == left
    assert len(list(raw.scan_iter(f"{prefix}:session:*"))) == most
    listed = {sid.decode() for sid in raw.zrange(keys.tenant_sessions(TENANT), 0, -1)}
    assert listed == left == {sid.decode() for sid in raw.zrange(keys.user_sessions("sari"), 0, -1)}
    counts = told_of(TENANT)
    assert sessions.stats(TENANT).live == sessions.stats(TENANT).online == most
    assert (counts.logins, counts.evicted, counts.denied) == {
        "deny": (most, 0, 200 - most),
        "evict": (200, 200 - most, 0),  # those too that were evicted before they were written
    }[policy]


def test_a_log_in_that_was_overtaken_before_it_was_written_does_not_come_to_life(
    limit: Callable[..., None], monkeypatch: Any
) -> None:
    """The first is admitted; the second then makes it leave, and only then is the first one written."""
    limit(1, "evict")
    admit, overtaking = quotas.admit, list[Session]()

    def overtaken(*args: Any) -> Any:
        place = yield from admit(*args)
        if not overtaking:
            monkeypatch.setattr(quotas, "admit", admit)
            overtaking.append(session_of())
        return place

    monkeypatch.setattr(quotas, "admit", overtaken)
    first = session_of()
    assert sessions.validate_session(first.key) is None
    assert sessions.validate_session(overtaking[0].key) is not None
    assert [info.public_id for info in sessions.sessions_for_user("sari")] == [overtaking[0].sid]
    assert sessions.stats(TENANT).live == 1
    assert (told_of(TENANT).logins, told_of(TENANT).evicted) == (2, 1)
    assert [entry.event for entry in sessions.activity("sari")].count("evicted") == 1


def test_who_comes_in_a_crowd_does_not_end_whom_all_the_others_are_ending(raw: "redis.Redis") -> None:
    """Admitted, and none of them any further; each is in the list of who made it leave, or asks again for its own."""
    quota, crowd = quotas.Quota(1, "evict"), [sid_of(new_key()) for _ in range(40)]

    def admitted(sid: str) -> tuple[str, ...]:
        return ask(quotas.admit(sid, "sari", 60_000, quota, None)).leaving

    leaving = [admitted(sid) for sid in crowd]
    assert set(crowd[:-1]) == {sid for sids in leaving for sid in sids}
    assert max(map(len, leaving)) < 10
    assert all(before in sids for before, sids in zip(crowd, leaving[1:], strict=False))
    assert set(admitted(crowd[-1])) == set(crowd[:-1])  # its link broke before the answer


# Who must go, and who may not come


def test_the_least_recently_used_goes_first(limit: Callable[..., None], raw: "redis.Redis") -> None:
    limit(3, "evict")
    first, second, third = session_of(), session_of(), session_of()
    seen = keys.user_online("sari")
    raw.zadd(seen, {first.sid: 3000, second.sid: 1000, third.sid: 2000})
    session_of()
    assert live([first, second, third]) == [first, third]
    raw.zadd(seen, {first.sid: 3000, third.sid: 2000})
    session_of()
    assert live([first, third]) == [first]


def test_use_counts_as_use(limit: Callable[..., None], raw: "redis.Redis") -> None:
    limit(2, "evict")
    first, second = session_of(), session_of()
    raw.zadd(keys.user_online("sari"), {first.sid: 1000, second.sid: 2000})
    key = keys.session(first.sid)
    raw.hset(key, "@seen", int(raw.hget(key, "@seen") or 0) - 120_000)
    assert sessions.validate_session(first.key) is not None
    session_of()
    assert live([first, second]) == [first]


def test_a_refusal_leaves_nothing_and_says_what_to_do(
    limit: Callable[..., None], raw: "redis.Redis", prefix: str
) -> None:
    limit(1)
    made = session_of()
    with pytest.raises(SessionLimitReached, match=r"already signed in on 1 device, .* Sign out there first"):
        session_of()
    assert [key.decode() for key in raw.scan_iter(f"{prefix}:session:*")] == [keys.session(made.sid)]
    with translation.override("id"):
        assert str(SessionLimitReached(2)).startswith("Anda sudah masuk di 2 perangkat")
    assert session_of("other").user_id == "other"
    sessions.revoke(made.sid)
    assert session_of().user_id == "sari"


def by_role(user_id: str, role: str | None, tenant: str | None) -> Any:
    assert tenant == TENANT
    return {"COOK": 1, "ADMIN": 2, "ODD": "many", "ZERO": 0}.get(role or "")


async def aby_role(user_id: str, role: str | None, tenant: str | None) -> Any:
    return by_role(user_id, role, tenant)


@pytest.mark.parametrize("function", ["by_role", "aby_role"])
def test_a_function_may_say_how_many_by_role_and_tenant(limit: Callable[..., None], function: str) -> None:
    limit(f"{__name__}.{function}")
    for role, most in (("COOK", 1), ("ADMIN", 2), ("ZERO", 4), ("NONE", 4)):
        for number in range(4):
            if number < most:
                session_of(role, role)
            else:
                with pytest.raises(SessionLimitReached):
                    session_of(role, role)
    with pytest.raises(ConfigurationError, match="returned 'many'; return a number of sessions"):
        session_of("odd", "ODD")
    assert asyncio.run(sessions.acreate_session("new", TENANT, **PROFILE)).user_id == "new"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["nowhere.limit", f"{__name__}.TENANT"])
def test_a_function_that_cannot_be_called_is_found_by_the_checks(limit: Callable[..., None], path: str) -> None:
    limit(path)
    found = [message for message in run_checks() if "SESSION_LIMIT" in message.msg]
    assert [message.id for message in found] == [checklist.NOT_IMPORTABLE.id]


# Ghosts


def test_a_session_that_vanished_locks_nobody_out(limit: Callable[..., None], raw: "redis.Redis") -> None:
    limit(1)
    for _ in range(3):
        raw.delete(keys.session(session_of().sid))
    assert len(live([session_of()])) == 1


@pytest.mark.parametrize("lost", ["user", "tenant", "sessions"])
def test_flushed_indices_lock_nobody_out(
    limit: Callable[..., None], raw: "redis.Redis", prefix: str, lost: str
) -> None:
    limit(1)
    session_of()
    if gone := list(raw.scan_iter(f"{prefix}:{lost}:*")):
        raw.delete(*gone)
    sessions.revoke_tenant(TENANT)
    assert sessions.validate_session(session_of().key) is not None if lost != "user" else True


def test_a_session_behind_a_barrier_does_not_count(limit: Callable[..., None], monkeypatch: Any) -> None:
    """The revocation holds; the process that should have cleaned up was killed."""
    limit(1)
    session_of()
    monkeypatch.setattr("bergizi_redis.sessions.revoking._clean", lambda this: 0)
    sessions.revoke_user("sari")
    assert len(live([session_of()])) == 1


@pytest.mark.parametrize("policy", ["deny", "evict"])
@pytest.mark.parametrize("requests", [1, 2, 3, 4])
def test_a_log_in_that_is_killed_between_two_steps_costs_no_place(
    limit: Callable[..., None], raw: "redis.Redis", policy: str, requests: int
) -> None:
    """What no clock has to tell: the next log-in, when the dead one's time is over, finds room; never two live."""
    limit(1, policy)
    if policy == "evict":
        session_of()
    cut_off(requests)
    age(raw)
    made = session_of() if policy == "evict" or requests < 3 else tried()
    if policy == "deny" and requests >= 3:
        assert made is None  # that log-in was complete
        return
    assert made is not None
    alive = {info.public_id for info in sessions.sessions_for_user("sari")}
    assert alive == {made.sid}
    assert {key.decode() for key in raw.scan_iter(f"{keys.prefixed('session:')}*")} == {keys.session(made.sid)}


def log_in() -> steps.Save:
    record = Record({b"@uid": b"sari", b"@ten": TENANT.encode()})
    this = steps.Save(sid_of(new_key()), {}, record, 60_000, create=True, moments={LOGGED_IN: 0})
    this.quota = quotas.quota_for("sari", None, TENANT)
    return this


def cut_off(requests: int) -> None:
    """A log-in whose process dies after so many requests."""
    exchange, client = steps.save(log_in()), connections.client("default")
    try:
        request = next(exchange)
        for _ in range(requests):
            request = exchange.send(request(client))
    except StopIteration:
        pass


def age(raw: Any) -> None:
    """Let every entry of the user's have been written a minute ago."""
    key = keys.user_sessions("sari")
    for sid, score in raw.zrange(key, 0, -1, withscores=True):
        raw.zadd(key, {sid: int(score) + ((score % 1) * 2048 - 60) % 2048 / 2048})


def test_a_log_in_that_comes_too_late_is_not_taken_for_one(limit: Callable[..., None], raw: "redis.Redis") -> None:
    """Held up on its way until it was given up, and its place given to another."""
    limit(1)
    place = sid_of("late")
    client = connections.client("default")
    reply = script("session_admit").run(
        client, [keys.user_sessions("sari"), keys.user_online("sari")], [place, 60_000, 0, 1, "deny", 2, 0]
    )
    assert reply == [1]
    age(raw)
    made = session_of()
    assert raw.get(keys.session_ended(place)) == b"ghost"
    saved = script("session_save").run(
        client, [keys.session(place), keys.revoked(place[:2]), keys.session_ended(place)],
        ["create", 60_000, 1, 0, "@v", "1"],
    )  # fmt: skip
    assert saved is None
    assert live([made]) == [made]


# A new key for the same log-in


@pytest.mark.parametrize("policy", ["deny", "evict"])
def test_another_key_for_a_session_takes_no_second_place(limit: Callable[..., None], policy: str) -> None:
    limit(2, policy)
    other = session_of()
    session = SessionStore(session_of().key)
    session["x"] = 1
    session.cycle_key()
    session.save()
    assert sessions.validate_session(session.session_key) is not None
    assert live([other]) == [other]
    assert {info.public_id for info in sessions.sessions_for_user("sari")} == {other.sid, session.sid}
    assert told_of(TENANT).logins == 2


def test_a_change_of_key_that_was_killed_keeps_nobody_out(limit: Callable[..., None], raw: "redis.Redis") -> None:
    limit(1)
    old = session_of()
    taking = quotas.admit("f" * 32, "sari", 60_000, quotas.ANY_NUMBER, TENANT, (old.sid,))
    client = connections.client("default")
    with pytest.raises(StopIteration):
        taking.send(next(taking)(client))
    age(raw)
    made = session_of()
    assert live([old, made]) == [made]


# Round trips


@pytest.mark.parametrize(("most", "policy", "trips"), [(None, "deny", 3), (3, "deny", 4), (1, "evict", 4)])
def test_a_log_in_is_four_round_trips_at_most(
    server: PrivateServer, limit: Callable[..., None], most: int | None, policy: str, trips: int
) -> None:
    limit(most, policy)
    for _ in range(2 if policy == "evict" else 1):  # the server knows the scripts; where one must go, it is there
        session_of()
    this = log_in()
    with round_trips(server) as counted:
        ask(steps.save(this))
    assert counted == [trips]


def test_statistics_of_forty_days_are_one_round_trip(server: PrivateServer) -> None:
    session_of()
    sessions.stats(TENANT, days=40)
    with round_trips(server) as counted:
        assert len(sessions.stats(TENANT, days=40).days) == 40
    assert counted == [1]


# Through requests


def sign_in(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(username="sari"), backend=MODEL_BACKEND)
    return HttpResponse("in")


async def async_sign_in(request: HttpRequest) -> HttpResponse:
    await alogin(request, await User.objects.aget(username="sari"), backend=MODEL_BACKEND)
    return HttpResponse("in")


def bind(request: HttpRequest) -> HttpResponse:
    request.session["_auth_user_id"] = str(User.objects.get(username="sari").pk)
    return HttpResponse("bound")


def page(request: HttpRequest) -> HttpResponse:
    ended = request.session_ended  # type: ignore[attr-defined]
    return HttpResponse(f"{request.user.get_username()}|{ended}" if "show" in request.GET else str(request.user))


class Form(SessionLimitMixin, LoginView):
    def render_to_response(self, context: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponse(" ".join(context["form"].non_field_errors()))


urlpatterns = [
    path("", page),
    path("in/", sign_in),
    path("bind/", bind),
    path("async/in/", async_sign_in),
    path("form/", Form.as_view()),
]


@pytest.fixture
def user(settings: Any, db: None) -> User:
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_REDIRECT_URL = "/"
    settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND, *settings.AUTHENTICATION_BACKENDS]
    return User.objects.create_user("sari", password="rendang-dan-tempe")


@pytest.mark.parametrize("address", ["/in/", "/async/in/", "/bind/"])
def test_a_refused_log_in_is_answered_and_logs_nobody_in(
    limit: Callable[..., None], user: User, raw: "redis.Redis", prefix: str, address: str
) -> None:
    limit(1)
    first, second = Client(), Client()
    assert first.get(address).status_code == 200
    response = second.get(address)
    assert response.status_code == 403
    assert "already signed in on 1 device" in response.text
    assert second.get("/").content == b"AnonymousUser"
    assert len(list(raw.scan_iter(f"{prefix}:session:*"))) == 1
    answer = Client().get(address, headers={"accept": "application/json", "accept-language": "en"})
    assert answer.json()["code"] == "session_limit"
    assert first.get("/").content == (b"AnonymousUser" if address == "/bind/" else b"sari")  # Django asks for more


def test_a_refusal_is_no_failed_log_in(limit: Callable[..., None], user: User) -> None:
    limit(1)
    form = {"username": "sari", "password": "rendang-dan-tempe"}
    assert Client().post("/form/", form).status_code == 302
    for _ in range(6):
        response = Client().post("/form/", form)
        assert response.status_code == 200
        assert "Sign out there first" in response.text
    assert lockout.is_account_locked("sari").failures == 0


def test_the_browser_that_was_evicted_is_told_why_once(limit: Callable[..., None], user: User) -> None:
    limit(1, "evict")
    first, second = Client(), Client()
    first.get("/in/")
    second.get("/in/")
    assert first.get("/").content == b"AnonymousUser"  # another page, which does not say it
    assert "|You were signed out here because you signed in on another device." in first.get("/?show=1").text
    assert first.get("/?show=1").text == "|None"
    assert second.get("/?show=1").text == "sari|None"


def test_the_browser_that_was_evicted_is_told_why_asynchronously(limit: Callable[..., None], user: User) -> None:
    limit(1, "evict")
    first = Client()
    first.get("/in/")
    Client().get("/in/")
    visitor = AsyncClient()
    visitor.cookies = first.cookies

    assert "signed in on another device" in async_to_sync(visitor.get)("/?show=1").content.decode()


def test_logging_in_twice_in_one_browser_takes_one_place(limit: Callable[..., None], user: User) -> None:
    limit(1)
    browser = Client()
    for _ in range(3):
        assert browser.get("/in/").status_code == 200
    assert len(sessions.sessions_for_user(user.pk)) == 1


def test_the_note_of_an_evicted_session_lives_a_quarter_of_an_hour(
    limit: Callable[..., None], raw: "redis.Redis"
) -> None:
    limit(1, "evict")
    first = session_of()
    session_of()
    key = keys.session_ended(first.sid)
    assert raw.get(key) == b"evicted"
    assert raw.pttl(key) / 1000 == left_of(900)
