"""Sessions through requests: log in, log out, change the password, the admin, and where a log-in came from."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.admin.sites import AdminSite
from django.contrib.auth import aget_user, alogin, alogout, login, logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from bergizi_redis import keys
from bergizi_redis.exceptions import TenantError
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.client import client_ip, client_label
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.info import SessionInfo
from bergizi_redis.sessions.login import note_login
from bergizi_redis.sessions.middleware import SessionMiddleware
from bergizi_redis.tenancy import use_tenant

Commands = Callable[[], AbstractContextManager[list[str]]]
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
STOCK = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "bergizi_redis.sessions.middleware.SessionMiddleware"
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0"


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def sign_in(request: HttpRequest) -> HttpResponse:
    user = User.objects.get(username=request.GET["as"])
    user.tenant = request.GET.get("tenant")  # type: ignore[attr-defined]
    login(request, user, backend=MODEL_BACKEND)
    return HttpResponse("in")


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("out")


def change_password(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    request.user.set_password("another")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse("changed")


def count(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    if "broken" in request.GET:
        return HttpResponse("broken", status=500)
    if "meanwhile" in request.GET:  # another request logs out while this one works
        SessionStore(request.session.session_key).flush()
    return HttpResponse(str(request.session["n"]))


def browser_session(request: HttpRequest) -> HttpResponse:
    request.session.set_expiry(0)
    return HttpResponse("until the browser closes")


async def async_count(request: HttpRequest) -> HttpResponse:
    n = await request.session.aget("n", 0) + 1
    await request.session.aset("n", n)
    if "meanwhile" in request.GET:
        await SessionStore(request.session.session_key).aflush()
    return HttpResponse(str(n))


async def async_sign_in(request: HttpRequest) -> HttpResponse:
    user = await User.objects.aget(username=request.GET["as"])
    user.tenant = request.GET.get("tenant")  # type: ignore[attr-defined]
    await alogin(request, user, backend=MODEL_BACKEND)
    return HttpResponse("in")


async def async_sign_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse("out")


async def async_whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await aget_user(request)).get_username() + str(request.session.get("n", "")))


urlpatterns = [
    path("", whoami),
    path("plain/", plain),
    path("in/", sign_in),
    path("out/", sign_out),
    path("password/", change_password),
    path("count/", count),
    path("browser/", browser_session),
    path("async/", async_whoami),
    path("async/count/", async_count),
    path("async/in/", async_sign_in),
    path("async/out/", async_sign_out),
    path("admin/", AdminSite().urls),
]


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND]
    settings.MIDDLEWARE = [
        OURS,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "bergizi_redis.tenancy.TenantMiddleware",
    ]


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("sari", password="rendang-dan-tempe")


def info_of(client: Client | AsyncClient) -> SessionInfo | None:
    return sessions.validate_session(client.cookies["sessionid"].value)


# Log in, log out


def test_logging_in_changes_the_key_and_keeps_the_cart(client: Client, user: User) -> None:
    client.get("/count/")
    before = client.cookies["sessionid"].value
    client.get("/in/?as=sari")
    after = client.cookies["sessionid"].value
    assert before != after
    assert not SessionStore().exists(before)
    assert client.get("/").content == b"sari"
    assert client.get("/count/").content == b"2"


def test_a_log_in_knows_tenant_address_and_device(client: Client, user: User) -> None:
    client.get("/in/?as=sari&tenant=sppg-1", headers={"user-agent": AGENT}, REMOTE_ADDR="203.0.113.7")
    info = info_of(client)
    assert info is not None
    assert (info.user_id, info.tenant, info.ip, info.client) == (
        str(user.pk),
        "sppg-1",
        "203.0.113.7",
        "Edge · Windows",
    )
    assert sessions.sessions_for_tenant("sppg-1") == sessions.sessions_for_user(user.pk) == [info]


def test_logging_out_ends_the_session_and_removes_the_cookie(client: Client, user: User, raw: "redis.Redis") -> None:
    client.get("/in/?as=sari&tenant=sppg-1")
    key = client.cookies["sessionid"].value
    response = client.get("/out/")
    assert response.cookies["sessionid"]["max-age"] == 0
    assert not raw.exists(keys.session(sid_of(key)))
    assert sessions.sessions_for_user(user.pk) == sessions.sessions_for_tenant("sppg-1") == []


def test_another_user_logging_in_gets_a_session_of_his_own(client: Client, user: User) -> None:
    User.objects.create_user("budi", password="x")
    client.get("/in/?as=sari")
    client.get("/count/")
    client.get("/in/?as=budi")
    assert client.get("/").content == b"budi"
    assert client.get("/count/").content == b"1"
    assert sessions.sessions_for_user(user.pk) == []


def test_logging_in_again_notes_the_new_address(client: Client, user: User) -> None:
    user_logged_in.connect(note_login)
    try:
        client.get("/in/?as=sari", REMOTE_ADDR="203.0.113.7")
        client.get("/in/?as=sari", REMOTE_ADDR="203.0.113.8")
    finally:
        user_logged_in.disconnect(note_login)
    info = info_of(client)
    assert info is not None
    assert info.ip == "203.0.113.8"
    assert len(sessions.sessions_for_user(user.pk)) == 1


def test_a_password_change_keeps_this_session_and_ends_the_others(client: Client, user: User) -> None:
    client.get("/in/?as=sari&tenant=sppg-1")
    other = Client()
    other.force_login(user)
    assert other.get("/").content == b"sari"
    client.get("/password/")
    assert client.get("/").content == b"sari"
    assert other.get("/").content == b""
    info = info_of(client)
    assert info is not None
    assert info.tenant == "sppg-1"


def test_the_test_client_logs_in_and_out(client: Client, user: User) -> None:
    client.force_login(user)
    assert client.get("/").content == b"sari"
    client.logout()
    assert client.get("/").content == b""
    assert client.login(username="sari", password="rendang-dan-tempe")
    assert client.session["_auth_user_id"] == str(user.pk)
    assert sessions.sessions_for_user(user.pk)[0].client is None


def test_the_admin_logs_in_and_changes_a_password(client: Client, user: User, settings: Any) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.admin"]
    User.objects.filter(pk=user.pk).update(is_staff=True)
    form = {"username": "sari", "password": "rendang-dan-tempe", "next": "/admin/password_change/"}
    assert client.post("/admin/login/", form).status_code == 302
    assert client.get("/admin/password_change/").status_code == 200
    passwords = {
        "old_password": "rendang-dan-tempe",
        "new_password1": "gudeg-9-lezat",
        "new_password2": "gudeg-9-lezat",
    }
    assert client.post("/admin/password_change/", passwords).status_code == 302
    assert client.get("/").content == b"sari"


# What a request costs


def test_an_authenticated_page_is_one_session_read(client: Client, user: User, commands: Commands) -> None:
    client.get("/in/?as=sari&tenant=sppg-1")
    with commands() as log:
        client.get("/")
    assert len(log) == 1


def test_a_page_without_a_cookie_asks_nothing(client: Client, commands: Commands) -> None:
    with commands() as log:
        response = client.get("/plain/")
    assert log == []
    assert not response.cookies


def test_an_async_page_is_one_session_read(user: User, commands: Commands) -> None:
    client = Client()
    client.get("/in/?as=sari")
    visitor = AsyncClient()
    visitor.cookies = client.cookies
    with commands() as log:
        assert async_to_sync(visitor.get)("/async/").content == b"sari"
    assert len(log) == 1


# Django's rules of the cookie


@pytest.mark.parametrize("middleware", [OURS, STOCK])
def test_the_cookie_is_set_and_removed_as_djangos_middleware_does(
    client: Client, settings: Any, middleware: str
) -> None:
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE[1:]]
    response = client.get("/count/")
    cookie = response.cookies["sessionid"]
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (1209600, True, "Lax")
    assert "Cookie" in response["Vary"]
    assert client.get("/").cookies == {}
    assert client.get("/browser/").cookies["sessionid"]["max-age"] == ""
    assert client.get("/count/?broken=1").cookies == {}
    assert client.get("/count/").content == b"2"
    client.cookies["sessionid"] = "unknown" * 4
    assert client.get("/").cookies["sessionid"]["max-age"] == 0


def test_a_page_that_does_not_use_the_session_neither_varies_nor_touches_the_cookie(client: Client) -> None:
    """Red when loading ahead counts as use: a parallel log-in would lose the cookie it has just been given."""
    factory_client = client
    factory_client.cookies["sessionid"] = "unknown" * 4
    middleware = SessionMiddleware(lambda request: HttpResponse("x"))
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = "unknown" * 4
    response = middleware(request)
    assert not response.cookies
    assert not response.has_header("Vary")


def test_saving_every_request_prolongs_the_session(client: Client, settings: Any, raw: "redis.Redis") -> None:
    client.get("/count/")
    key = keys.session(sid_of(client.cookies["sessionid"].value))
    raw.pexpire(key, 500_000)
    ends = raw.pexpiretime(key)
    settings.SESSION_SAVE_EVERY_REQUEST = True
    assert "sessionid" in client.get("/").cookies
    assert raw.pexpiretime(key) > ends


@pytest.mark.parametrize("middleware", [OURS, STOCK])
def test_a_log_out_during_a_slow_request_that_saves_wins(
    client: Client, settings: Any, middleware: str, raw: "redis.Redis", prefix: str
) -> None:
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE[1:]]
    client.get("/count/")
    assert client.get("/count/?meanwhile=1").status_code == 400
    assert list(raw.scan_iter(f"{prefix}:session:*")) == []


class Reversed:
    """A serializer of a project's own."""

    def dumps(self, obj: object) -> bytes:
        return json.dumps(obj).encode()[::-1]

    def loads(self, data: bytes) -> Any:
        return json.loads(data[::-1])


