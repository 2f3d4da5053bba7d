"""What a client is answered: limits of whole paths, 429 and 503, headers, RATELIMIT_VIEW; through WSGI and ASGI."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import translation
from django_ratelimit.exceptions import Ratelimited as TheirRatelimited

from bergizi_redis import connections
from bergizi_redis.security.limiting.middleware import is_below
from bergizi_redis.security.ratelimit import Ratelimited, ratelimit
from bergizi_redis.tenancy import use_tenant
from tests.moments import left_of
from tests.servers import PrivateServer

Commands = Callable[[], AbstractContextManager[list[str]]]
MIDDLEWARE = "bergizi_redis.security.limiting.middleware.RateLimitMiddleware"
pytestmark = pytest.mark.urls(__name__)


def page(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    return HttpResponse("ok")


async def async_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def theirs(request: HttpRequest) -> HttpResponse:
    raise TheirRatelimited


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


@ratelimit(key="ip", rate="1/h", group="view")
def limited(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def swallowing(request: HttpRequest) -> HttpResponse:
    """As the exception handlers of REST frameworks do."""
    try:
        return limited(request)
    except PermissionDenied:
        return HttpResponse("forbidden", status=403)


class Wrapped:
    """As Django REST framework's request: the bare one is behind it."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def framework(request: HttpRequest) -> HttpResponse:
    return swallowing(Wrapped(request))  # type: ignore[arg-type]


def answering(request: HttpRequest) -> HttpResponse:
    try:
        return limited(request)
    except Ratelimited:
        return HttpResponse("an older page")


def own_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(f"mine: {type(exception).__name__}", status=420)


async def own_async_page(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("mine", status=420)


urlpatterns = [
    path("limited/", limited),
    path("limited-async/", ratelimit(key="ip", rate="1/h", group="view")(async_page)),
    path("closed/", ratelimit(key="ip", rate="1/h", on_error="closed")(page)),
    path("theirs/", theirs),
    path("forbidden/", forbidden),
    path("swallowing/", swallowing),
    path("framework/", framework),
    path("answering/", answering),
    path("api/menus/", page),
    path("api/", page),
    path("apiary/", page),
    path("login/", page),
]


@pytest.fixture(autouse=True)
def alone(settings: Any) -> None:
    settings.MIDDLEWARE = [MIDDLEWARE]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def fetch(request: pytest.FixtureRequest) -> Callable[..., Any]:
    if not request.param:
        return Client().get
    return lambda *args, **kwargs: async_to_sync(AsyncClient().get)(*args, **kwargs)


def site(settings: Any, *limits: dict[str, Any], **more: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "RATELIMITS": list(limits), **more}


@pytest.mark.parametrize("url", ["/limited/", "/limited-async/", "/swallowing/", "/framework/"])
def test_a_refused_call_answers_429(fetch: Any, url: str) -> None:
    assert fetch(url).status_code == 200
    refused = fetch(url)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) == left_of(3600)
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert refused.headers["RateLimit-Policy"] == '"view";q=1;w=3600'
    assert refused.headers["Cache-Control"] == "no-store"


def test_the_page_is_that_of_a_refused_log_in_in_other_words(fetch: Any) -> None:
    fetch("/limited/")
    answer = fetch("/limited/?a=1")
    text = answer.content.decode()
    assert "<h1>Too many requests</h1>" in text
    assert "Try again in 60 minutes." in text
    assert '<a href="/limited/?a=1">Try again</a>' in text
    assert "sign" not in re.sub(r"<style.*</style>", "", text, flags=re.DOTALL).lower()
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_it_counts_seconds_where_it_is_soon_over(settings: Any) -> None:
    site(settings, {"path": "/api/", "key": "ip", "rate": "0/59s"})
    assert "Try again in 59 seconds." in Client().get("/api/").content.decode()


def test_it_speaks_indonesian() -> None:
    Client().get("/limited/")
    with translation.override("id"):
        text = Client().get("/limited/").content.decode()
    assert "Terlalu banyak permintaan" in text
    assert "Coba lagi" in text


