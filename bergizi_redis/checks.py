"""System checks: what the settings get wrong, found before a request does. ``checklist`` is their table.

They read settings alone and open no connection, but for ``check_servers``, which runs with ``check --deploy``. A
feature that is not in use is not checked: taking a line out of settings raises no warning about it.
"""

import difflib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string
from django_redis.cache import RedisCache

from bergizi_redis import checklist
from bergizi_redis.cache.alias import RedisAlias
from bergizi_redis.cache.near.options import near_options
from bergizi_redis.cache.queries import CachedQuerySet
from bergizi_redis.conf import SETTINGS_NAME, config
from bergizi_redis.connections import FACTORY, POOL_OPTIONS, ConnectionFactory
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.health import check_redis_health, holds_tags, is_redis
from bergizi_redis.sessions.expiry import PRESETS
from bergizi_redis.sessions.sources import source_of
from bergizi_redis.topology import parse_location, servers
from bergizi_redis.wiring import buffered, entries, kept, misplaced, resolvers, unguarded, unproxied, uses, value_of

TAG = "bergizi_redis"

Found = list[CheckMessage]


@register(TAG)
def check_settings(app_configs: object = None, **kwargs: Any) -> Found:
    """``BERGIZI_REDIS``: names, types, ranges, dotted paths, networks."""
    given = getattr(settings, SETTINGS_NAME, {})
    if not isinstance(given, Mapping):
        return [checklist.NOT_A_DICT.found(f"{SETTINGS_NAME} is a {type(given).__name__}; expected a dict.")]
    known = {setting.name: setting for setting in config}
    found: Found = []
    for name, value in given.items():
        if name not in known:
            found.append(_unknown(str(name), known))
        elif name == "TRUSTED_PROXIES" and isinstance(value, list | tuple):
            found += _wrong_networks(value)
        elif problem := known[name].problem(value):
            found.append(checklist.WRONG_VALUE.found(f"{SETTINGS_NAME}[{name!r}] {problem}"))
    return [*found, *_wrong_paths(), *_wrong_engines()]


def _unknown(name: str, known: Iterable[str]) -> CheckMessage:
    close = difflib.get_close_matches(name.upper(), list(known), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"The settings are {', '.join(sorted(known))}."
    return checklist.UNKNOWN_SETTING.found(f"{SETTINGS_NAME} has no setting {name!r}.", hint)


def _wrong_paths() -> Iterator[CheckMessage]:
    tenants = value_of("TENANTS")
    paths = [*(("TENANT_RESOLVER", path) for path in resolvers()), *([("TENANTS", tenants)] if tenants else [])]
    paths += [("SESSION_MERGE", path) for path in value_of("SESSION_MERGE").values()]
    paths += [("SESSION_LIMIT", limit)] if isinstance(limit := value_of("SESSION_LIMIT"), str) else []
    for name in ("IDENTIFIER_RESOLVER", "SESSION_PERMISSIONS", "SESSION_ADMIN_TENANTS"):
        path = entries().get(name)
        paths += [(name, path)] if isinstance(path, str) and path not in ("", "django") else []
    for name, path in paths:
        try:
            target = import_string(path)
        except (ImportError, AttributeError) as error:  # AttributeError: not a string at all
            reason = f"which cannot be imported: {error}"
        else:
            if callable(target):
                continue
            reason = "which cannot be called"
        yield checklist.NOT_IMPORTABLE.found(f"{SETTINGS_NAME}[{name!r}] is {path!r}, {reason}.")


def _wrong_engines() -> Iterator[CheckMessage]:
    given = value_of("SESSION_MOVE_FROM")
    for engine in [given] if isinstance(given, str) else given:
        try:
            source_of(engine) if engine else None
        except ConfigurationError as error:
            yield checklist.WRONG_VALUE.found(str(error), "Until then every cookie that is not known here is a 500.")


def _wrong_networks(networks: Iterable[Any]) -> Iterator[CheckMessage]:
    """Which of them are none, where the setting's own check only says that one is."""
    for network in networks:
        try:
            ipaddress.ip_network(network if isinstance(network, str) else "?", strict=False)
        except ValueError:
            yield checklist.WRONG_NETWORK.found(f"{SETTINGS_NAME}['TRUSTED_PROXIES'] holds {network!r}.")


def _kept_in_redis(alias: str) -> bool:
    try:
        return is_redis(alias)
    except ConfigurationError:  # a BACKEND that cannot be imported is reported by Django
        return False


@register(TAG, Tags.caches)
def check_aliases(app_configs: object = None, **kwargs: Any) -> Found:
    """``CACHES``: the aliases that settings name, their LOCATION, lost errors."""
    found: Found = []
    for setting, alias in uses().items():
        if alias not in settings.CACHES:
            others = f"CACHES has {', '.join(map(repr, settings.CACHES))}."
            found.append(checklist.MISSING_ALIAS.found(f"{setting} is {alias!r}, which is no alias. {others}"))
        elif not _kept_in_redis(alias):
            where = f"CACHES[{alias!r}] is not kept in Redis."
            found.append(checklist.NOT_REDIS.found(f"{setting} is {alias!r}, and {where}"))
        elif "['CACHE_ALIAS']" in setting and not holds_tags(alias):
            found.append(checklist.NOT_REDIS.found(f"{setting} is {alias!r}, and its BACKEND holds no tags."))
    ignored = getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False)
    for setting, alias in kept().items():
        if _options(alias).get("IGNORE_EXCEPTIONS", ignored):
            found.append(checklist.HIDDEN_ERRORS.found(f"{setting} is {alias!r}, which has IGNORE_EXCEPTIONS."))
    return [*found, *_wrong_locations(), *_wrong_near_caches(), *_pools()]


