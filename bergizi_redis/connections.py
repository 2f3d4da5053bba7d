"""The only module that opens connections.

Promise: a command of a request ends, well or ill, within ``REQUEST_BUDGET`` (0.8 s), with connecting, handshake and
retries in it, on a refused port as on a silent host. One pool per alias and role, shared by django-redis and our
scripts; two aliases with one URL and other options get two. Safe across ``fork``; one async client per event loop.

| role | for | time | pool |
| --- | --- | --- | --- |
| ``MAIN`` | commands of a request | ``REQUEST_BUDGET`` in all | the alias's own |
| ``PUBLISHER`` | ``PUBLISH``, ``XADD`` | ``REQUEST_BUDGET`` in all | apart, so that a burst does not starve requests |
| ``SUBSCRIBER`` | pub/sub | waits for a message as long as it likes, probes the link every 5 s | apart |
| ``BLOCKING`` | ``XREAD BLOCK``, ``BLPOP`` up to 60 s | ``COMMAND_TIMEOUT`` on top of the block | apart |

``LOCATION``: ``redis://``, ``rediss://``, ``unix://``; ``redis+sentinel://[:password@]h1:26379,h2:26379/service/0``;
``redis+cluster://h1:7000,h2:7001`` (``rediss+…`` with TLS, to the Sentinels too). A cluster's nodes have a pool each,
which does not queue: beyond ``MAX_CONNECTIONS`` it raises ``MaxConnectionsError`` at once."""

import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from django_redis.pool import ConnectionFactory as DjangoRedisConnectionFactory
from redis import Redis
from redis.maint_notifications import MaintNotificationsConfig

from bergizi_redis.budget import budgeted
from bergizi_redis.clients import BudgetedRedis
from bergizi_redis.conf import config, given_settings
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.greetings import greeting
from bergizi_redis.outages import explain as explain
from bergizi_redis.outages import is_outage as is_outage
from bergizi_redis.pools import Pool, SentinelPool, Sentinels
from bergizi_redis.retries import BudgetedRetry
from bergizi_redis.topology import BudgetedCluster, Topology, parse_location, servers

FACTORY = "bergizi_redis.connections.ConnectionFactory"
BLOCK_LIMIT = 60.0  # seconds; the longest BLOCK that the BLOCKING role is made for
# The OPTIONS that make another pool. The rest (serializer, near cache, …) is the cache's own affair.
POOL_OPTIONS = (
    "CONNECTION_POOL_CLASS", "CONNECTION_POOL_KWARGS", "PARSER_CLASS", "PASSWORD", "SENTINEL_KWARGS",
    "SOCKET_CONNECT_TIMEOUT", "SOCKET_TIMEOUT", "USERNAME",
)  # fmt: skip
CLIENT_OPTIONS = ("CONNECTION_FACTORY", "REDIS_CLIENT_CLASS", "REDIS_CLIENT_KWARGS")


class Role(StrEnum):
    MAIN = "main"
    PUBLISHER = "publisher"
    SUBSCRIBER = "subscriber"
    BLOCKING = "blocking"


def timeouts(role: Role) -> dict[str, Any]:
    """Keyword arguments of a connection of the role; seconds."""
    if role in (Role.MAIN, Role.PUBLISHER):
        budget = config.REQUEST_BUDGET
        return {
            "socket_connect_timeout": min(budget, config.CONNECT_TIMEOUT),
            "socket_timeout": min(budget, config.COMMAND_TIMEOUT),
        }
    waits = {Role.SUBSCRIBER: None, Role.BLOCKING: BLOCK_LIMIT + config.COMMAND_TIMEOUT}[role]
    return {"socket_connect_timeout": config.CONNECT_TIMEOUT, "socket_timeout": waits, "health_check_interval": 5}


def share_of_node(arguments: Mapping[str, Any], budget: float | None) -> dict[str, float]:
    """Seconds for one node of a cluster, unless OPTIONS say: a third, so that one hung node leaves time for another."""
    names = ("socket_timeout", "socket_connect_timeout")
    return {name: budget / 3 for name in names if budget and arguments[name] == timeouts(Role.MAIN)[name]}


def budget_of(role: Role) -> float | None:
    """Seconds a command of the role may take in all; None where waiting is its purpose."""
    return config.REQUEST_BUDGET if role in (Role.MAIN, Role.PUBLISHER) else None


def pool_key(url: str, options: Mapping[str, Any], role: Role) -> tuple[str, ...]:
    """What two clients must have in common to share connections; settings are part of it, for they are read live."""
    chosen = {name: options[name] for name in POOL_OPTIONS if options.get(name)}
    live = (timeouts(role), config.MAX_CONNECTIONS, config.REQUEST_BUDGET)
    return url, role.value, repr(sorted(chosen.items())), repr(live)


_kept: dict[tuple[str, ...], Any] = {}  # pools, clusters, and clients of pools, of this process
_lock = threading.RLock()  # making one opens no connection, so it is never held for long


