"""Django settings of the test suite: the package, Django's own apps, SQLite and a real server."""

import os
import tempfile
from pathlib import Path

from bergizi_redis import embedded
from bergizi_redis.conf import redis_url_from_env

SERVER_DIRECTORY = Path(tempfile.gettempdir()) / f"bergizi-redis-tests-{os.getuid()}"
REDIS_URL = redis_url_from_env() or embedded.ensure(SERVER_DIRECTORY, persist=False)

SECRET_KEY = "for tests only"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in ("default", "other")}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "bergizi_redis",
    "tests",
]
TAGGED = "bergizi_redis.cache.backend.TaggedRedisCache"
CACHES = {"default": {"BACKEND": TAGGED, "LOCATION": REDIS_URL}}
# For processes of the tests' own; to each test conftest.py gives more. A busy machine may stand still for seconds.
BERGIZI_REDIS: dict[str, object] = {"REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0, "CONNECT_TIMEOUT": 20.0}
SESSION_ENGINE = "bergizi_redis.sessions.backend"
AUTHENTICATION_BACKENDS = ["bergizi_redis.security.backends.LockoutModelBackend"]
MIDDLEWARE = [
    "bergizi_redis.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "bergizi_redis.tenancy.TenantMiddleware",
    "bergizi_redis.security.middleware.LockoutMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.contrib.auth.context_processors.auth"]},
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; the tests that need bcrypt say so
