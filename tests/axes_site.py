"""A project on django-axes whose counting is this package's: run by ``test_axes``, in a process of its own, for
django-axes listens to every log-in of the process that has it installed. Prints what it saw, as JSON."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.conf import settings

SCENARIO, REDIS_URL, PREFIX = sys.argv[1:4]
GUARDED = "bergizi_redis.contrib.axes.LockoutBackend"
MODEL = "django.contrib.auth.backends.ModelBackend"

settings.configure(
    SECRET_KEY="for tests only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="tests.axes_site",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:axes?mode=memory&cache=shared"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "axes",
        "bergizi_redis",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "axes.middleware.AxesMiddleware",
        "bergizi_redis.security.middleware.LockoutMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    CACHES={"default": {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": REDIS_URL}},
    BERGIZI_REDIS={"KEY_PREFIX": PREFIX, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0, "DEVICE_COOKIE": ""},
    AUTHENTICATION_BACKENDS=["axes.backends.AxesStandaloneBackend", MODEL if SCENARIO == "after" else GUARDED],
    PASSWORD_HASHERS=["tests.passwordcount.CountingHasher"],
    AXES_HANDLER="bergizi_redis.contrib.axes.LockoutHandler",
    AXES_FAILURE_LIMIT=5,
    AXES_COOLOFF_TIME=1,
    AXES_IP_WHITELIST=["192.0.2.7"],
    AXES_NEVER_LOCKOUT_WHITELIST=True,
    AXES_VERBOSE=False,
    LOGGING_CONFIG=None,
)
if __name__ == "__main__":
    sys.modules["tests.axes_site"] = sys.modules["__main__"]  # it is its own URLconf
    django.setup()

from axes.decorators import axes_dispatch  # noqa: E402
from axes.signals import user_locked_out  # noqa: E402
from axes.utils import reset  # noqa: E402
from django.contrib.auth import authenticate, login  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import Client, RequestFactory  # noqa: E402
from django.urls import path  # noqa: E402

from bergizi_redis.security import lockout  # noqa: E402
from tests import passwordcount  # noqa: E402


def sign_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return HttpResponse("wrong")
    login(request, user)
    return HttpResponse("welcome")


def api(request: HttpRequest) -> HttpResponse:
    """As an API does: it checks the password, and logs nobody in."""
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    return HttpResponse("data" if user else "wrong")


@axes_dispatch  # type: ignore[untyped-decorator]
def decorated(request: HttpRequest) -> HttpResponse:
    return HttpResponse("form")


urlpatterns = [path("sign-in/", sign_in), path("api/", api), path("decorated/", decorated)]


def post(where: str, password: str, username: str = "budi", **meta: Any) -> tuple[int, str]:
    answer = Client().post(where, {"username": username, "password": password}, **meta)
    return answer.status_code, answer.content.decode()[:20]


def form() -> dict[str, Any]:
    heard: list[str] = []

    def hear(sender: Any, username: str, **kwargs: Any) -> None:
        heard.append(username)

    user_locked_out.connect(hear)
    wrong = [post("/sign-in/", "wrong") for _ in range(5)]
    passwordcount.reset()
    locked = [post("/sign-in/", passwordcount.RIGHT), post("/decorated/", "")]
    return {
        "wrong": wrong,
        "locked": locked,
        "hashes": passwordcount.checks(),
        "heard": heard,
        "whitelisted": post("/sign-in/", passwordcount.RIGHT, REMOTE_ADDR="192.0.2.7"),
        "reset": [reset(username="budi"), reset(username="budi")],
        "again": [post("/decorated/", ""), post("/sign-in/", passwordcount.RIGHT)],
    }


def many() -> dict[str, Any]:
    """Successes without ``login()``, which are no failures; and parallel guesses, of which five are looked at."""
    successes = [post("/api/", passwordcount.RIGHT)[1] for _ in range(8)]
    request = RequestFactory().get("/")
    request.META["REMOTE_ADDR"] = "192.0.2.1"
    passwordcount.reset()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda number: _guess(f"guess {number}"), range(60)))
    return {"successes": successes, "hashes": passwordcount.checks(), "in": sum(answers)}


def _guess(password: str) -> bool:
    from django.db import connection

    request = RequestFactory().post("/sign-in/", {"username": "budi", "password": password})
    try:
        return authenticate(request, username="budi", password=password) is not None
    finally:
        connection.close()


def after() -> dict[str, Any]:
    """Without a guarded backend: counted after the check."""
    wrong = [post("/sign-in/", "wrong")[0] for _ in range(3)]
    right = post("/sign-in/", passwordcount.RIGHT)[1]
    forgotten = lockout.is_account_locked("budi").failures
    return {
        "wrong": wrong,
        "right": right,
        "forgotten": forgotten,
        "locked": [post("/sign-in/", "wrong")[0] for _ in range(6)],
        "reset": [reset(), reset()],
        "again": post("/sign-in/", passwordcount.RIGHT)[1],
    }


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    User.objects.create_user("budi", password=passwordcount.RIGHT)
    scenarios = {"form": form, "many": many, "after": after}
    sys.stdout.write(json.dumps(scenarios[SCENARIO]()))
