"""Idle against absolute: presets, what counts as activity, and a cookie that is never older or younger than its key.

Seen red: without the touch of the middleware, without the cookie that goes along with it, without the absolute deadline
in the cookie's age, without each of the three ways to opt out, where ``touch`` notes no use without an idle deadline,
or one of a session that has ended, and where a touch that is refused fails the load.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.views import View

from bergizi_redis import keys
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.expiry import PRESETS
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.middleware import SessionMiddleware
from bergizi_redis.sessions.polling import HEADER, is_below, no_session_touch

Commands = Callable[[], AbstractContextManager[list[str]]]
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def used(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("_auth_user_id")))


def unused(request: HttpRequest) -> HttpResponse:
    return HttpResponse("page")


def sign_in(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(username="sari"), backend=MODEL_BACKEND)
    if "expiry" in request.GET:
        request.session.set_expiry(int(request.GET["expiry"]))
    return HttpResponse("in")


def change(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse("changed")


@no_session_touch
def poll(request: HttpRequest) -> HttpResponse:
    return used(request)


async def aused(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await request.session.aget("_auth_user_id")))


@no_session_touch
async def apoll(request: HttpRequest) -> HttpResponse:
    return await aused(request)


class Poll(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return used(request)


class AsyncPoll(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return await aused(request)


urlpatterns = [
    path("", used),
    path("unused/", unused),
    path("in/", sign_in),
    path("change/", change),
    path("poll/", poll),
    path("poll/class/", no_session_touch(Poll.as_view())),
    path("async/", aused),
    path("async/poll/", apoll),
    path("async/poll/class/", no_session_touch(AsyncPoll.as_view())),
]


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["bergizi_redis.sessions.middleware.SessionMiddleware"]
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PRESET": "strict"}


@pytest.fixture
def visitor(client: Client, db: None) -> Client:
    """Logged in under the preset ``strict``: 15 minutes idle, 12 hours in all."""
    User.objects.create_user("sari")
    client.get("/in/")
    return client


def key_of(client: Client) -> str:
    return keys.session(sid_of(client.cookies["sessionid"].value))


def aged(raw: "redis.Redis", key: str, seconds: int) -> int:
    """Let the session have been seen last so long ago; when it ends, ms."""
    raw.hset(key, "@seen", seen(raw, key) - seconds * 1000)
    ends = raw.pexpiretime(key) - seconds * 1000
    raw.pexpireat(key, ends)
    return ends


def seen(raw: "redis.Redis", key: str) -> int:
    return int(raw.hget(key, "@seen") or 0)


def life(raw: "redis.Redis", key: str) -> float:
    """Seconds from the last save or touch to the end, both by the server's clock: however long ago that was."""
    return (raw.pexpiretime(key) - seen(raw, key)) / 1000


def now(raw: "redis.Redis") -> int:
    """ms"""
    second, micro = raw.time()
    return int(second) * 1000 + int(micro) // 1000


def max_age(response: Any) -> int:
    return int(response.cookies["sessionid"]["max-age"])


def is_left(age: int, before: int, after: int) -> bool:
    """Whether these are the whole seconds of what was left, ms, at some time between before and after."""
    return after - 1000 < age * 1000 <= before