def _options(alias: str) -> dict[str, Any]:
    given: Any = settings.CACHES.get(alias, {})
    return given.get("OPTIONS") or {}


def _redis_aliases() -> list[str]:
    return [alias for alias in settings.CACHES if _kept_in_redis(alias)]


def _wrong_locations() -> Iterator[CheckMessage]:
    """Only of aliases that this package connects to: a factory of the project's own may read anything."""
    used = uses().values()
    for alias in _redis_aliases():
        if alias in used or _factory(alias) is ConnectionFactory:
            try:
                for url in servers(settings.CACHES[alias].get("LOCATION")):
                    parse_location(url, where=f"CACHES[{alias!r}]['LOCATION']")
            except ConfigurationError as error:
                yield checklist.WRONG_LOCATION.found(str(error))


def _wrong_near_caches() -> Iterator[CheckMessage]:
    for alias in _redis_aliases():
        options = _options(alias)
        try:
            if near_options(options) and not holds_tags(alias):
                yield checklist.WRONG_NEAR_CACHE.found(f"CACHES[{alias!r}] has NEAR_CACHE, which its BACKEND ignores.")
        except ConfigurationError as error:
            yield checklist.WRONG_NEAR_CACHE.found(f"CACHES[{alias!r}]['OPTIONS']: {error}")


def _factory(alias: str) -> Any:
    """The connection factory of a django-redis alias; None for Django's own backend and what cannot be imported."""
    backend = import_string(settings.CACHES[alias]["BACKEND"])
    if not issubclass(backend, RedisCache):
        return None
    path = getattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY", "django_redis.pool.ConnectionFactory")
    path = FACTORY if issubclass(backend, RedisAlias) else path
    try:
        return import_string(_options(alias).get("CONNECTION_FACTORY", path))
    except ImportError:
        return None


def _pools() -> Iterator[CheckMessage]:
    first: dict[tuple[Any, str], tuple[str, dict[str, Any]]] = {}
    for alias in _redis_aliases():
        options = _options(alias)
        pool = {name: options[name] for name in POOL_OPTIONS if options.get(name)}
        factory, url = _factory(alias), servers(settings.CACHES[alias].get("LOCATION"))[0]
        if factory is None:
            continue
        other, others_pool = first.setdefault((factory, url), (alias, pool))
        if pool != others_pool:
            rule = checklist.TWO_POOLS if issubclass(factory, ConnectionFactory) else checklist.SHARED_POOL
            yield rule.found(f"CACHES[{other!r}] and CACHES[{alias!r}] have one URL and different pool options.")


