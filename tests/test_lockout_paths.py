"""Every way in is counted once, for one account, whatever name it goes by and whatever door it comes through.

Seen red: without the comparison of credentials (each backend paid), where a made-up host name has a tenant of its own,
where who is signed in has theirs, where a log-in of another user or request refunds, and where a resolver's answer is
not used for the status.
"""

import asyncio
import json
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, alogin, authenticate, login
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.security import lockout
from bergizi_redis.security.backends import LockoutMixin, LockoutModelBackend, guard
from bergizi_redis.security.resolvers import username_or_email
from tests import passwordcount
from tests.moments import left_of
from tests.passwordcount import RIGHT

Commands = Callable[[], AbstractContextManager[list[str]]]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]
READY_MADE = "bergizi_redis.security.backends.LockoutModelBackend"
RESOLVER = "bergizi_redis.security.resolvers.username_or_email"


class Directory(BaseBackend):
    """As an LDAP backend: no user model, its own names."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        return User(pk=7, username=str(username)) if password == "in the directory" else None


GuardedDirectory = guard(f"{__name__}.Directory")


class EmailBackend(BaseBackend):
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        user = User.objects.filter(email=username).first()
        return user if user and user.check_password(password) else None


GuardedEmail = guard(EmailBackend)


class Elsewhere(BaseBackend):
    """Not guarded, as a project's own that it has left in its settings."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        return User.objects.filter(username=username).first() if password == "in the directory" else None


@csrf_exempt
def token(request: HttpRequest) -> HttpResponse:
    """As JWT packages do: JSON in, the request and credentials to authenticate(), 401 when there is nobody."""
    sent = json.loads(request.body)
    user = authenticate(request=request, username=sent["username"], password=sent["password"])
    return JsonResponse({"access": "…"}) if user else JsonResponse({"detail": "No active account found"}, status=401)


@csrf_exempt
async def atoken(request: HttpRequest) -> HttpResponse:
    sent = json.loads(request.body)
    user = await aauthenticate(request=request, username=sent["username"], password=sent["password"])
    return JsonResponse({"access": "…"}) if user else JsonResponse({"detail": "No active account found"}, status=401)


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    """Hands no request on."""
    sent = json.loads(request.body)
    return JsonResponse({}, status=200 if authenticate(**sent) else 401)


def enter(request: HttpRequest) -> HttpResponse:
    """As log-in forms do: with a session, for whom ``as`` says."""
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is not None:
        login(request, User.objects.get(username=request.POST.get("as", user.get_username())), READY_MADE)
    return HttpResponse("in" if user else "wrong")


