"""Where sessions were kept before: Django's db, cached_db and cache, django-redis-sessions, or any other engine.

``"django.contrib.sessions.backends.cache@old"`` names an engine and, behind the @, the alias of CACHES that it used
where that is another one than ``SESSION_CACHE_ALIAS`` is today. Of django-redis-sessions (``redis_sessions.session``)
the package need not be installed: an alias stands for its server, and ``SESSION_REDIS["prefix"]`` is still read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.db import Error
from django.utils import timezone
from redis.exceptions import RedisError

from bergizi_redis.connections import client
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable

OURS = "bergizi_redis.sessions.backend"
REDIS_SESSIONS = "redis_sessions.session"
CHUNK = 1000  # rows or keys asked for at a time


@dataclass(frozen=True, slots=True)
class Found:
    """A session of the old store, and the ms that it has left."""

    data: dict[str, Any]
    life: int


@contextmanager
def outage_of(engine: str) -> Iterator[None]:
    """An old store that cannot answer is an outage, and not "no session"."""
    try:
        yield
    except (RedisError, Error, OSError) as error:
        raise RedisUnavailable(
            f"The old session store {engine!r} (SESSION_MOVE_FROM) cannot be asked; sessions and cookies are kept. "
            f"{type(error).__name__}: {error}"
        ) from error


class Source:
    """Any engine, by Django's own API: it does not tell how long a session has left, nor which there are."""

    can_list = False

    def __init__(self, engine: str, alias: str | None) -> None:
        self.engine, self.alias = engine, alias

    def store(self, key: str | None) -> Any:
        store = import_module(self.engine).SessionStore(key)
        if self.alias:
            store._cache = caches[self.alias]
        return store

    def find(self, key: str) -> Found | None:
        store = self.store(key)
        data = store.load()
        if not data or store.session_key is None:
            return None
        return Found(data, 1000 * int(store.get_expiry_age(expiry=data.get("_session_expiry"))))

    def end(self, key: str) -> None:
        self.store(key).delete(key)

    def count(self) -> int:
        return 0

    def keys(self, since: float = 0) -> Iterator[tuple[str, float]]:
        """Keys and where to go on from; ``since`` is such a place, 0 where there is none."""
        raise ConfigurationError(
            f"The sessions of {self.engine!r} cannot be listed, so they cannot be imported at once. Each moves by "
            "itself at its next request: set BERGIZI_REDIS['SESSION_MOVE_FROM'] and wait."
        )


class Rows(Source):
    """db and cached_db: the table is the truth, also where a cache stands before it."""

    can_list = True

    def _live(self) -> Any:
        return self.store(None).model.objects.filter(expire_date__gt=timezone.now())

    def find(self, key: str) -> Found | None:
        row = self._live().filter(session_key=key).first()
        data = self.store(key).decode(row.session_data) if row else None
        if row is None or not data:
            return None
        return Found(data, max(1, int(1000 * (_aware(row.expire_date) - datetime.now(UTC)).total_seconds())))

    def count(self) -> int:
        return int(self._live().count())

    def keys(self, since: float = 0) -> Iterator[tuple[str, float]]:
        """By expiry, so that the place to go on from gives no key away."""
        rows = self._live().order_by("expire_date", "session_key").values_list("session_key", "expire_date")
        start = datetime.fromtimestamp(since, UTC)
        for key, expires in rows.filter(expire_date__gte=_as_stored(start)).iterator(CHUNK):
            yield key, _aware(expires).timestamp()


class Entries(Source):
    """The cache engine. Told apart from other keys by its prefix; listed where the cache is django-redis's or ours."""

    can_list = True

    def find(self, key: str) -> Found | None:
        store = self.store(key)
        entry = store.cache_key_prefix + key
        data = store._cache.get(entry)
        if not isinstance(data, dict) or not data:
            return None
        left = store._cache.ttl(entry) if hasattr(store._cache, "ttl") else None
        age = left or store.get_expiry_age(expiry=data.get("_session_expiry"))
        return Found(data, 1000 * int(age))

    def keys(self, since: float = 0) -> Iterator[tuple[str, float]]:
        store = self.store(None)
        if not hasattr(store._cache, "iter_keys"):
            yield from super().keys(since)
        for entry in store._cache.iter_keys(f"{store.cache_key_prefix}*", itersize=CHUNK):
            yield entry.removeprefix(store.cache_key_prefix), 0.0


class RedisSessions(Source):
    """django-redis-sessions: a string for each session, ``<prefix>:<key>`` or the key alone, in Django's encoding."""

    can_list = True

    @property
    def _client(self) -> Any:
        return client(self.alias or settings.SESSION_CACHE_ALIAS)

    @property
    def _prefix(self) -> str:
        prefix = getattr(settings, "SESSION_REDIS", {}).get("prefix", "")
        return f"{prefix}:" if prefix else ""

    def find(self, key: str) -> Found | None:
        name = self._prefix + key
        pipeline = self._client.pipeline(transaction=False)
        raw, left = pipeline.get(name).pttl(name).execute()
        data = SessionDecoder().decode(raw.decode("utf-8", "replace")) if raw else None
        return Found(data, int(left)) if data and int(left) > 0 else None

    def end(self, key: str) -> None:
        self._client.delete(self._prefix + key)

    def keys(self, since: float = 0) -> Iterator[tuple[str, float]]:
        if not self._prefix:
            yield from super().keys(since)  # without a prefix nothing tells them from other keys
        for name in self._client.scan_iter(match=f"{self._prefix}*", count=CHUNK):
            yield name.decode().removeprefix(self._prefix), 0.0


class SessionStore(SessionBase):
    """Decodes alone. Its name is part of the salt of Django's signature, and every engine's is called so."""


SessionDecoder = SessionStore

KINDS: dict[str, type[Source]] = {
    "django.contrib.sessions.backends.db": Rows,
    "django.contrib.sessions.backends.cached_db": Rows,
    "django.contrib.sessions.backends.cache": Entries,
    REDIS_SESSIONS: RedisSessions,
}


def source_of(path: str) -> Source:
    """The source that ``engine`` or ``engine@alias`` names. Raises ``ConfigurationError``."""
    engine, _, alias = path.partition("@")
    if alias and alias not in settings.CACHES:
        known = ", ".join(map(repr, settings.CACHES))
        raise ConfigurationError(f"{path!r} names CACHES[{alias!r}], which is no alias. CACHES has {known}.")
    if engine == OURS:
        raise ConfigurationError(f"{engine!r} is this package's own engine; SESSION_MOVE_FROM names the one of before.")
    if KINDS.get(engine) is Rows and not apps.is_installed("django.contrib.sessions"):
        raise ConfigurationError(f"{engine!r} needs its table: keep 'django.contrib.sessions' in INSTALLED_APPS.")
    if engine not in KINDS:
        try:
            import_module(engine).SessionStore  # noqa: B018 – whether there is one
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"The session engine {engine!r} (SESSION_MOVE_FROM, or --from) cannot be used: {error}. Give what "
                f"SESSION_ENGINE was, such as {next(iter(KINDS))!r}."
            ) from error
    return KINDS.get(engine, Source)(engine, alias or None)


def _aware(moment: datetime) -> datetime:
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _as_stored(moment: datetime) -> datetime:
    """As the database has it: naive, in the site's own zone, without USE_TZ."""
    return moment if settings.USE_TZ else timezone.make_naive(moment)