def kept(key: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """What stands under the key, made once."""
    if key not in _kept:
        with _lock:
            if key not in _kept:
                _kept[key] = make()
    return _kept[key]


class Recalled:
    """What was made for a name, for as long as the settings that it was made from say the same.

    Making a pool's key costs thirty times as much as comparing the settings with a copy of them.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, Role], tuple[object, object, Any]] = {}

    def get(self, name: str, role: Role, given: object) -> Any:
        known = self._known.get((name, role))
        return known[2] if known is not None and known[0] == given and known[1] == given_settings() else None

    def keep(self, name: str, role: Role, given: object, made: Any) -> Any:
        self._known[name, role] = copied(given), copied(given_settings()), made
        return made

    def clear(self) -> None:
        self._known.clear()


def copied(given: Any) -> Any:
    """A copy that does not change with the original: of dicts and lists, not of what a project puts into them."""
    if isinstance(given, dict):
        return {name: copied(value) for name, value in given.items()}
    return [copied(value) for value in given] if isinstance(given, list) else given


_recalled = Recalled()


class ConnectionFactory(DjangoRedisConnectionFactory):  # type: ignore[misc]
    """django-redis's factory with our timeouts; its pools are kept by (URL, role, options), not by URL alone."""

    def __init__(self, options: dict[str, Any], role: Role = Role.MAIN) -> None:
        super().__init__({"REDIS_CLIENT_CLASS": "bergizi_redis.clients.BudgetedRedis", **options})
        self.role = role
        if "CONNECTION_POOL_CLASS" not in options:
            self.pool_cls = Pool

    def connect(self, url: str) -> Any:
        topology = parse_location(url)
        if topology.kind == "cluster":
            return kept(pool_key(url, self.options, self.role), lambda: self._cluster(topology))
        client = super().connect(url)
        if isinstance(client, BudgetedRedis):
            client.budget = budget_of(self.role)
        return client

    def disconnect(self, connection: Any) -> None:
        if isinstance(connection, BudgetedCluster):
            connection.close()
        else:
            super().disconnect(connection)

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> Any:
        return kept(pool_key(params["url"], self.options, self.role), lambda: self.get_connection_pool(params))

    def get_connection_pool(self, params: dict[str, Any]) -> Any:
        """A new pool: defaults of the role, then OPTIONS, then CONNECTION_POOL_KWARGS, then the URL's query."""
        topology = parse_location(params["url"])
        arguments = self._arguments(params)
        if topology.kind == "sentinel":
            return self._sentinel_pool(topology, arguments)
        pool = self.pool_cls.from_url(params["url"], **arguments)
        pool.connection_class = budgeted(pool.connection_class)  # of a CONNECTION_POOL_CLASS that is not ours
        return pool

    def _arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            **timeouts(self.role),
            "max_connections": config.MAX_CONNECTIONS,
            "retry": BudgetedRetry(),
            # Redis Cloud's maintenance pushes: one more command on each connect, refused by Valkey.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            **({"redis_connect_func": greeting(params["url"])} if self.role is Role.MAIN else {}),
            **{name: value for name, value in params.items() if name != "url"},
            **self.pool_cls_kwargs,
        }

    def _sentinel_pool(self, topology: Topology, arguments: dict[str, Any]) -> Any:
        quiet = {"maint_notifications_config": arguments["maint_notifications_config"], "retry": BudgetedRetry(0)}
        asking = topology.asking(arguments) | quiet | (self.options.get("SENTINEL_KWARGS") or {})
        manager = Sentinels(list(topology.hosts), sentinel_kwargs=asking)
        arguments |= {"ssl": topology.tls} | topology.options
        return SentinelPool(topology.service, manager, **arguments)  # type: ignore[no-untyped-call]

    def _cluster(self, topology: Topology) -> BudgetedCluster:
        arguments = self._arguments(self.make_connection_params(""))
        for name in ("parser_class", "retry", "redis_connect_func"):
            arguments.pop(name, None)
        return BudgetedCluster(
            topology, arguments | share_of_node(arguments, budget_of(self.role)), budget_of(self.role)
        )


def alias_settings(alias: str) -> tuple[str, dict[str, Any]]:
    """(URL of the primary, OPTIONS) of an alias of CACHES; ``ConfigurationError`` when it is missing or not Redis."""
    caches: Mapping[str, Any] = getattr(settings, "CACHES", {})
    if alias not in caches:
        raise ConfigurationError(f"There is no CACHES[{alias!r}]; the aliases are {', '.join(caches) or 'none'}.")
    url, *_ = servers(caches[alias].get("LOCATION"))
    parse_location(url, where=f"CACHES[{alias!r}]['LOCATION']")
    return url, {"CONNECTION_FACTORY": FACTORY, **caches[alias].get("OPTIONS", {})}


def client(alias: str = "default", role: Role = Role.MAIN) -> Redis:
    """A ``redis.Redis`` (``RedisCluster`` on a cluster) for the primary behind an alias of CACHES.

    ``MAIN`` shares the alias's pool with django-redis. Typed as the former: both have its commands. Opens no connection
    by itself. Raises ``ConfigurationError``.
    """
    given = getattr(settings, "CACHES", {}).get(alias)
    known: Redis | None = _recalled.get(alias, role, given)
    if known is not None:
        return known
    url, options = alias_settings(alias)

    def make() -> Any:
        factory = import_string(options["CONNECTION_FACTORY"])
        if issubclass(factory, ConnectionFactory):
            return factory(options, role).connect(url)
        return factory(options).connect(url)  # the project's own factory decides, for every role

    made: Redis = kept((*pool_key(url, options, role), repr([options.get(name) for name in CLIENT_OPTIONS])), make)
    _recalled.keep(alias, role, given, made)
    return made


def tracked_connection(pool: Any) -> Any:
    """A connection beside the pool's own, for ``CLIENT TRACKING``: RESP3, a second for each wait, not open yet."""
    chosen = {
        "protocol": 3,
        "retry": BudgetedRetry(0),
        "socket_timeout": 1.0,
        "socket_connect_timeout": min(1.0, config.CONNECT_TIMEOUT),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    return pool.connection_class(**pool.connection_kwargs | chosen)


def disconnect_all() -> None:
    """Close every connection of this process: for tests and for servers that fork. New ones open on demand."""
    with _lock:
        closing = list(_kept.values())
        _kept.clear()
        _recalled.clear()
    for item in closing:
        item.connection_pool.disconnect() if isinstance(item, Redis) else item.close()