@pytest.mark.parametrize("middleware", [OURS, STOCK])
def test_the_projects_serializer_writes_and_reads_every_value(
    client: Client, user: User, settings: Any, raw: "redis.Redis", middleware: str
) -> None:
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE[1:]]
    client.get("/in/?as=sari")  # before the setting: what is written already can still be read
    settings.SESSION_SERIALIZER = f"{__name__}.Reversed"
    client.get("/count/")
    assert client.get("/count/").content == b"2"
    assert client.get("/").content == b"sari"
    key = keys.session(sid_of(client.cookies["sessionid"].value))
    assert raw.hget(key, "n") == b"!2"
    client.get("/in/?as=sari")
    fields = raw.hgetall(keys.session(sid_of(client.cookies["sessionid"].value)))
    assert fields[b"_auth_user_id"] == b"!" + Reversed().dumps(str(user.pk))
    settings.SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"
    assert client.get("/").content == b"", "another serializer's values are left out, and nobody is signed in by them"


def test_the_middleware_serves_other_engines_too(client: Client, settings: Any, db: None) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert client.get("/count/").content == b"1"
    assert client.get("/count/").content == b"2"
    note_login(None, client.request().wsgi_request, None)
    assert async_to_sync(AsyncClient().get)("/count/").content == b"1"
    client.cookies["sessionid"] = "unknown" * 4
    assert client.get("/").cookies["sessionid"]["max-age"] == 0