async def aenter(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is not None:
        await alogin(request, await User.objects.aget(username=request.POST.get("as", user.get_username())), READY_MADE)
    return HttpResponse("in" if user else "wrong")


urlpatterns = [
    path("token/", token), path("atoken/", atoken), path("bare/", bare), path("enter/", enter),
    path("aenter/", aenter),
]  # fmt: skip


@pytest.fixture
def who() -> str:
    return f"nisa-{uuid.uuid4().hex}"


@pytest.fixture
def user(who: str, settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingHasher"]
    made = User.objects.create_user(who, email=f"{who}@gizi.example", password=RIGHT)
    passwordcount.reset()
    return made


def use(settings: Any, **given: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **given}


def post(url: str, who: str, password: str, client: Client | None = None, **options: Any) -> Any:
    sent = {"data": {"username": who, "password": password}, "content_type": "application/json", **options}
    return (client or Client()).post(url, **sent)


# Doors


@pytest.mark.parametrize("url", ["/token/", "/atoken/", "/bare/"])
def test_a_token_view_answers_401_five_times_and_then_429_in_json(user: User, url: str) -> None:
    answers = [post(url, user.username, "wrong") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[-1].json()["code"] == "login_refused"
    assert int(answers[-1].headers["Retry-After"]) == left_of(1800)
    assert post(url, user.username, RIGHT).status_code == 429
    assert passwordcount.checks() == 5


def test_under_asgi_too(user: User) -> None:
    async def main() -> list[int]:
        sent = {"username": user.username, "password": "wrong"}
        return [
            (await AsyncClient().post("/atoken/", sent, content_type="application/json")).status_code for _ in range(7)
        ]

    assert async_to_sync(main)() == [401] * 5 + [429] * 2


@pytest.mark.parametrize("url", ["/token/", "/bare/"])
def test_the_network_counts_whether_or_not_the_view_hands_its_request_on(
    user: User, who: str, settings: Any, url: str
) -> None:
    use(settings, NETWORK_LOCKOUT={"address": (3, 900)})
    answers = [post(url, f"{who}-{n}", "wrong", REMOTE_ADDR="203.0.113.5").status_code for n in range(5)]
    assert answers == [401] * 3 + [429] * 2


def test_without_a_request_only_the_account_counts(user: User, settings: Any) -> None:
    use(settings, NETWORK_LOCKOUT={"address": (1, 900)})
    for _ in range(7):
        authenticate(username=user.username, password="wrong")
    assert passwordcount.checks() == 5


def test_a_request_that_is_none_of_djangos_is_no_trouble(user: User) -> None:
    for request in (SimpleNamespace(), SimpleNamespace(META={}), SimpleNamespace(META={"REMOTE_ADDR": "nonsense"})):
        with lockout.guard_login(user.username, request=request) as attempt:
            attempt.succeeded()
        assert attempt.ip is None


# Backends


def test_any_backend_is_guarded_by_its_path(who: str, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.GuardedDirectory"]
    assert issubclass(GuardedDirectory, LockoutMixin)
    assert issubclass(GuardedDirectory, Directory)
    for _ in range(5):
        authenticate(username=who, password="wrong")
    assert authenticate(username=who, password="in the directory") is None
    assert lockout.is_account_locked(who).locked


def test_a_guarded_one_is_guarded_once() -> None:
    assert guard(LockoutModelBackend) is LockoutModelBackend
    assert guard("django.contrib.auth.backends.ModelBackend").__mro__[1:3] == (LockoutMixin, ModelBackend)
    with pytest.raises(ImportError):
        guard("nowhere.Backend")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_three_backends_are_one_debit_and_one_round_trip(
    user: User, settings: Any, commands: Commands, is_async: bool
) -> None:
    ready_made = "bergizi_redis.security.backends.LockoutModelBackend"
    settings.AUTHENTICATION_BACKENDS = [ready_made, f"{__name__}.GuardedDirectory", f"{__name__}.GuardedEmail"]

    def log_in(password: str) -> Any:
        credentials: Any = {"username": user.username, "password": password}
        return async_to_sync(aauthenticate)(**credentials) if is_async else authenticate(**credentials)

    log_in("wrong")
    with commands() as log:
        assert log_in("wrong") is None
    assert [line.split()[0] for line in log if "security:" in line] == ["EVALSHA"]
    assert lockout.is_account_locked(user.username).failures == 2
    assert log_in("in the directory").pk == 7
    assert lockout.is_account_locked(user.username).failures == 0


# Names


def test_without_a_resolver_name_and_address_are_two_accounts(user: User) -> None:
    lockout.record_login_attempt(user.email, success=False)
    assert lockout.is_account_locked(user.username).failures == 0


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_with_one_they_are_one(user: User, settings: Any, is_async: bool) -> None:
    use(settings, IDENTIFIER_RESOLVER=RESOLVER)
    settings.AUTHENTICATION_BACKENDS = [
        "bergizi_redis.security.backends.LockoutModelBackend", f"{__name__}.GuardedEmail",
    ]  # fmt: skip

    async def one(name: str) -> None:
        await aauthenticate(username=name, password="wrong")

    for number in range(8):
        name = (user.username, user.email, user.email.upper())[number % 3]
        async_to_sync(one)(name) if is_async else authenticate(username=name, password="wrong")
    for name in (user.username, user.email):
        assert lockout.is_account_locked(name).locked
    assert [row.identifier for row in lockout.locked_accounts()] == ["n…"]
    assert lockout.unlock_account(user.email) is True
    assert not lockout.is_account_locked(user.username).locked


def test_an_address_by_name_goes_after_the_name_of_another(user: User, who: str) -> None:
    named_so = User.objects.create_user(user.email, email=f"other-{who}@gizi.example", password="x")
    assert username_or_email(user.email) == named_so.username
    assert username_or_email(user.username) == user.username


def test_an_address_of_two_is_nobodys(who: str) -> None:
    for number in (1, 2):
        User.objects.create_user(f"{who}-{number}", email=f"shared-{who}@gizi.example", password="x")
    assert username_or_email(f"shared-{who}@gizi.example") is None


@pytest.mark.parametrize("name", ["", "\0", "nobody", "x" * 1024, "'; --", "%", "ß"])
def test_a_name_of_nobody_is_asked_for_as_any_other(user: User, name: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert username_or_email(name) is None
    with django_assert_num_queries(1):
        assert username_or_email(user.username)


def test_an_unknown_name_locks_under_a_resolver_too(who: str, settings: Any) -> None:
    use(settings, IDENTIFIER_RESOLVER=RESOLVER)
    for _ in range(5):
        lockout.record_login_attempt(who, success=False)
    assert lockout.is_account_locked(who).locked


def test_a_resolver_that_is_none_is_said_by_name(who: str, settings: Any) -> None:
    use(settings, IDENTIFIER_RESOLVER="nowhere.resolver")
    with pytest.raises(ConfigurationError, match="IDENTIFIER_RESOLVER"):
        lockout.is_account_locked(who)


# Backends that are not guarded


@pytest.mark.parametrize("url", ["/enter/", "/aenter/"])
def test_what_a_backend_behind_accepts_is_no_failure_once_somebody_is_logged_in(
    user: User, settings: Any, url: str
) -> None:
    settings.AUTHENTICATION_BACKENDS = [READY_MADE, f"{__name__}.Elsewhere"]
    sent = {"username": user.username.upper(), "password": "wrong"}
    for _ in range(4):
        assert Client().post(url, sent).content == b"wrong"
    for _ in range(3):
        assert Client().post(url, {"username": user.username, "password": "in the directory"}).content == b"in"
    assert lockout.is_account_locked(user.username).failures == 0


@pytest.mark.parametrize("url", ["/enter/", "/aenter/"])
def test_a_log_in_of_somebody_else_refunds_nothing(user: User, settings: Any, url: str) -> None:
    settings.AUTHENTICATION_BACKENDS = [READY_MADE, f"{__name__}.Elsewhere"]
    other = User.objects.create_user(f"{user.username}-2")
    sent = {"username": user.username, "password": "in the directory", "as": other.username}
    assert Client().post(url, sent).content == b"in"
    assert lockout.is_account_locked(user.username).failures == 1


def test_nor_does_one_of_another_request(user: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [READY_MADE]
    requests = [RequestFactory().post("/enter/") for _ in range(2)]
    assert authenticate(requests[0], username=user.username, password="wrong") is None
    user_logged_in.send(User, request=requests[1], user=user)
    assert lockout.is_account_locked(user.username).failures == 1
    user_logged_in.send(User, request=requests[0], user=user)
    assert lockout.is_account_locked(user.username).failures == 0


# Tenants


def test_a_tenant_that_the_client_names_by_its_host_has_no_count_of_its_own(user: User, settings: Any) -> None:
    """Else each made-up host name would be five more guesses."""
    use(settings, TENANT_RESOLVER="bergizi_redis.tenancy.tenant_from_host", TENANT_DOMAIN="example.org")
    settings.ALLOWED_HOSTS = [".example.org"]
    answers = [
        post("/token/", user.username, "wrong", headers={"host": f"sppg-{n}.example.org"}).status_code for n in range(8)
    ]
    assert answers == [401] * 5 + [429] * 3


@pytest.mark.parametrize("url", ["/token/", "/atoken/"])
def test_nor_has_that_of_who_is_signed_in(user: User, settings: Any, url: str) -> None:
    """Else an account at each tenant would be five more guesses at everybody's."""
    use(settings, TENANT_USER_ATTRIBUTE="last_name")
    for n in range(2):
        strangers = Client()
        strangers.force_login(User.objects.create_user(f"{user.username}-{n}", last_name=f"sppg-{n}"))
        answers = [post(url, user.username, "wrong", strangers).status_code for _ in range(4)]
        assert answers == ([401] * 4 if n == 0 else [401] + [429] * 3)
    assert lockout.is_account_locked(user.username, tenant="@").locked


def test_nor_one_that_it_names_in_a_header(user: User, settings: Any) -> None:
    use(settings, TENANT_RESOLVER="bergizi_redis.tenancy.tenant_from_header", TRUSTED_PROXIES=["10.0.0.0/8"])
    answers = [post("/token/", user.username, "wrong", headers={"x-tenant": f"sppg-{n}"}).status_code for n in range(8)]
    assert answers == [401] * 5 + [429] * 3


def test_tasks_of_one_request_share_no_debit(user: User) -> None:
    """A debit is shared by backends of one ``authenticate()``, not by two calls with the same password."""

    async def main() -> None:
        await asyncio.gather(*(aauthenticate(username=user.username, password="wrong") for _ in range(3)))

    async_to_sync(main)()
    assert lockout.is_account_locked(user.username).failures == 3
