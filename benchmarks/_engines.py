"""The session engines that are measured beside one another.

Each has the middleware and the settings that its own documentation recommends, on the same server with the same
driver. What it does for a request besides keeping data stands beside its name.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _bench import OURS, PREFIX, URL

DJANGO = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
THEIRS = "django_redis.cache.RedisCache"


@dataclass(frozen=True, slots=True)
class Engine:
    engine: str
    does: str  # besides keeping the data
    middleware: tuple[str, str] = (DJANGO, AUTH)
    cache: str = THEIRS
    apps: tuple[str, ...] = ("django.contrib.sessions",)
    needs: tuple[str, ...] = ()  # modules
    database: str | None = None  # sqlite or postgresql; that of the users is another matter
    settings: dict[str, Any] = field(default_factory=dict)


BASELINE = "cache, django-redis"
OUR = "bergizi_redis"
OUR_MIDDLEWARE = "bergizi_redis.sessions.middleware.SessionMiddleware"
OUR_AUTH = "bergizi_redis.sessions.authentication.AuthenticationMiddleware"
OURS_DO = "merges, lists, revokes, ends when idle"
QSESSIONS = ("qsessions.middleware.SessionMiddleware", AUTH)
ENGINES = {
    OUR: Engine("bergizi_redis.sessions.backend", OURS_DO, (OUR_MIDDLEWARE, OUR_AUTH), OURS, ("bergizi_redis",)),
    f"{OUR}, Django's auth": Engine("bergizi_redis.sessions.backend", f"{OURS_DO}; not its AuthenticationMiddleware",
                                    (OUR_MIDDLEWARE, AUTH), OURS, ("bergizi_redis",)),
    BASELINE: Engine("django.contrib.sessions.backends.cache", "nothing more"),
    "cached_db, django-redis": Engine("django.contrib.sessions.backends.cached_db", "writes a row", database="sqlite"),
    "db, SQLite": Engine("django.contrib.sessions.backends.db", "a row", database="sqlite"),
    "db, PostgreSQL": Engine("django.contrib.sessions.backends.db", "a row", needs=("psycopg", "psycopg_pool"),
                             database="postgresql"),
    "qsessions, db": Engine("qsessions.backends.db", "a row with user, IP and agent", QSESSIONS, apps=("qsessions",),
                            needs=("qsessions",), database="sqlite"),
    "qsessions, cached_db": Engine("qsessions.backends.cached_db", "writes a row with user, IP and agent", QSESSIONS,
                                   apps=("qsessions",), needs=("qsessions",), database="sqlite"),
    "django-redis-sessions": Engine("redis_sessions.session", "nothing more", needs=("redis_sessions",), settings={
        "SESSION_REDIS": {"url": URL, "prefix": f"{PREFIX}-sessions", "socket_timeout": 1}}),
}  # fmt: skip


def missing(engine: Engine, has_postgresql: bool) -> str | None:
    """Why it cannot be measured here."""
    if engine.database == "postgresql" and not has_postgresql:
        return "no PostgreSQL here (apt-get install postgresql)"
    absent = [module for module in engine.needs if find_spec(module) is None]
    return f"{absent[0]} is not installed; pip install 'bergizi-redis[bench]'" if absent else None


def database(name: str, place: str, way: str) -> dict[str, Any]:
    """Connections that last; under ASGI, where each request has a thread of its own, a pool. SQLite logs ahead."""
    if ENGINES[name].database == "postgresql":
        pool: dict[str, Any] = {"OPTIONS": {"pool": {"min_size": 16, "max_size": 32}}}
        lasts = pool if way == "async" else {"CONN_MAX_AGE": None}
        return {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": "127.0.0.1",
                "PORT": place, **lasts}  # fmt: skip
    options = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(place, f"{name}, {way}.sqlite3"),
            "CONN_MAX_AGE": None if way == "sync" else 0, "OPTIONS": options}  # fmt: skip