def test_a_request_whose_session_was_taken_away_is_answered() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        del request.session
        return HttpResponse("x")

    assert SessionMiddleware(view)(RequestFactory().get("/")).content == b"x"


# Async


def test_the_whole_life_of_a_log_in_works_asynchronously(db: None) -> None:
    """On one loop: count, log in, read, lose a race, log out."""
    user = User.objects.create_user("sari", password="x")

    async def life() -> None:
        client = AsyncClient()
        assert (await client.get("/async/count/")).content == b"1"
        await client.get("/async/in/?as=sari&tenant=sppg-1", headers={"user-agent": AGENT})
        assert (await client.get("/async/")).content == b"sari1"
        [info] = await sessions.asessions_for_tenant("sppg-1")
        assert (info.user_id, info.ip, info.client) == (str(user.pk), "127.0.0.1", "Edge · Windows")
        assert (await client.get("/async/count/?meanwhile=1")).status_code == 400
        assert await sessions.asessions_for_user(user.pk) == []
        await client.get("/async/in/?as=sari")
        response = await client.get("/async/out/")
        assert response.cookies["sessionid"]["max-age"] == 0
        assert (await client.get("/async/")).content == b""

    # As a sync caller would: the database of the test belongs to this thread.
    async_to_sync(life)()


def test_the_async_middleware_asks_without_a_thread() -> None:
    key = saved_key()

    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.session["n"]))

    async def visit() -> HttpResponse:
        middleware = SessionMiddleware(view)
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = key
        with no_threads():
            response: Awaitable[HttpResponse] = middleware(request)
            return await response

    assert asyncio.run(visit()).content == b"3"