# Presets


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_both_lives_of_both_kinds_of_session(
    client: Client, db: None, settings: Any, raw: "redis.Redis", preset: str
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PRESET": preset}
    limits = PRESETS[preset]
    User.objects.create_user("sari")
    response = client.get("/in/")
    assert max_age(response) == limits.idle
    assert life(raw, key_of(client)) == limits.idle
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    for key in (client.cookies["sessionid"].value, made.key):
        info = sessions.validate_session(key)
        assert info is not None
        assert info.idle == limits.idle
        assert info.absolute is not None
        assert (info.absolute - info.authenticated).total_seconds() == limits.absolute


def test_without_a_preset_a_log_in_of_django_lasts_as_django_says(
    client: Client, db: None, settings: Any, raw: "redis.Redis"
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PRESET": ""}
    User.objects.create_user("sari")
    assert max_age(client.get("/in/")) == django_settings.SESSION_COOKIE_AGE
    assert not raw.hexists(key_of(client), "@abs")


def test_a_life_that_is_given_goes_before_the_presets(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_IDLE": 1200}
    info = sessions.validate_session(sessions.create_session("7", "sppg-1", "", "", "", "", []).key)
    assert info is not None
    assert info.absolute is not None
    assert (info.idle, (info.absolute - info.authenticated).total_seconds()) == (1200, 12 * 3600)


def test_an_idle_time_above_the_absolute_one_ends_with_it(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_IDLE": 1000, "SESSION_ABSOLUTE": 500}
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    info = sessions.validate_session(made.key)
    assert info is not None
    assert made.expires == info.absolute


def test_a_preset_that_there_is_not_is_named(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PRESET": "lax"}
    with pytest.raises(ConfigurationError, match=r"'lax'.*`strict`, `office`, `shift` or `relaxed`"):
        sessions.create_session("7", "sppg-1", "", "", "", "", [])


# Cookie and key


def test_use_prolongs_key_and_cookie_alike_once_a_minute(
    visitor: Client, raw: "redis.Redis", commands: Commands
) -> None:
    key = key_of(visitor)
    assert visitor.get("/").cookies == {}
    aged(raw, key, 300)
    with commands() as log:
        response = visitor.get("/")
    assert max_age(response) == life(raw, key) == 900
    assert "Cookie" in response["Vary"]
    assert len([line for line in log if "session:" in line]) == 2  # the load and the touch
    assert visitor.get("/").cookies == {}


def test_the_same_asynchronously(visitor: Client, raw: "redis.Redis") -> None:
    key = key_of(visitor)
    aged(raw, key, 300)
    client = AsyncClient()
    client.cookies = visitor.cookies
    response = asyncio.run(client.get("/async/"))
    assert max_age(response) == life(raw, key) == 900


def test_near_the_absolute_deadline_cookie_and_key_end_with_it(visitor: Client, raw: "redis.Redis") -> None:
    key = key_of(visitor)
    absolute = seen(raw, key) + 600_000
    raw.hset(key, "@abs", absolute)
    aged(raw, key, 500)
    for page in ("/", "/change/"):
        began = now(raw)
        response = visitor.get(page)
        assert is_left(max_age(response), absolute - began, absolute - now(raw))
        assert absolute - 1000 < raw.pexpiretime(key) <= absolute


def test_an_expiry_of_ones_own_neither_slides_nor_passes_the_absolute_deadline(
    visitor: Client, raw: "redis.Redis"
) -> None:
    assert max_age(visitor.get("/in/?expiry=300")) == life(raw, key_of(visitor)) == 300
    ends = aged(raw, key_of(visitor), 120)
    assert visitor.get("/").cookies == {}
    assert raw.pexpiretime(key_of(visitor)) == ends
    assert max_age(visitor.get(f"/in/?expiry={30 * 86400}")) == life(raw, key_of(visitor)) == 12 * 3600


def test_a_later_expiry_of_ones_own_does_not_pass_the_absolute_deadline(raw: "redis.Redis") -> None:
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    session = SessionStore(made.key)
    session.set_expiry(30 * 86400)
    began = now(raw)
    session.save()
    absolute = int(raw.hget(keys.session(made.sid), "@abs") or 0)
    assert absolute - 1000 < raw.pexpiretime(keys.session(made.sid)) <= absolute
    for age in (session.get_expiry_age(), asyncio.run(session.aget_expiry_age())):
        assert is_left(age, absolute - began, absolute - now(raw))


def test_a_cookie_that_ends_with_the_browser_stays_so_and_its_key_slides(visitor: Client, raw: "redis.Redis") -> None:
    """Red when ``set_expiry(0)`` counts as an expiry of one's own: who works all day would be out in 15 minutes."""
    visitor.get("/in/?expiry=0")
    aged(raw, key_of(visitor), 300)
    assert visitor.get("/").cookies["sessionid"]["max-age"] == ""
    assert life(raw, key_of(visitor)) == 900


def test_a_page_that_does_not_use_the_session_prolongs_nothing(visitor: Client, raw: "redis.Redis") -> None:
    ends = aged(raw, key_of(visitor), 300)
    response = visitor.get("/unused/")
    assert response.cookies == {}
    assert "Vary" not in response
    assert raw.pexpiretime(key_of(visitor)) == ends


def test_an_outage_at_the_touch_harms_neither_page_nor_cookie(server: Any, caplog: Any) -> None:
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = made.key
    with server.client() as client:
        aged(client, keys.session(made.sid), 300)

    def view(request: HttpRequest) -> HttpResponse:
        server.kill()
        return used(request)

    response = SessionMiddleware(view)(request)
    assert (response.status_code, response.content, len(response.cookies)) == (200, b"None", 0)
    assert "Could not prolong" in caplog.text


# Of Django's own log-in, whose end counts from the last change


@pytest.mark.parametrize("url", ["/", "/async/"])
def test_reading_counts_as_use_and_prolongs_nothing(
    client: Client, db: None, raw: "redis.Redis", settings: Any, url: str
) -> None:
    """Or else who reads all day is not online, and is the first who must go for ``SESSION_LIMIT``."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PRESET": "", "SESSION_LIMIT_POLICY": "evict"}
    settings.BERGIZI_REDIS |= {"SESSION_LIMIT": 2}
    User.objects.create_user("sari")
    client.get("/in/")
    key, sid = key_of(client), sid_of(client.cookies["sessionid"].value)
    user_id = str(User.objects.get().pk)
    online = [keys.tenant_online(None), keys.user_online(user_id)]
    before, ends = int(raw.hget(key, "@seen") or 0) - 120_000, aged(raw, key, 120)
    for name in online:
        raw.zadd(name, {sid: before})
    listed = raw.zscore(keys.user_sessions(user_id), sid)
    assert client.get("/poll/").content != b"None"
    assert raw.zscore(online[0], sid) == before, "a page that polls is no use"
    response = client.get(url)
    assert (response.content != b"None", response.cookies) == (True, {})
    assert raw.pexpiretime(key) == ends
    assert int(raw.hget(key, "@seen") or 0) > before + 60_000
    assert all((raw.zscore(name, sid) or 0) > before + 60_000 for name in online)
    assert raw.zscore(keys.user_sessions(user_id), sid) == listed


def test_a_session_that_ended_before_its_use_was_noted_stays_ended(visitor: Client, raw: "redis.Redis") -> None:
    visitor.get("/in/?expiry=600")
    made = SessionStore(visitor.cookies["sessionid"].value)
    made.prefetch()
    sid = made.sid or ""
    assert made.record is not None
    made.record.now += 120_000  # it is time to
    assert sessions.revoke(sid)
    assert not made.touch()
    assert not raw.exists(keys.session(sid))
    assert raw.zscore(keys.tenant_online(None), sid) is None


def test_a_full_server_is_still_read_from(server: Any) -> None:
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    with server.client() as client:
        aged(client, keys.session(made.sid), 300)
        client.config_set("maxmemory", 1)
        assert sessions.validate_session(made.key) is not None


# Polling


@pytest.mark.parametrize("url", ["/poll/", "/poll/class/"])
def test_a_view_that_polls_keeps_nothing_alive(visitor: Client, raw: "redis.Redis", url: str) -> None:
    ends = aged(raw, key_of(visitor), 300)
    response = visitor.get(url)
    assert response.content != b"None"
    assert response.cookies == {}
    assert raw.pexpiretime(key_of(visitor)) == ends


@pytest.mark.parametrize("url", ["/async/poll/", "/async/poll/class/"])
def test_an_async_view_that_polls_keeps_nothing_alive(visitor: Client, raw: "redis.Redis", url: str) -> None:
    ends = aged(raw, key_of(visitor), 300)
    client = AsyncClient()
    client.cookies = visitor.cookies
    assert asyncio.run(client.get(url)).cookies == {}
    assert raw.pexpiretime(key_of(visitor)) == ends


def test_a_header_or_a_path_says_the_same(visitor: Client, raw: "redis.Redis", settings: Any) -> None:
    ends = aged(raw, key_of(visitor), 300)
    assert visitor.get("/", headers={HEADER: "no"}).cookies == {}
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_NO_TOUCH_PATHS": ["/"]}
    settings.SESSION_SAVE_EVERY_REQUEST = True
    assert visitor.get("/").cookies == {}
    assert raw.pexpiretime(key_of(visitor)) == ends


def test_under_djangos_middleware_the_decorator_works_too(visitor: Client, raw: "redis.Redis", settings: Any) -> None:
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    ends = aged(raw, key_of(visitor), 300)
    visitor.get("/poll/")
    assert raw.pexpiretime(key_of(visitor)) == ends
    visitor.get("/")
    assert life(raw, key_of(visitor)) == 900
    assert raw.pexpiretime(key_of(visitor)) > ends


def test_what_a_poll_changes_is_saved_and_counts(raw: "redis.Redis") -> None:
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    ends = aged(raw, keys.session(made.sid), 300)
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = made.key
    SessionMiddleware(no_session_touch(change))(request)
    assert raw.pexpiretime(keys.session(made.sid)) > ends
    assert SessionStore(made.key)["n"] == 1


@pytest.mark.parametrize(
    ("path", "below"), [("/poll", True), ("/poll/", True), ("/poll/menus/", True), ("/polls/", False), ("/", False)]
)
def test_a_path_holds_what_is_below_it(path: str, below: bool) -> None:
    assert is_below(path, ["/poll/"]) is is_below(path, ["/poll"]) is below