def test_who_asks_for_json_is_answered_in_json(fetch: Any) -> None:
    fetch("/limited/")
    answer = fetch("/limited/", headers={"accept": "application/json"})
    assert answer.json() == {
        "detail": "Too many requests. Try again in 60 minutes.", "code": "rate_limited", "retry_after": left_of(3600),
    }  # fmt: skip


def test_a_view_that_answers_otherwise_keeps_its_answer(fetch: Any) -> None:
    fetch("/answering/")
    answer = fetch("/answering/")
    assert (answer.status_code, answer.content) == (200, b"an older page")
    assert answer.headers["RateLimit-Remaining"] == "0"


def test_a_refusal_of_django_ratelimit_is_answered_too(fetch: Any) -> None:
    answer = fetch("/theirs/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


def test_another_403_stays_one(fetch: Any) -> None:
    assert fetch("/forbidden/").status_code == 403


class TestTheViewOfTheProject:
    @pytest.mark.parametrize("name", ["own_page", "own_async_page"])
    def test_answers_with_its_own_status(self, fetch: Any, settings: Any, name: str) -> None:
        settings.RATELIMIT_VIEW = f"{__name__}.{name}"
        fetch("/limited/")
        answer = fetch("/limited/")
        assert answer.status_code == 420
        assert answer.content.startswith(b"mine")
        assert int(answer.headers["Retry-After"]) == left_of(3600)
        assert answer.headers["RateLimit-Limit"] == "1"

    def test_is_asked_by_django_ratelimits_middleware_too(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["django_ratelimit.middleware.RatelimitMiddleware"]
        settings.RATELIMIT_VIEW = f"{__name__}.own_page"
        Client().get("/limited/")
        assert Client().get("/limited/").content == b"mine: Ratelimited"


def test_without_any_middleware_a_refusal_is_djangos_403(settings: Any) -> None:
    settings.MIDDLEWARE = []
    assert Client().get("/limited/").headers["RateLimit-Limit"] == "1"
    assert Client().get("/limited/").status_code == 403


class TestWholePaths:
    def test_are_limited_with_all_below(self, fetch: Any, settings: Any) -> None:
        site(settings, {"path": "/api/", "key": "ip", "rate": "2/h"})
        assert [fetch(url).status_code for url in ("/api/", "/api/menus/", "/api/", "/apiary/", "/login/")] == [
            200, 200, 429, 200, 200,
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("url", "start", "is_in"),
        [("/api", "/api", True), ("/api/x", "/api", True), ("/apiary", "/api", False), ("/api/", "/api/", True),
         ("/api", "/api/", False), ("/anything", "/", True)],
    )  # fmt: skip
    def test_a_path_holds_for_itself_and_what_is_below(self, url: str, start: str, is_in: bool) -> None:
        assert is_below(url, start) is is_in

    def test_are_one_round_trip_and_none_elsewhere(self, fetch: Any, settings: Any, commands: Commands) -> None:
        site(
            settings,
            {"path": "/", "key": "ip", "rate": "9/h"},
            {"path": "/api/", "key": "ip", "rate": "5/h", "algorithm": "gcra"},
            {"path": "/api/menus/", "key": "header:user-agent", "rate": "2/h", "cost": 2},
        )
        fetch("/api/menus/")
        with commands() as log:
            answer = fetch("/api/menus/")
        assert answer.status_code == 429
        assert len(log) == 1
        site(settings, {"path": "/api/", "key": "ip", "rate": "9/h"})
        with commands() as log:
            fetch("/login/")
        assert not log

    def test_tell_of_all_limits_in_one_answer(self, fetch: Any, settings: Any) -> None:
        site(settings, {"path": "/", "key": "ip", "rate": "9/h", "group": "site"})
        headers = fetch("/limited/").headers
        assert headers["RateLimit-Policy"] == '"site";q=9;w=3600, "view";q=1;w=3600'
        assert headers["RateLimit-Limit"] == "1"

    def test_in_shadow_refuse_nothing(self, fetch: Any, settings: Any) -> None:
        site(settings, {"path": "/", "key": "ip", "rate": "1/h", "shadow": True})
        assert [fetch("/api/").status_code for _ in range(3)] == [200] * 3

    def test_count_methods_that_they_name(self, settings: Any) -> None:
        site(settings, {"path": "/", "key": "ip", "rate": "1/h", "method": "POST"})
        assert [Client().get("/api/").status_code for _ in range(3)] == [200] * 3
        assert [Client().post("/api/").status_code for _ in range(2)] == [200, 429]

    def test_refuse_networks_with_the_page(self, fetch: Any, settings: Any) -> None:
        site(settings, {"path": "/", "key": "ip", "rate": "9/h"}, RATELIMIT_DENY=["127.0.0.0/8"])
        answer = fetch("/api/")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")

    def test_raise_no_exception_of_the_project_outside_of_views(self, fetch: Any, settings: Any) -> None:
        settings.RATELIMIT_EXCEPTION_CLASS = ZeroDivisionError
        site(settings, {"path": "/", "key": "ip", "rate": "0/h"})
        assert fetch("/api/").status_code == 429

    @pytest.mark.django_db
    def test_count_tenants_and_users_behind_their_middleware(self, settings: Any, django_user_model: Any) -> None:
        settings.MIDDLEWARE = [
            "bergizi_redis.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            MIDDLEWARE,
        ]
        site(settings, {"path": "/", "key": "user", "rate": "1/h"}, {"path": "/", "key": "tenant", "rate": "2/h"})
        clients = [Client() for _ in range(3)]
        for number, client in enumerate(clients):
            client.force_login(django_user_model.objects.create_user(f"user-{number}"))
        with use_tenant("sppg-1"):
            assert [client.get("/api/").status_code for client in clients] == [200, 200, 429]
        with use_tenant("sppg-2"):
            assert [client.get("/api/").status_code for client in clients] == [429, 429, 200]

    def test_count_what_a_client_wrote_once_whatever_host_it_makes_up(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["bergizi_redis.tenancy.TenantMiddleware", MIDDLEWARE]
        settings.ALLOWED_HOSTS = [".example.org"]
        resolver = "bergizi_redis.tenancy.tenant_from_host"
        limit = {"path": "/", "key": "header:x-name", "rate": "2/h"}
        site(settings, limit, TENANT_RESOLVER=resolver, TENANT_DOMAIN="example.org")
        hosts = [f"sppg-{n}.example.org" for n in range(3)]
        answers = [Client().get("/api/", headers={"host": host, "x-name": "budi"}).status_code for host in hosts]
        assert answers == [200, 200, 429]

    @pytest.mark.parametrize(
        "wrong",
        [{"path": "/api/", "key": "ip"}, {"path": "api", "key": "ip", "rate": "1/m"}, {"key": "ip", "rate": "1/m"},
         {"path": "/", "key": "ip", "rate": "1/m", "block": True}, "x"],
    )  # fmt: skip
    def test_that_are_wrong_say_what_would_be_right(self, settings: Any, wrong: Any) -> None:
        site(settings, wrong)
        with pytest.raises(Exception, match=r"RATELIMITS.*'path': '/api/'"):
            Client().get("/api/")


def test_when_redis_is_down_a_closed_limit_answers_503(fetch: Any, server: PrivateServer, settings: Any) -> None:
    server.kill()
    answer = fetch("/closed/", headers={"accept": "application/json"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["code"] == "rate_limit_unavailable"
    assert "RateLimit" not in answer.headers
    assert "not available" in fetch("/closed/").content.decode()
    site(settings, {"path": "/api/", "key": "ip", "rate": "9/h", "on_error": "closed"})
    assert fetch("/api/").status_code == 503
    connections.disconnect_all()
