"""Every setting: name, type, default, and why this default.

``BERGIZI_REDIS = {...}`` in the project's settings holds any of them; each is read live, so tests may override it.
``config.NAME`` is the value in force. Wrong types raise ``ConfigurationError``; ``checks.py`` reports them before that.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from bergizi_redis.environment import redis_url_from_env as redis_url_from_env
from bergizi_redis.exceptions import ConfigurationError

T = TypeVar("T")

SETTINGS_NAME = "BERGIZI_REDIS"


class Setting(Generic[T]):
    """One setting. ``why`` is its row in the reference; ``valid`` may narrow what its type allows."""

    def __init__(
        self, default: T, why: str, *, types: tuple[type, ...] | None = None, valid: Callable[[Any], bool] | None = None
    ) -> None:
        self.default = default
        self.why = why
        self.types = types or (type(default),)
        self.valid = valid or (lambda value: True)
        self.name = ""
        self.sound: object = self  # a value that was found valid, or none yet

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "Setting[T] | T":
        if instance is None:
            return self
        given = given_settings()
        if self.name not in given:
            return self.default
        value = given[self.name]
        if value is not self.sound:
            if problem := self.problem(value):
                raise ConfigurationError(f"{SETTINGS_NAME}[{self.name!r}] {problem}")
            if isinstance(value, str | int | float):  # what cannot change is judged once: reads ask all the time
                self.sound = value
        return value  # type: ignore[no-any-return]

    def problem(self, value: object) -> str | None:
        """What is wrong with the value, or None."""
        is_bool_by_mistake = isinstance(value, bool) and bool not in self.types
        if not isinstance(value, self.types) or is_bool_by_mistake:
            expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in self.types)
            return f"is {value!r}; expected {expected}. Default: {self.default!r}."
        if not self.valid(value):
            return f"is {value!r}, which is out of range. {self.why} Default: {self.default!r}."
        return None


def _positive(value: Any) -> bool:
    return bool(0 < value < float("inf"))


def _networks(value: Any) -> bool:
    try:
        return all(isinstance(cidr, str) and ipaddress.ip_network(cidr, strict=False) for cidr in value)
    except ValueError:
        return False


def _names(value: Any) -> bool:
    """A field's name, "" for none, or several of them."""
    return isinstance(value, str) or all(isinstance(name, str) and name for name in value)


def _lives(value: Any) -> bool:
    return all(
        isinstance(label, str) and isinstance(life, int | float) and not isinstance(life, bool) and _positive(life)
        for label, life in value.items()
    )


_SECONDS = (int, float)


