"""``AuthenticationMiddleware`` of an async site: the user is there, and no thread was needed for it."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.middleware import AuthenticationMiddleware as DjangoAuthenticationMiddleware
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

OURS = "bergizi_redis.sessions.authentication.AuthenticationMiddleware"
DJANGO = "django.contrib.auth.middleware.AuthenticationMiddleware"


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username() or "nobody")


async def awhoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await request.auser()).get_username() or "nobody")


urlpatterns = [path("whoami", whoami), path("awhoami", awhoami)]


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [OURS if name == DJANGO else name for name in settings.MIDDLEWARE]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which Django's ``process_request`` runs."""
    threads: list[int] = []
    django = DjangoAuthenticationMiddleware.process_request

    def noted(self: Any, request: HttpRequest) -> None:
        threads.append(threading.get_ident())
        django(self, request)

    monkeypatch.setattr(DjangoAuthenticationMiddleware, "process_request", noted)
    return threads


def test_an_async_request_is_given_its_user_without_a_thread(asked: list[int]) -> None:
    """Red with Django's own in its place."""

    async def visit() -> bytes:
        return bytes((await AsyncClient().get("/awhoami")).content)

    assert asyncio.run(visit()) == b"nobody"
    assert asked == [threading.get_ident()]


@pytest.mark.django_db
def test_who_is_logged_in_is_the_user_of_sync_views() -> None:
    client = Client()
    client.force_login(User.objects.create(username="budi"))
    assert client.get("/whoami").content == b"budi"


@pytest.mark.django_db
def test_who_is_logged_in_is_the_user_of_async_views() -> None:
    user = User.objects.create(username="budi")

    async def visit() -> bytes:
        client = AsyncClient()
        await client.aforce_login(user)
        return bytes((await client.get("/awhoami")).content)

    assert async_to_sync(visit)() == b"budi"


def test_the_system_checks_take_it_for_djangos() -> None:
    call_command("check", fail_level="WARNING")
