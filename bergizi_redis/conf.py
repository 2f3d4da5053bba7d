"""Every setting: name, type, default, and why this default.

``BERGIZI_REDIS = {...}`` in the project's settings holds any of them; each is read live, so tests may override it.
``config.NAME`` is the value in force. Wrong types raise ``ConfigurationError``; ``checks.py`` reports them before that.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.utils.module_loading import import_string

from bergizi_redis.auditconf import AuditConfig
from bergizi_redis.environment import redis_url_from_env as redis_url_from_env
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.limitconf import RateLimitConfig
from bergizi_redis.lockoutconf import LockoutConfig
from bergizi_redis.passwordconf import PasswordConfig
from bergizi_redis.sessionconf import SessionConfig
from bergizi_redis.setting import SECONDS, are_lives, are_names, are_proxies, is_positive
from bergizi_redis.setting import SETTINGS_NAME as SETTINGS_NAME
from bergizi_redis.setting import Setting as Setting
from bergizi_redis.setting import given_settings as given_settings


class Config(LockoutConfig, SessionConfig, PasswordConfig, AuditConfig, RateLimitConfig):
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
        types=SECONDS, valid=is_positive,
    )  # fmt: skip
    CONNECT_TIMEOUT = Setting(
        10.0, "Seconds; ceiling for opening a connection outside a request.", types=SECONDS, valid=is_positive
    )
    COMMAND_TIMEOUT = Setting(
        5.0, "Seconds; ceiling for one command outside a request.", types=SECONDS, valid=is_positive
    )
    MAX_CONNECTIONS = Setting(
        100, "Connections per alias and process. Threads above it wait within the budget.", valid=is_positive
    )
    TENANT_RESOLVER = Setting(
        "bergizi_redis.tenancy.tenant_from_user",
        "Dotted path of `resolver(request) -> str | None`; the middleware asks it once a request.",
        types=(str, tuple, list),
    )
    TENANT_USER_ATTRIBUTE = Setting("tenant", "Attribute of the user that `tenant_from_user` reads.")
    TENANT_HEADER = Setting("X-Tenant", "Header that `tenant_from_header` reads, from trusted proxies only.")
    TENANT_DOMAIN = Setting("", "Parent domain for `tenant_from_host`: kitchen-1.example.org with `example.org`.")
    TRUSTED_PROXIES = Setting[Any](
        (), "CIDRs of the proxies whose forwarded headers are believed, such as '10.0.0.0/8'; or how many stand before"
        " the application, where nobody can reach it past them; none by default.",
        types=(tuple, list, int), valid=are_proxies,
    )  # fmt: skip
    TENANT_FIELD = Setting(
        "", "Field, or tuple of fields, that holds a row's tenant: its id, or a key to it; narrows what is voided.",
        types=(str, tuple, list), valid=are_names,
    )  # fmt: skip
    ROW_TAGS = Setting[Sequence[str]](
        (), "Labels of models, such as `['menus.Menu']`, whose rows have tags of their own: see `row_tags`.",
        types=(tuple, list), valid=are_names,
    )  # fmt: skip
    QUERY_CACHE = Setting[Mapping[str, float]](
        {}, "Label to seconds, such as `{'menus.Menu': 300}`: models whose `CachedQuerySet` caches its queries.",
        types=(dict,), valid=are_lives,
    )  # fmt: skip
    TENANTS = Setting(
        "", "Dotted path of a callable that yields every tenant id; `warm_cache` without --tenant asks it."
    )
    FENCE_SECONDS = Setting(
        30, "Seconds that a fence outlives a writer that died at its COMMIT; above any statement's time-out.",
        types=SECONDS, valid=is_positive,
    )  # fmt: skip
    REPLICA_LAG = Setting(
        0.0,
        "Seconds that a replica of the database may be behind: fences stand so much longer, and nothing is stored then"
        ".", types=SECONDS, valid=lambda value: 0 <= value < 3600,
    )  # fmt: skip
    WATCH_WRITES = Setting(
        True, "See every statement that writes, and void what was computed from its tables: 2 round trips a commit."
    )
    UNWATCHED_TABLES = Setting(
        ("django_session", "django_migrations", "django_admin_log", "bergizi_redis_auditevent"),
        "Tables whose writes void nothing: what is computed from them is not cached, or may be old.",
        types=(tuple, list), valid=are_names,
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
        types=SECONDS, valid=lambda value: 0 <= value < 3600,
    )  # fmt: skip
    VERIFY_SAMPLE = Setting(
        0.0, "Share of hits, 0 to 1, that are computed again and compared: 0.01 finds an invalidation that is missing.",
        types=SECONDS, valid=lambda value: 0 <= value <= 1,
    )  # fmt: skip

    def __iter__(self) -> Iterator[Setting[Any]]:
        kinds = reversed(type(self).__mro__)
        return (item for kind in kinds for item in vars(kind).values() if isinstance(item, Setting))


config = Config()


def import_setting(name: str, path: str) -> Any:
    """Import the dotted path that setting ``name`` holds, or raise ``ConfigurationError`` naming both."""
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"{SETTINGS_NAME}[{name!r}] is {path!r}, which cannot be imported: {error}. Give a dotted path."
        ) from error