class Config:
    """The settings, typed. Read ``config.NAME``; never write."""

    CACHE_ALIAS = Setting("default", "Alias of CACHES that domains, `@cached` and queries use.")
    SECURITY_ALIAS = Setting("default", "Alias of CACHES that lockout, limits and audit use.")
    REALTIME_ALIAS = Setting("default", "Alias of CACHES that live channels use.")
    WRITE_BEHIND_ALIAS = Setting("default", "Alias of CACHES that `WriteBehind` buffers in: one that evicts nothing.")
    KEY_PREFIX = Setting(
        "", "Stands before every key, so that sites can share a server: 64 characters at most, no braces.",
        valid=lambda value: len(value) <= 64 and not {"{", "}"} & {*value},
    )  # fmt: skip
    REQUEST_BUDGET = Setting(
        0.8, "Seconds a command of a request may take in all, retries included; above 1 s a dead server stops a site.",
        types=_SECONDS, valid=_positive,
    )  # fmt: skip
    CONNECT_TIMEOUT = Setting(
        10.0, "Seconds; ceiling for opening a connection outside a request.", types=_SECONDS, valid=_positive
    )
    COMMAND_TIMEOUT = Setting(
        5.0, "Seconds; ceiling for one command outside a request.", types=_SECONDS, valid=_positive
    )
    MAX_CONNECTIONS = Setting(
        100, "Connections per alias and process. Threads above it wait within the budget.", valid=_positive
    )
    TENANT_RESOLVER = Setting(
        "bergizi_redis.tenancy.tenant_from_user",
        "Dotted path of `resolver(request) -> str | None`; the middleware asks it once a request.",
        types=(str, tuple, list),
    )
    TENANT_USER_ATTRIBUTE = Setting("tenant", "Attribute of the user that `tenant_from_user` reads.")
    TENANT_HEADER = Setting("X-Tenant", "Header that `tenant_from_header` reads, from trusted proxies only.")
    TENANT_DOMAIN = Setting("", "Parent domain for `tenant_from_host`: kitchen-1.example.org with `example.org`.")
    TRUSTED_PROXIES = Setting(
        (), "CIDRs of the proxies whose forwarded headers are believed, such as '10.0.0.0/8'; none by default.",
        types=(tuple, list), valid=_networks,
    )  # fmt: skip
    TENANT_FIELD = Setting(
        "", "Field, or tuple of fields, that holds a row's tenant: its id, or a key to it; narrows what is voided.",
        types=(str, tuple, list), valid=_names,
    )  # fmt: skip
    ROW_TAGS = Setting[Sequence[str]](
        (), "Labels of models, such as `['menus.Menu']`, whose rows have tags of their own: see `row_tags`.",
        types=(tuple, list), valid=_names,
    )  # fmt: skip
    QUERY_CACHE = Setting[Mapping[str, float]](
        {}, "Label to seconds, such as `{'menus.Menu': 300}`: models whose `CachedQuerySet` caches its queries.",
        types=(dict,), valid=_lives,
    )  # fmt: skip
    TENANTS = Setting(
        "", "Dotted path of a callable that yields every tenant id; `warm_cache` without --tenant asks it."
    )
    SESSION_IDLE = Setting(
        8 * 3600, "Seconds without a request after which a session of `create_session` ends: one shift.",
        types=_SECONDS, valid=_positive,
    )  # fmt: skip
    SESSION_ABSOLUTE = Setting(
        24 * 3600, "Seconds after log-in when a session of `create_session` ends whatever happens.",
        types=_SECONDS, valid=_positive,
    )  # fmt: skip
    TOUCH_EVERY = Setting(
        60, "Seconds between two renewals of an unchanged session: one write a minute, not one a request.",
        types=_SECONDS, valid=_positive,
    )  # fmt: skip
    SESSION_MAX_BYTES = Setting(
        256 * 1024, "Bytes a session may hold; it is read whole on every request, so large data belongs elsewhere.",
        valid=_positive,
    )  # fmt: skip
    FENCE_SECONDS = Setting(
        30, "Seconds that a fence outlives a writer that died at its COMMIT; above any statement's time-out.",
        types=_SECONDS, valid=_positive,
    )  # fmt: skip
    REPLICA_LAG = Setting(
        0.0,
        "Seconds that a replica of the database may be behind: fences stand so much longer, and nothing is stored then"
        ".", types=_SECONDS, valid=lambda value: 0 <= value < 3600,
    )  # fmt: skip
    WATCH_WRITES = Setting(
        True, "See every statement that writes, and void what was computed from its tables: 2 round trips a commit."
    )
    UNWATCHED_TABLES = Setting(
        ("django_session", "django_migrations", "django_admin_log"),
        "Tables whose writes void nothing: what is computed from them is not cached, or may be old.",
        types=(tuple, list), valid=_names,
    )  # fmt: skip
    WRITES_ON_OUTAGE = Setting[Any](
        "outbox",
        "When Redis is down at a commit: `refuse` the write, note it in the `outbox` table with the write, or `proceed`"
        "; or a dict of these by tag, domain or table, with `'*'` for the rest.",
        types=(str, dict),
        valid=lambda value: all(
            policy in ("refuse", "outbox", "proceed")
            for policy in (value.values() if isinstance(value, dict) else [value])
        ),
    )
    STATS_EVERY = Setting(
        10.0, "Seconds between two additions of this process's numbers to the fleet's in Redis; 0 keeps them here.",
        types=_SECONDS, valid=lambda value: 0 <= value < 3600,
    )  # fmt: skip
    VERIFY_SAMPLE = Setting(
        0.0, "Share of hits, 0 to 1, that are computed again and compared: 0.01 finds an invalidation that is missing.",
        types=_SECONDS, valid=lambda value: 0 <= value <= 1,
    )  # fmt: skip
    LOCKOUT_ATTEMPTS = Setting(5, "Password checks allowed before an account locks.", valid=_positive)
    LOCKOUT_SECONDS = Setting(
        1800, "Seconds a lock lasts; trying again never extends it.", types=_SECONDS, valid=_positive
    )
    LOCKOUT_WINDOW = Setting(24 * 3600, "Seconds that failed attempts are remembered.", types=_SECONDS, valid=_positive)
    LOCKOUT_ON_OUTAGE = Setting(
        "degrade", "`degrade` to a small per-process limiter, fail `closed` (503), or `open`, when Redis is down.",
        valid=lambda value: value in ("degrade", "closed", "open"),
    )  # fmt: skip
    REVEAL_LOCK = Setting(False, "Tell the person at the log-in form that the account is locked (and a stranger too).")

    def __iter__(self) -> Iterator[Setting[Any]]:
        return (item for item in vars(type(self)).values() if isinstance(item, Setting))


def given_settings() -> Mapping[str, Any]:
    """The project's ``BERGIZI_REDIS`` as it stands."""
    given = getattr(django_settings, SETTINGS_NAME, {})
    if type(given) is not dict and not isinstance(given, Mapping):
        raise ConfigurationError(f"{SETTINGS_NAME} is {given!r}; expected a dict, such as {{'CACHE_ALIAS': 'cache'}}.")
    return given


config = Config()


def import_setting(name: str, path: str) -> Any:
    """Import the dotted path that setting ``name`` holds, or raise ``ConfigurationError`` naming both."""
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"{SETTINGS_NAME}[{name!r}] is {path!r}, which cannot be imported: {error}. Give a dotted path."
        ) from error
