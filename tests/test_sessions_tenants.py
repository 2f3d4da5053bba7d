"""A session of one tenant shown to another: nobody is signed in there, and it lives on where it belongs.

Seen red: without the comparison of tenants, without ``keeps_cookie`` (the browser would be signed out at home), without
the user taken off the request (who was looked at before the tenant was known), without the note's own comparison
(each of two requests at once told it), and where the tenant of the user is compared too.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from bergizi_redis import keys, signals
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.belonging import mismatch_of, tell_mismatch
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.tenancy import use_tenant
from tests.sessionsite import counted

Commands = Callable[[], AbstractContextManager[list[str]]]
BY_HOST = "bergizi_redis.tenancy.tenant_from_host"
OURS = "bergizi_redis.sessions.middleware.SessionMiddleware"
STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
HOME: dict[str, Any] = {"HTTP_HOST": "sppg-a.example.org"}
ABROAD: dict[str, Any] = {"HTTP_HOST": "sppg-b.example.org"}
PROFILE: dict[str, Any] = {"role": "", "user_type": "", "email": "", "name": "", "permissions": []}


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user.get_username()}|{request.session.get('cart', '')}")


async def awhoami(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse(f"{user.get_username()}|{await request.session.aget('cart', '')}")


def sign_in(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
    request.session["cart"] = "rice"
    return HttpResponse("in")


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def looks_first(request: HttpRequest) -> str | None:
    """A resolver of a project, which looks at the user before it goes by the host."""
    assert request.user.is_authenticated in (True, False)
    return request.get_host().partition(".")[0]


def by_header(request: HttpRequest) -> str | None:
    return request.headers.get("X-Kitchen")


urlpatterns = [path("", whoami), path("async/", awhoami), path("in/", sign_in), path("plain/", plain)]


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = [".example.org", "testserver"]
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.BERGIZI_REDIS = {
        **settings.BERGIZI_REDIS, "TENANT_RESOLVER": [BY_HOST], "TENANT_DOMAIN": "example.org",
    }  # fmt: skip
    use_middleware(settings, OURS)


def use_middleware(settings: Any, session: str) -> None:
    settings.MIDDLEWARE = [
        session,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "bergizi_redis.tenancy.TenantMiddleware",
    ]


@pytest.fixture
def sari(db: None) -> User:
    return User.objects.create_user("sari")


@pytest.fixture
def visitor(client: Client, sari: User) -> Client:
    """Signed in at sppg-a."""
    client.get("/in/", **HOME)
    return client


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    log: list[dict[str, Any]] = []

    def mismatch(sender: Any, signal: Any, **told: Any) -> None:
        log.append(told)

    signals.session_tenant_mismatch.connect(mismatch)
    yield log
    signals.session_tenant_mismatch.disconnect(mismatch)


def abroad_async(visitor: Client, settings: Any) -> Any:
    """The user is looked at first, for there is a resolver that may ask for the user."""
    resolvers = [f"{__name__}.by_header", "bergizi_redis.tenancy.tenant_from_user"]
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_RESOLVER": resolvers}
    other = AsyncClient()
    other.cookies = visitor.cookies
    return async_to_sync(other.get)("/async/", headers={"x-kitchen": "sppg-b"})


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_tenants_cookie_on_another_tenants_host_signs_nobody_in(
    visitor: Client, sari: User, told: list[Any], settings: Any, asynchronous: bool
) -> None:
    assert visitor.get("/", **HOME).content == b"sari|rice"
    answer = abroad_async(visitor, settings) if asynchronous else visitor.get("/", **ABROAD)
    assert answer.content == b"|", "neither the user nor the data of the session"
    assert not answer.cookies, "the cookie is good at home"
    assert "Cookie" in answer["Vary"]
    assert visitor.get("/", **HOME).content == b"sari|rice"
    [event] = told
    sid = sid_of(visitor.cookies["sessionid"].value)
    assert event == {"sid": sid, "user_id": str(sari.pk), "tenant": "sppg-a", "visited": "sppg-b"}
    assert counted("sppg-a").tenant_mismatch == 1
    assert counted("sppg-b").tenant_mismatch == 0
    assert [entry.event for entry in sessions.activity(sari.pk)] == ["tenant_mismatch", "logged_in"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_tenant_may_be_known_before_the_session_is(
    visitor: Client, settings: Any, told: list[Any], asynchronous: bool
) -> None:
    settings.MIDDLEWARE = [settings.MIDDLEWARE[2], *settings.MIDDLEWARE[:2]]
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_RESOLVER": f"{__name__}.by_header"}
    other: Any = AsyncClient() if asynchronous else Client()
    other.cookies = visitor.cookies
    get, page = (async_to_sync(other.get), "/async/") if asynchronous else (other.get, "/")
    assert get(page, headers={"x-kitchen": "sppg-a"}).content == b"sari|rice"
    answer = get(page, headers={"x-kitchen": "sppg-b"})
    assert answer.content == b"|"
    assert not answer.cookies
    assert [event["visited"] for event in told] == ["sppg-b"]


def test_a_page_that_asks_for_nobody_is_the_same_for_a_strange_cookie(visitor: Client) -> None:
    answer = visitor.get("/plain/", **ABROAD)
    assert answer.content == b"plain"
    assert not answer.cookies


def test_each_other_tenant_is_told_of_once(visitor: Client, told: list[Any], commands: Commands) -> None:
    visitor.get("/", **ABROAD)
    with commands() as log:
        visitor.get("/", **ABROAD)
    assert len(log) == 1, "the load alone"
    visitor.get("/", HTTP_HOST="sppg-c.example.org")
    assert [event["visited"] for event in told] == ["sppg-b", "sppg-c"]
    assert counted("sppg-a").tenant_mismatch == 2


def test_of_requests_at_once_one_tells_it(visitor: Client, told: list[Any]) -> None:
    """Forced: both have loaded the session before either has noted the other tenant."""
    stores = [SessionStore(visitor.cookies["sessionid"].value) for _ in range(2)]
    for store in stores:
        store.prefetch()
    for store in stores:
        tell_mismatch(SessionStore, mismatch_of(store.sid or "", store.record, "sppg-b"))
    assert len(told) == 1
    assert counted("sppg-a").tenant_mismatch == 1


def test_a_user_looked_at_before_the_tenant_was_known_is_nobody_all_the_same(visitor: Client, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_RESOLVER": f"{__name__}.looks_first"}
    assert visitor.get("/", **HOME).content == b"sari|rice"
    assert visitor.get("/", **ABROAD).content == b"|"


def test_logging_in_there_makes_a_session_of_that_tenant(visitor: Client, sari: User) -> None:
    home = visitor.cookies["sessionid"].value
    visitor.get("/in/", **ABROAD)
    assert visitor.get("/", **ABROAD).content == b"sari|rice"
    assert visitor.get("/", **HOME).content == b"|"
    assert {info.tenant for info in sessions.sessions_for_user(sari.pk)} == {"sppg-a", "sppg-b"}
    assert sessions.validate_session(home) is not None, "the session at home goes on"


def test_under_djangos_own_middleware_nobody_is_signed_in_either(visitor: Client, settings: Any) -> None:
    use_middleware(settings, STOCK)
    client, key = Client(), visitor.cookies["sessionid"].value
    client.cookies["sessionid"] = key
    assert client.get("/", **HOME).content == b"sari|rice"
    assert client.get("/", **ABROAD).content == b"|"
    assert sessions.validate_session(key) is not None


def test_every_session_is_let_in_where_that_is_wanted(visitor: Client, settings: Any, told: list[Any]) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_TENANT_MISMATCH": "ignore"}
    assert visitor.get("/", **ABROAD).content == b"sari|rice"
    assert told == []
    with use_tenant("sppg-b"):
        assert sessions.validate_session(visitor.cookies["sessionid"].value) is not None


def test_a_request_or_a_session_without_a_tenant_belongs_anywhere(visitor: Client, sari: User, told: list[Any]) -> None:
    assert visitor.get("/", HTTP_HOST="example.org").content == b"sari|rice"
    network = Client()
    network.get("/in/", HTTP_HOST="example.org")
    assert network.get("/", **ABROAD).content == b"sari|rice"
    assert told == []


def test_a_user_who_belongs_to_another_tenant_by_now_stays_signed_in(
    visitor: Client, settings: Any, told: list[Any], monkeypatch: Any
) -> None:
    """The tenant is then that of the session's own user: no cookie has gone astray."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_RESOLVER": "bergizi_redis.tenancy.tenant_from_user"}
    monkeypatch.setattr(User, "tenant", "sppg-b", raising=False)
    assert visitor.get("/", **HOME).content == b"sari|rice"
    assert told == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_key_is_valid_for_its_own_tenant_alone(told: list[Any], asynchronous: bool) -> None:
    made = sessions.create_session("sari", "sppg-a", **PROFILE)

    def valid(**given: Any) -> bool:
        if asynchronous:
            return asyncio.run(sessions.avalidate_session(made.key, **given)) is not None
        return sessions.validate_session(made.key, **given) is not None

    assert valid()
    assert valid(tenant="sppg-a")
    assert not valid(tenant="sppg-b")
    with use_tenant("sppg-b"):
        assert not valid()
        assert valid(tenant="sppg-a")
    with use_tenant("sppg-a"):
        assert valid()
    assert [event["visited"] for event in told] == ["sppg-b"]
    assert counted("sppg-a").tenant_mismatch == 1


def test_an_outage_at_the_note_lets_nobody_in(server: Any, told: list[Any], caplog: Any) -> None:
    store = SessionStore(sessions.create_session("sari", "sppg-a", **PROFILE).key)
    store.prefetch()
    server.kill()
    request = HttpRequest()
    store.heed_tenant(request, "sppg-b")
    assert store.is_empty()
    assert len(told) == 1
    assert "Could not note" in caplog.text


def test_the_note_does_not_outlive_the_log_in(visitor: Client, raw: "redis.Redis") -> None:
    visitor.get("/", **ABROAD)
    key = keys.session(sid_of(visitor.cookies["sessionid"].value))
    assert raw.hget(key, "@for") == b"sppg-b"
    visitor.get("/in/", **HOME)
    assert not raw.exists(key)
    assert raw.hget(keys.session(sid_of(visitor.cookies["sessionid"].value)), "@for") is None