@register(TAG, Tags.models)
def check_models(app_configs: object = None, **kwargs: Any) -> Found:
    """``QUERY_CACHE``, ``ROW_TAGS`` and ``TENANT_FIELD``: models and fields that there are."""
    models = {model._meta.label_lower: model for model in apps.get_models(include_auto_created=True)}
    found: Found = []
    for setting, label in [(name, each) for name in ("QUERY_CACHE", "ROW_TAGS") for each in value_of(name)]:
        name = f"{SETTINGS_NAME}[{setting!r}] lists {label!r}"
        if (model := models.get(str(label).lower())) is None:
            close = difflib.get_close_matches(str(label).lower(), list(models), n=1)
            hint = f"Did you mean {models[close[0]]._meta.label!r}?" if close else None
            found.append(checklist.UNKNOWN_MODEL.found(f"{name}, which is no model.", hint))
        elif setting == "QUERY_CACHE" and not any(map(is_cached, model._meta.managers)):
            found.append(checklist.UNCACHED_MODEL.found(f"{name}, whose managers are no CachedQuerySet's.", obj=model))
    given = value_of("TENANT_FIELD")
    for field in [given] if isinstance(given, str) else given:
        fields = (each for model in models.values() for each in model._meta.concrete_fields)
        if field and not any(field in (each.name, each.attname) for each in fields):
            found.append(checklist.NO_TENANT_FIELD.found(f"{SETTINGS_NAME}['TENANT_FIELD'] names {field!r}."))
    return found


def is_cached(manager: Any) -> bool:
    """Told from its class: a query set of it might ask for a tenant."""
    return issubclass(getattr(manager, "_queryset_class", object), CachedQuerySet)


@register(TAG, Tags.security)
def check_wiring(app_configs: object = None, **kwargs: Any) -> Found:
    """``AUTHENTICATION_BACKENDS`` and ``MIDDLEWARE``: what is missing, doubled or in the wrong order."""
    return [*unguarded(), *misplaced(), *unproxied()]


@register(TAG, Tags.security)
def check_lives(app_configs: object = None, **kwargs: Any) -> Found:
    """Idle, absolute and touch, that each may do something."""
    preset = PRESETS.get(value_of("SESSION_PRESET"))
    idle = preset.idle if preset and "SESSION_IDLE" not in entries() else value_of("SESSION_IDLE")
    absolute = preset.absolute if preset and "SESSION_ABSOLUTE" not in entries() else value_of("SESSION_ABSOLUTE")
    touch = value_of("TOUCH_EVERY")
    if touch >= idle:
        return [checklist.USELESS_LIVES.found(f"TOUCH_EVERY is {touch} s, an idle session ends after {idle} s.")]
    if idle > absolute:
        return [checklist.USELESS_LIVES.found(f"SESSION_IDLE is {idle} s, SESSION_ABSOLUTE {absolute} s.")]
    return []


@register(TAG, Tags.caches, deploy=True)
def check_servers(app_configs: object = None, **kwargs: Any) -> Found:
    """Asks each server, for a second at most. Settings that cannot be used are left to the other checks."""
    try:
        aliases = check_redis_health()["aliases"]
    except ConfigurationError:
        return []
    found: Found = []
    for alias, report in aliases.items():
        if problem := report["problem"]:
            message = f"CACHES[{alias!r}], {report['url']}: {problem['reason']}"
            found.append(checklist.ILL_SERVER.found(message, problem["remedy"]))
    for setting, alias in (kept() | buffered()).items():
        server = aliases[alias]["server"] if alias in aliases else {}
        policy = server.get("evictionPolicy", "noeviction")
        if policy != "noeviction":
            found.append(checklist.EVICTING.found(f"{setting} is {alias!r}, whose server evicts: {policy}."))
        if setting in buffered() and server.get("persistence") in ("none", "RDB"):
            found.append(checklist.UNSAFE_BUFFER.found(f"{setting} is {alias!r}, whose server writes no AOF."))
        if setting == "SESSION_CACHE_ALIAS" and server.get("persistence") == "none":
            found.append(checklist.NOT_PERSISTENT.found(f"{setting} is {alias!r}, whose server keeps nothing on disk."))
    return found
