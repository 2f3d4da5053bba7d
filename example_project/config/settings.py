"""Settings of the example: a network of kitchens (SPPG) in one Django project.

Environment: ``REDIS_URL`` (else an embedded Valkey is started), ``CACHE_REDIS_URL`` (another server for the cache
alone, which may evict), ``REDIS_KEY_PREFIX``, ``DATABASE_URL`` (PostgreSQL;
else SQLite), ``EXAMPLE_DATA_DIR`` (where SQLite and Valkey keep their files), ``DJANGO_DEBUG``, ``DJANGO_SECRET_KEY``,
``PASSWORD_PEPPER``, ``DJANGO_ALLOWED_HOSTS``.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from bergizi_redis import embedded
from bergizi_redis.conf import redis_url_from_env
from config.servers import database, next_database

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("EXAMPLE_DATA_DIR", BASE_DIR))

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "django-insecure-example-project-not-for-production" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("DJANGO_SECRET_KEY must be set when DJANGO_DEBUG=0.")
PEPPER = os.environ.get("PASSWORD_PEPPER", "the pepper of the example, not for production" if DEBUG else "")
if not PEPPER:
    raise ImproperlyConfigured("PASSWORD_PEPPER must be set when DJANGO_DEBUG=0.")
ALLOWED_HOSTS = [host for host in os.environ.get("DJANGO_ALLOWED_HOSTS", "").split(",") if host]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "bergizi_redis",
    "kitchens",
    "accounts",
    "menus",
    "procurement",
    "production",
    "inventory",
    "distribution",
    "hrd",
]

# --- bergizi_redis: everything this project uses of it ---------------------------------------------------------------
REDIS_URL = redis_url_from_env() or embedded.ensure(DATA_DIR / ".valkey")
CACHE_REDIS_URL = os.environ.get("CACHE_REDIS_URL") or REDIS_URL
KEY_PREFIX = os.environ.get("REDIS_KEY_PREFIX", "")  # for a server that this project shares with others
TAGGED = "bergizi_redis.cache.backend.TaggedRedisCache"
CACHES = {
    "default": {"BACKEND": TAGGED, "LOCATION": CACHE_REDIS_URL, "KEY_PREFIX": KEY_PREFIX},
    "sessions": {"BACKEND": TAGGED, "LOCATION": next_database(REDIS_URL), "KEY_PREFIX": KEY_PREFIX},
}
SESSION_ENGINE = "bergizi_redis.sessions.backend"
SESSION_CACHE_ALIAS = "sessions"
AUTHENTICATION_BACKENDS = ["bergizi_redis.security.backends.LockoutModelBackend"]
BERGIZI_REDIS = {
    "KEY_PREFIX": KEY_PREFIX,
    "SECURITY_ALIAS": "sessions",
    "TENANTS": "kitchens.tenants.kitchen_ids",
    "TENANT_FIELD": "sppg",  # a write in one kitchen leaves the others' cached queries warm
    # The demonstration shows how many attempts are left. A real site would not tell a stranger.
    "REVEAL_LOCK": True,
    # The sixth device signs the least recently used one out, and that one is told why.
    "SESSION_LIMIT": 5,
    "SESSION_LIMIT_POLICY": "evict",
    # Who signed in, failed, was locked out or given rights; in Redis, and for longer in the database.
    "AUDIT": True,
    "AUDIT_SINKS": ["logger", "database"],
    "ALERTS": True,
    # Without it the database's hashes are of no use to anybody. Lose it, and nobody can sign in.
    "PASSWORD_PEPPERS": {"2026": PEPPER},
    "PASSWORD_CONTEXT_WORDS": ["dapur", "gizi"],
}
# ---------------------------------------------------------------------------------------------------------------------

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.headers.content_security_policy",
    "bergizi_redis.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "bergizi_redis.tenancy.TenantMiddleware",
    "bergizi_redis.security.middleware.LockoutMiddleware",
    "kitchens.clock.kitchen_clock",
    "kitchens.not_found.NotFoundPage",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": database(os.environ.get("DATABASE_URL"), DATA_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
PASSWORD_HASHERS = [
    "bergizi_redis.security.hashers.PepperedBCryptPasswordHasher",  # one hash takes about 0.3 s
    "django.contrib.auth.hashers.ScryptPasswordHasher",  # what an older demonstration has; moves at sign-in
]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "bergizi_redis.security.validators.PolicyValidator"}]

LANGUAGE_CODE = "id"
LANGUAGES = [("id", _("Indonesian")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Asia/Jakarta"
USE_TZ = True
USE_THOUSAND_SEPARATOR = True
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
