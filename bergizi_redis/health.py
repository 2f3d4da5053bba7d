"""Whether every Redis server that the settings name serves, and how it is set up.

Promise: an answer within ``DEADLINE`` (1 s) and a little, on a silent host too: each alias and role is asked in a
thread of its own, through the pool that it really uses. Redis down is an answer, never an error. No credential is in
the report. ``vitals`` says what is asked and what it costs.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import TypedDict, TypeVar

from django.conf import settings
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from django.utils.module_loading import import_string
from django_redis.cache import RedisCache

from bergizi_redis.conf import SETTINGS_NAME, config, given_settings
from bergizi_redis.connections import Role, alias_settings
from bergizi_redis.diagnosis import SILENT, shown_url
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.vitals import Asked, ProblemReport, RoleReport, ServerReport, ask, role_report

DEADLINE = 1.0  # seconds for all that one thread asks
GRACE = 0.25  # seconds more for a thread to report; name resolution, which nothing can bound, is then left behind
# Engines of sessions that keep them in an alias of CACHES: SESSION_CACHE_ALIAS.
CACHED_ENGINES = (
    "bergizi_redis.sessions.backend", "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.cached_db",
)  # fmt: skip

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class AliasReport(TypedDict):
    """``isConnected``: every role is answered; ``isWell``: and the server can be used, writes included."""

    url: str
    isConnected: bool
    isWell: bool
    responseTime: float
    usedBy: list[str]
    roles: dict[str, RoleReport]
    server: ServerReport
    problem: ProblemReport | None


class ServiceReport(TypedDict):
    alias: str
    isConnected: bool
    isWell: bool
    responseTime: float


class HealthReport(TypedDict):
    """``responseTime``: ms, of the slowest alias. ``server`` is that of the first alias, which CACHE_ALIAS leads."""

    isConnected: bool
    isWell: bool
    responseTime: float
    services: dict[str, ServiceReport]
    server: ServerReport
    aliases: dict[str, AliasReport]


def check_redis_health(aliases: Iterable[str] | None = None) -> HealthReport:
    """Ask the servers of these aliases, else of every Redis-backed one, at once. Takes ``DEADLINE`` at most.

    ``services`` says of cache, sessions, security and realtime how the alias does where they keep, or would keep,
    their data; sessions are there when ``SESSION_ENGINE`` keeps them in a cache. Raises ``ConfigurationError`` for an
    alias that is missing or not Redis-backed and for a LOCATION that cannot be read; never for a server.
    """
    uses = services()
    named = chosen(aliases)
    urls = {alias: shown_url(alias_settings(alias)[0]) for alias in named}
    began = time.perf_counter()
    asked = _at_once({(alias, role): partial(ask, alias, role, DEADLINE) for alias in named for role in Role})
    silence = role_report(began, SILENT)
    late: Asked = {"role": silence, "server": {}, "problem": silence["problem"]}
    reports = {}
    for alias in named:
        used_by = [service for service, used in uses.items() if used == alias]
        reports[alias] = _alias_report(urls[alias], used_by, {role: asked.get((alias, role), late) for role in Role})
    return {
        "isConnected": all(report["isConnected"] for report in reports.values()),
        "isWell": all(report["isWell"] for report in reports.values()),
        "responseTime": max((report["responseTime"] for report in reports.values()), default=0.0),
        "services": {name: _service_report(alias, reports[alias]) for name, alias in uses.items() if alias in reports},
        "server": next((report["server"] for report in reports.values()), ServerReport()),
        "aliases": reports,
    }


def is_redis(alias: str) -> bool:
    """Whether the alias of CACHES is kept in Redis. ``ConfigurationError`` when its BACKEND cannot be imported."""
    path = settings.CACHES[alias].get("BACKEND", "")
    try:
        backend = import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"CACHES[{alias!r}]['BACKEND'] is {path!r}, which cannot be imported: {error}"
        ) from error
    return isinstance(backend, type) and issubclass(backend, RedisCache | DjangoRedisCache)


def holds_tags(alias: str) -> bool:
    """Whether the BACKEND of an alias that ``is_redis`` can void entries by their tags."""
    return hasattr(import_string(settings.CACHES[alias]["BACKEND"]), "invalidate_tags")


def chosen(aliases: Iterable[str] | None = None) -> list[str]:
    """The aliases to ask, CACHE_ALIAS first. Raises ``ConfigurationError`` for one that is missing or not Redis."""
    if aliases is None:
        found = [alias for alias in settings.CACHES if is_redis(alias)]
        return sorted(found, key=lambda alias: alias != config.CACHE_ALIAS)
    named = list(dict.fromkeys(aliases))
    for alias in named:
        if alias not in settings.CACHES:
            raise ConfigurationError(f"There is no CACHES[{alias!r}]; the aliases are {', '.join(settings.CACHES)}.")
        if not is_redis(alias):
            raise ConfigurationError(f"CACHES[{alias!r}] is not kept in Redis: its BACKEND is another one.")
    return named


def services() -> dict[str, str]:
    """Service → alias of CACHES. Without those that fall to a default alias which is not Redis-backed."""
    named = {"cache": "CACHE_ALIAS", "security": "SECURITY_ALIAS", "realtime": "REALTIME_ALIAS"}
    uses = {service: (getattr(config, setting), setting in given_settings()) for service, setting in named.items()}
    if settings.SESSION_ENGINE in CACHED_ENGINES:
        uses["sessions"] = (settings.SESSION_CACHE_ALIAS, True)
    for service, (alias, _) in uses.items():
        if alias not in settings.CACHES:
            setting = f"{SETTINGS_NAME}[{named[service]!r}]" if service in named else "SESSION_CACHE_ALIAS"
            raise ConfigurationError(f"{setting} is {alias!r}; the aliases of CACHES are {', '.join(settings.CACHES)}.")
    return {service: alias for service, (alias, _) in uses.items() if is_redis(alias)}


def _at_once(questions: Mapping[K, Callable[[], V]]) -> dict[K, V]:
    """The answers that came in time, each asked in a thread that holds nobody up when the process ends."""
    answers: dict[K, V] = {}

    def put(name: K, ask: Callable[[], V]) -> None:
        answers[name] = ask()

    threads = [threading.Thread(target=put, args=question, daemon=True) for question in questions.items()]
    deadline = time.monotonic() + DEADLINE + GRACE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(answers)


def _alias_report(url: str, used_by: list[str], asked: Mapping[Role, Asked]) -> AliasReport:
    roles: dict[str, RoleReport] = {role.value: answer["role"] for role, answer in asked.items()}
    problem = next((answer["problem"] for answer in asked.values() if answer["problem"]), None)
    return {
        "url": url,
        "isConnected": all(role["isConnected"] for role in roles.values()),
        "isWell": problem is None,
        "responseTime": roles[Role.MAIN.value]["responseTime"],
        "usedBy": used_by,
        "roles": roles,
        "server": asked[Role.MAIN]["server"],
        "problem": problem,
    }


def _service_report(alias: str, report: AliasReport) -> ServiceReport:
    return {
        "alias": alias,
        "isConnected": report["isConnected"],
        "isWell": report["isWell"],
        "responseTime": report["responseTime"],
    }
