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
``redis+cluster://h1:7000,h2:7001`` (``rediss+…`` with TLS).
"""

import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import redis
from django.conf import settings
from django.utils.module_loading import import_string
from django_redis.pool import ConnectionFactory as DjangoRedisConnectionFactory
from redis.cluster import RedisCluster
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MaxConnectionsError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.sentinel import SentinelConnectionPool

from bergizi_redis.budget import BudgetedRedis, BudgetedRetry, budgeted, seconds_left
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.topology import Topology, parse_location

FACTORY = "bergizi_redis.connections.ConnectionFactory"
BLOCK_LIMIT = 60.0  # seconds; the longest BLOCK that the BLOCKING role is made for


class Role(StrEnum):
    MAIN = "main"
    PUBLISHER = "publisher"
    SUBSCRIBER = "subscriber"
    BLOCKING = "blocking"


OUTAGE = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, ClusterDownError, MasterDownError, TryAgainError)


def is_outage(error: BaseException) -> bool:
    """Whether the error means that the server cannot serve: a full pool of ours does not, nor does a wrong command."""
    return isinstance(error, OUTAGE) and not isinstance(error, MaxConnectionsError)


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


def budget_of(role: Role) -> float | None:
    """Seconds a command of the role may take in all; None where waiting is its purpose."""
    return config.REQUEST_BUDGET if role in (Role.MAIN, Role.PUBLISHER) else None


class Pool(redis.BlockingConnectionPool):
    """Threads beyond ``max_connections`` wait for a connection within their budget, then get ``MaxConnectionsError``."""

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        # The pool's own bound is one number for all; the caller's budget may leave less.
        self.timeout = config.REQUEST_BUDGET if (left := seconds_left()) is None else left
        try:
            return super().get_connection()
        except ConnectionError as error:
            if str(error) != "No connection available.":
                raise
            raise MaxConnectionsError(
                f"All {self.max_connections} connections of this pool stayed in use for {self.timeout:.2f} s. The "
                "server may be well: raise BERGIZI_REDIS['MAX_CONNECTIONS'] or lower the number of threads."
            ) from error


class ConnectionFactory(DjangoRedisConnectionFactory):  # type: ignore[misc, type-arg]
    """django-redis's factory with our timeouts; its pools are kept by (URL, role, options), not by URL alone."""

    _kept: dict[tuple[str, str, str], Any] = {}  # noqa: RUF012 – one registry for the process
    _lock = threading.Lock()

    def __init__(self, options: dict[str, Any], role: Role = Role.MAIN) -> None:
        super().__init__({"REDIS_CLIENT_CLASS": "bergizi_redis.budget.BudgetedRedis", **options})
        self.role = role
        if "CONNECTION_POOL_CLASS" not in options:
            self.pool_cls = Pool

    def connect(self, url: str) -> Any:
        topology = parse_location(url)
        if topology.kind == "cluster":
            return self._keep(url, lambda: self._cluster(topology))
        client = super().connect(url)
        if isinstance(client, BudgetedRedis):
            client.budget = budget_of(self.role)
        return client

    def disconnect(self, connection: Any) -> None:
        if isinstance(connection, RedisCluster):
            connection.disconnect_connection_pools()
        else:
            super().disconnect(connection)

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> Any:
        return self._keep(params["url"], lambda: self.get_connection_pool(params))

    def get_connection_pool(self, params: dict[str, Any]) -> Any:
        """A new pool: defaults of the role, then OPTIONS, then CONNECTION_POOL_KWARGS, then the URL's query."""
        topology = parse_location(params["url"])
        arguments = {**self._connection_arguments(), **{k: v for k, v in params.items() if k != "url"}}
        arguments.update(self.pool_cls_kwargs)
        if topology.kind == "sentinel":
            return self._sentinel_pool(topology, arguments)
        arguments.setdefault("max_connections", config.MAX_CONNECTIONS)
        pool = self.pool_cls.from_url(params["url"], **arguments)
        pool.connection_class = budgeted(pool.connection_class)
        return pool

    def _connection_arguments(self) -> dict[str, Any]:
        return {
            **timeouts(self.role),
            "retry": BudgetedRetry(),
            # Redis Cloud's maintenance pushes: one more command on each connect, refused by Valkey.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    def _sentinel_pool(self, topology: Topology, arguments: dict[str, Any]) -> Any:
        pool = SentinelConnectionPool(
            topology.service, topology.sentinel_manager(arguments), ssl=topology.tls, **{**arguments, **topology.options}
        )
        pool.connection_class = budgeted(pool.connection_class)
        return pool

    def _cluster(self, topology: Topology) -> RedisCluster:
        arguments = {**timeouts(self.role), **self.make_connection_params(""), **self.pool_cls_kwargs}
        del arguments["url"]
        arguments.pop("parser_class", None)
        return RedisCluster(
            startup_nodes=topology.startup_nodes(), retry=BudgetedRetry(), ssl=topology.tls, **{**arguments, **topology.options}
        )

    def _keep(self, url: str, make: Any) -> Any:
        key = (url, self.role.value, repr(sorted(self.options.items())))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]


def alias_settings(alias: str) -> tuple[str, dict[str, Any]]:
    """(URL of the primary, OPTIONS) of an alias of CACHES; ``ConfigurationError`` when it is missing or not Redis."""
    caches: Mapping[str, Any] = getattr(settings, "CACHES", {})
    if alias not in caches:
        raise ConfigurationError(f"There is no CACHES[{alias!r}]; the aliases are {', '.join(caches) or 'none'}.")
    location = caches[alias].get("LOCATION") or ""
    url = location[0] if isinstance(location, list | tuple) and location else location
    if isinstance(url, str) and "+" not in url.split(":", 1)[0]:
        url = url.split(",")[0]  # django-redis: the primary first, then its replicas
    parse_location(url, where=f"CACHES[{alias!r}]['LOCATION']")
    return url, {"CONNECTION_FACTORY": FACTORY, **caches[alias].get("OPTIONS", {})}


def client(alias: str = "default", role: Role = Role.MAIN) -> Any:
    """A ``redis.Redis`` (``RedisCluster`` on a cluster) for the primary behind an alias of CACHES.

    ``MAIN`` shares the alias's pool with django-redis. Opens no connection by itself. Raises ``ConfigurationError``.
    """
    url, options = alias_settings(alias)
    factory = import_string(options["CONNECTION_FACTORY"])
    if issubclass(factory, ConnectionFactory):
        return factory(options, role).connect(url)
    return factory(options).connect(url)  # the project's own factory decides, for every role


def disconnect_all() -> None:
    """Close every idle connection of this process: for tests and for servers that fork. New ones open on demand."""
    with ConnectionFactory._lock:
        kept = list(ConnectionFactory._kept.values())
        ConnectionFactory._kept.clear()
    for item in kept:
        item.disconnect_connection_pools() if isinstance(item, RedisCluster) else item.disconnect()