def saved_key() -> str:
    session = SessionStore()
    session["n"] = 3
    session.save()
    return session.session_key or ""


class no_threads:  # noqa: N801 – reads as a statement
    """Fails where work is given to a thread meanwhile."""

    def __enter__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.run = self.loop.run_in_executor

        def refuse(*args: Any) -> Any:
            raise AssertionError(f"A thread was used: {args}")

        self.loop.run_in_executor = refuse  # type: ignore[method-assign, assignment]

    def __exit__(self, *error: object) -> None:
        self.loop.run_in_executor = self.run  # type: ignore[method-assign]


# Where a log-in comes from


@pytest.fixture
def proxied(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TRUSTED_PROXIES": ["10.0.0.0/8"]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "not an address", "10.0.0.1"),
        ("", "198.51.100.1", None),
        ("2001:DB8::1", "", "2001:db8::1"),
    ],
)
@pytest.mark.usefixtures("proxied")
def test_a_forwarded_address_is_believed_from_trusted_proxies_only(
    peer: str, forwarded: str, address: str | None
) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"x-forwarded-for": forwarded})
    assert client_ip(request) == address


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        (AGENT, "Edge · Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox · Linux"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36", "Chrome · Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile Safari/604.1", "Safari · iOS"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Version/17.5 Safari/605.1.15", "Safari · macOS"),
        ("curl/8.7.1", "curl"),
        ("", ""),
        ("\0<script>", ""),
    ],
)
def test_a_device_is_named_by_families_of_browser_and_system(agent: str, label: str) -> None:
    assert client_label(agent) == label


def test_the_tenant_in_force_counts_before_the_users_own(rf: RequestFactory) -> None:
    class Cook:
        def tenant(self) -> str:
            return "sppg-own"

    def bound() -> str | None:
        session = SessionStore()
        session["_auth_user_id"] = "7"
        request = rf.get("/")
        request.session = session
        note_login(None, request, Cook())
        session.save()
        info = sessions.validate_session(session.session_key)
        return info.tenant if info else None

    assert bound() == "sppg-own"
    with use_tenant("sppg-host"):
        assert bound() == "sppg-host"


def test_a_user_with_an_impossible_tenant_is_told_so_at_log_in(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.session = SessionStore()
    with pytest.raises(TenantError, match="is not a tenant id"):
        note_login(None, request, type("Cook", (), {"tenant": "no tenant}"})())


@pytest.mark.parametrize("middleware", [OURS, STOCK])
def test_a_tenant_that_is_a_number_is_that_of_the_session_and_of_the_requests(
    client: Client, user: User, settings: Any, monkeypatch: Any, middleware: str
) -> None:
    """As the foreign key to a kitchen is: ``TENANT_USER_ATTRIBUTE = "kitchen_id"``."""
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE[1:]]
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_USER_ATTRIBUTE": "kitchen_id"}
    monkeypatch.setattr(User, "kitchen_id", 7, raising=False)
    client.force_login(user)
    assert client.get("/").content == b"sari"
    client.get("/in/?as=sari")
    assert client.get("/").content == b"sari"
    assert [info.tenant for info in sessions.sessions_for_tenant("7")] == ["7"]


def test_a_log_in_without_a_request_notes_nothing() -> None:
    note_login(None, None, None)


def test_an_interrupted_save_is_djangos_own_error(rf: RequestFactory) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return count(request)

    request = rf.get("/?meanwhile=1")
    request.COOKIES["sessionid"] = saved_key()
    with pytest.raises(SessionInterrupted):
        SessionMiddleware(view)(request)
