"""A site with a log-in form and one of the packages that bound guessing, in a process of its own.

``python _logins.py NAME DIRECTORY`` reads commands from standard input, a JSON list a line, and answers each with
a line. Settings of all: the same server through django-redis, ``LIMIT`` failures an account, real bcrypt (its
cost is in BENCH_COST), SQLite with a write-ahead log, sessions in cookies (so that what is counted is the guard's).
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from _bench import PATIENCE, PREFIX, URL

LIMIT = 5
RIGHT, WRONG = "the right one, 1937", "not the right one"
REDIS = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL, "KEY_PREFIX": PREFIX}
MODEL = "django.contrib.auth.backends.ModelBackend"


@dataclass(frozen=True, slots=True)
class Peer:
    """What a package has its users put into their settings. ``view``: where its log-in form comes from."""

    package: str
    apps: tuple[str, ...] = ()
    backends: tuple[str, ...] = (MODEL,)
    middleware: tuple[str, ...] = ()
    view: str = "django"
    settings: dict[str, Any] = field(default_factory=dict)


AXES: dict[str, Any] = {
    "package": "axes",
    "apps": ("axes",),
    "backends": ("axes.backends.AxesStandaloneBackend", MODEL),
    "middleware": ("axes.middleware.AxesMiddleware",),
}
AXES_SETTINGS = {"AXES_FAILURE_LIMIT": LIMIT, "AXES_LOCKOUT_PARAMETERS": ["username"], "AXES_VERBOSE": False}
PEERS = {
    "bergizi_redis": Peer(
        "bergizi_redis",
        ("bergizi_redis",),
        ("bergizi_redis.security.backends.LockoutModelBackend",),
        ("bergizi_redis.security.middleware.LockoutMiddleware",),
        settings={"BERGIZI_REDIS": {"KEY_PREFIX": PREFIX, "LOCKOUT_ATTEMPTS": LIMIT, **PATIENCE}},
    ),
    "django-axes, cache": Peer(
        **AXES, settings={**AXES_SETTINGS, "AXES_HANDLER": "axes.handlers.cache.AxesCacheHandler"}
    ),
    "django-axes, database": Peer(**AXES, settings=AXES_SETTINGS),
    "django-defender": Peer(
        "defender",
        ("defender",),
        middleware=("defender.middleware.FailedLoginMiddleware",),
        settings={
            "DEFENDER_REDIS_URL": URL,
            "DEFENDER_CACHE_PREFIX": f"{PREFIX}-defender",
            "DEFENDER_LOGIN_FAILURE_LIMIT": LIMIT,
            "DEFENDER_DISABLE_IP_LOCKOUT": True,
            "DEFENDER_STORE_ACCESS_ATTEMPTS": False,
        },
    ),
    "django-allauth": Peer(
        "allauth",
        ("allauth", "allauth.account"),
        ("allauth.account.auth_backends.AuthenticationBackend",),
        ("allauth.account.middleware.AccountMiddleware",),
        "allauth",
        {
            "ACCOUNT_LOGIN_METHODS": {"username"},
            "ACCOUNT_SIGNUP_FIELDS": ["username*", "password1*"],
            "ACCOUNT_EMAIL_VERIFICATION": "none",
            "ACCOUNT_RATE_LIMITS": {"login": False, "login_failed": f"{LIMIT}/30m/key"},
        },
    ),
    "DRF, throttle": Peer(
        "rest_framework",
        ("rest_framework",),
        view="rest_framework",
        settings={"REST_FRAMEWORK": {"DEFAULT_THROTTLE_RATES": {"login": f"{LIMIT}/hour"}}},
    ),
    "django-ratelimit": Peer("django_ratelimit", ("django_ratelimit",), view="ratelimit"),
}


def configure(peer: Peer, directory: Path) -> None:
    import django
    from django.conf import settings

    urls = sys.modules["bench_urls"] = ModuleType("bench_urls")
    urls.urlpatterns = []  # type: ignore[attr-defined]  # filled when the apps are ready
    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages", "django.contrib.sessions",
            *peer.apps,
        ],
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="bench_urls",
        LOGIN_REDIRECT_URL="/",
        CACHES={"default": REDIS},
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MESSAGE_STORAGE="django.contrib.messages.storage.cookie.CookieStorage",
        PASSWORD_HASHERS=["_counted.CountedHasher"],
        AUTHENTICATION_BACKENDS=list(peer.backends),
        DATABASES={"default": {
            "ENGINE": "django.db.backends.sqlite3", "NAME": directory / "db.sqlite3",
            "OPTIONS": {"timeout": 60, "init_command": "PRAGMA journal_mode=WAL;", "transaction_mode": "IMMEDIATE"},
        }},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            *peer.middleware,
        ],
        TEMPLATES=[{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": ["django.template.context_processors.request"],
                "loaders": [("django.template.loaders.cached.Loader", [
                    ("django.template.loaders.locmem.Loader", {"registration/login.html": "{{ form.errors }}"}),
                    "django.template.loaders.app_directories.Loader",
                ])],
            },
        }],
        LOGGING_CONFIG=None,
        **peer.settings,
    )  # fmt: skip
    django.setup()
    logging.disable()  # of all alike
    urls.urlpatterns = routes(peer.view)  # type: ignore[attr-defined]


def routes(view: str) -> list[Any]:
    from django.contrib.auth.views import LoginView
    from django.http import HttpResponse
    from django.urls import include, path

    form: Callable[..., Any] = LoginView.as_view()
    if view == "allauth":
        return [path("", include("allauth.account.urls")), path("", lambda request: HttpResponse("home"))]
    if view == "rest_framework":
        form = api_view()
    elif view == "ratelimit":
        from django_ratelimit.decorators import ratelimit

        form = ratelimit(key="post:username", rate=f"{LIMIT}/h", method="POST", block=True)(form)
    return [path("login/", form, name="login"), path("", lambda request: HttpResponse("home"))]


def api_view() -> Any:
    from django.contrib.auth import authenticate
    from rest_framework.response import Response
    from rest_framework.throttling import ScopedRateThrottle
    from rest_framework.views import APIView

    class Login(APIView):
        throttle_classes = [ScopedRateThrottle]
        throttle_scope = "login"

        def post(self, request: Any) -> Response:
            user = authenticate(request, username=request.data["username"], password=request.data["password"])
            return Response(status=200 if user else 400)

    return Login.as_view()


def attempt(user: str, password: str, address: str) -> int:
    """The status of what the form answers to one attempt, in a browser without cookies."""
    from django.test import Client

    given = {"username": user, "login": user, "password": password}
    return int(Client(raise_request_exception=False).post("/login/", given, REMOTE_ADDR=address).status_code)


def storm(user: str, address: str, attempts: int, workers: int) -> dict[str, Any]:
    """Wrong passwords, all at once: how many were checked, and the milliseconds of each attempt."""
    import _counted
    from django.db import connection

    def guess(_: int) -> float:
        began = time.perf_counter()
        try:
            attempt(user, WRONG, address)
        finally:
            connection.close()
        return (time.perf_counter() - began) * 1000

    before, began = _counted.checks(), time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        told = list(pool.map(guess, range(attempts)))
    return {"checks": _counted.checks() - before, "seconds": time.perf_counter() - began, "ms": told}


def attempts(user: str, password: str, address: str, times: int) -> dict[str, Any]:
    """One after the other: milliseconds of each, and what the median of them asked; others may use the server too."""
    import _counted

    told: list[float] = []
    asked: list[Counter[str]] = []
    for _ in range(times):
        before = _counted.checks()
        with counted() as one:
            began = time.perf_counter()
            attempt(user, password, address)
            told.append((time.perf_counter() - began) * 1000)
        one["checks"] = _counted.checks() - before
        asked.append(one)
    return {"ms": told, **{name: median(one[name] for one in asked) for name in asked[0]}}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Commands, round trips (reads of the server from its sockets) and SQL statements in the block."""
    import redis
    from django.db import connection

    found: Counter[str] = Counter(commands=0, trips=0, sql=0)

    def count(execute: Any, *given: Any) -> Any:
        found["sql"] += 1
        return execute(*given)

    with redis.Redis.from_url(URL) as server, connection.execute_wrapper(count):
        server.info("stats")
        before: Any = server.info("stats")
        yield found
        after: Any = server.info("stats")
    found["commands"] = after["total_commands_processed"] - before["total_commands_processed"] - 1
    found["trips"] = after["total_reads_processed"] - before["total_reads_processed"] - 1


def prepare(*users: str) -> None:
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    encoded = make_password(RIGHT)
    User.objects.bulk_create([User(username=user, password=encoded) for user in users])


def main() -> None:
    name, directory = sys.argv[1], Path(sys.argv[2])
    configure(PEERS[name], directory)
    does: dict[str, Callable[..., Any]] = {"prepare": prepare, "storm": storm, "attempts": attempts}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a package prints is no answer
    for line in sys.stdin:
        word, *given = json.loads(line)
        print(json.dumps(does[word](*given)), file=answers)


if __name__ == "__main__":
    main()
