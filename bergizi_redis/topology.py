"""What a ``LOCATION`` says: one server, a service behind Sentinels, or a cluster; and how to ask the latter two.

No error here shows more of the URL than its scheme and its query's names: the rest may be a password with a character
in it that should have been percent-encoded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.event import AfterPooledConnectionsInstantiationEvent, EventDispatcher, EventListenerInterface
from redis.exceptions import ClusterDownError, ConnectionError, RedisClusterException, TimeoutError

from bergizi_redis.budget import budgeted, seconds_left, within
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.retries import BudgetedRetry
from bergizi_redis.scripts.script import keys_in
from bergizi_redis.urlquery import query_arguments

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
EXAMPLES = {
    "standalone": "redis://localhost:6379/0",
    "sentinel": "redis+sentinel://host1:26379,host2:26379/service/0",
    "cluster": "redis+cluster://host1:7000,host2:7001",
}
DEFAULT_PORTS = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}
ENCODE = "Percent-encode special characters of the password: '/' as %2F, '@' as %40, '#' as %23."

Kind = Literal["standalone", "sentinel", "cluster"]


@dataclass(frozen=True, slots=True)
class Topology:
    """``hosts`` and ``service`` are empty for a standalone server; ``options`` are arguments of a connection."""

    kind: Kind
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)  # holds the password

    def asking(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a connection to a Sentinel. Each gets a share of the time, so that a hung one leaves
        enough for the next and for the server; the server's password is not theirs, its TLS options are."""
        shares = len(self.hosts) + 1
        waits = {name: (arguments[name] or 0) / shares or None for name in ("socket_timeout", "socket_connect_timeout")}
        merged = {**arguments, **self.options, "ssl": self.tls}
        return waits | {name: value for name, value in merged.items() if name.startswith("ssl") and value is not False}


def servers(location: object) -> list[str]:
    """The URLs of a LOCATION, the primary's first. django-redis would part a Sentinel's hosts: hand it this list."""
    if isinstance(location, str):
        return [location] if "+" in location.partition("://")[0] else location.split(",")
    return [*location] if isinstance(location, list | tuple) and location else [str(location or "")]


def parse_location(url: object, where: str = "LOCATION") -> Topology:
    """Read a URL. Raises ``ConfigurationError``, without the password, for what is not one of ``SCHEMES``."""
    return _parsed(url if isinstance(url, str) else "?" if url else "", where)


@lru_cache(maxsize=128)
def _parsed(text: str, where: str) -> Topology:
    scheme = text.split("://", 1)[0] if "://" in text else ""
    if scheme not in SCHEMES:
        shown = "empty" if not text else "not a URL" if not scheme.replace("+", "").isalnum() else f"{scheme}://…"
        raise ConfigurationError(
            f"{where} is {shown}; expected one of {', '.join(f'{name}://' for name in SCHEMES)}, "
            f"such as {EXAMPLES['standalone']}."
        )
    tls, kind = scheme.startswith("rediss"), _kind(scheme)
    try:
        parts = urlsplit(text)
        options = query_arguments(parts.query, scheme, where)
        if scheme == "unix":
            if not parts.path.strip("/"):
                raise ConfigurationError(f"{where} names no socket; expected unix:///run/redis.sock?db=0.")
            return Topology(kind)
        return _of_hosts(kind, tls, parts, options, where)
    except ValueError:  # of urlsplit; its message quotes the URL
        raise ConfigurationError(f"{where} cannot be read as a URL, such as {EXAMPLES[kind]}. {ENCODE}") from None


def _kind(scheme: str) -> Kind:
    return "sentinel" if scheme.endswith("+sentinel") else "cluster" if scheme.endswith("+cluster") else "standalone"


def _of_hosts(kind: Kind, tls: bool, parts: SplitResult, options: dict[str, Any], where: str) -> Topology:
    credentials, _, addresses = parts.netloc.rpartition("@")
    hosts = tuple(_host(address, kind, where) for address in addresses.split(",") if address)
    path = [unquote(part) for part in parts.path.split("/") if part]
    service, database = (path[:1], path[1:]) if kind == "sentinel" else ([], path)
    if kind != "standalone" and not hosts:
        raise ConfigurationError(f"{where} names no host; expected {EXAMPLES[kind]}.")
    if kind == "sentinel" and not service:
        raise ConfigurationError(f"{where} names no service; expected {EXAMPLES[kind]}.")
    if database and not (len(database) == 1 and database[0].isascii() and database[0].isdecimal()):
        raise ConfigurationError(f"{where}: the database is not a number; expected {EXAMPLES[kind]}. {ENCODE}")
    if kind == "standalone":  # redis-py reads the rest of such a URL itself
        return Topology(kind, tls)
    number = int(database[0]) if database else options.pop("db", 0)
    if kind == "cluster" and number:
        raise ConfigurationError(f"{where}: a cluster has database 0 only; expected {EXAMPLES[kind]}.")
    if number:
        options["db"] = number
    return Topology(kind, tls, hosts, "".join(service), _credentials(credentials) | options)


def _host(address: str, kind: Kind, where: str) -> tuple[str, int]:
    """``host``, ``host:1``, ``[::1]:1`` → host and port."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "localhost", DEFAULT_PORTS[kind] if parts.port is None else parts.port
    except ValueError:  # its message quotes what may be a piece of the password
        host, port = "", 0
    if port == 0:
        raise ConfigurationError(
            f"{where}: a port is not a number from 1 to 65535; expected {EXAMPLES[kind]}. {ENCODE}"
        )
    return host, port


def _credentials(text: str) -> dict[str, Any]:
    username, _, password = text.partition(":")
    named = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in named.items() if value}


@contextmanager
def as_driver_errors() -> Iterator[None]:
    """redis-py says "no node can be reached" with an exception outside its own ``RedisError``."""
    try:
        yield
    except RedisClusterException as error:
        cause = error.__cause__
        if isinstance(cause, ConnectionError | TimeoutError):
            raise type(cause)(str(error)) from error
        if isinstance(cause, RedisClusterException):
            raise ConfigurationError(f"{error}. For a server that is no cluster write redis:// in LOCATION.") from error
        if str(error).startswith("All slots are not covered"):
            raise ClusterDownError(str(error)) from error
        raise


# What a cluster client tries again after, without redis-py's TimeoutError.
NOT_TIMED_OUT: Any = tuple(kind for kind in RedisCluster.ERRORS_ALLOW_RETRY if kind is not TimeoutError)


class _BudgetedNodes(EventListenerInterface):
    """Gives the nodes that the cluster names connections with the budget; no connection is open by then."""

    def listen(self, event: object) -> None:
        for pool in getattr(event, "connection_pools", []):
            pool.connection_class = budgeted(pool.connection_class)


class BudgetedCluster(RedisCluster):
    """``RedisCluster`` that opens at its first use rather than where it is made, and heeds ``budget`` seconds.

    A time-out is not retried, but the slots are asked for again: hence each node gets a third of the budget.
    """

    ERRORS_ALLOW_RETRY = NOT_TIMED_OUT

    def __init__(self, topology: Topology, arguments: dict[str, Any], budget: float | None) -> None:
        self.budget = budget
        self._topology, self._arguments = topology, {**arguments, **topology.options, "ssl": topology.tls}
        self._opening = threading.RLock()
        self._is_opening = False

    def __getattr__(self, name: str) -> Any:
        # Asked only for what is not set yet: all that redis-py's constructor sets, until it has run.
        if name.startswith("__") or "_opening" not in vars(self):
            raise AttributeError(name)
        with within(self.budget):
            if not self._opening.acquire(timeout=-1 if (left := seconds_left()) is None else left):
                raise TimeoutError("Another thread has been opening the cluster's first connection all the time.")
            try:
                if self._is_opening or (name not in vars(self) and "_aggregate_nodes" in vars(self)):
                    raise AttributeError(name)
                if name not in vars(self):
                    self._open()
                return object.__getattribute__(self, name)
            finally:
                self._opening.release()

    def _open(self) -> None:
        nodes = [
            ClusterNode(host, port, redis_connection=self._first_client(host, port))
            for host, port in self._topology.hosts
        ]
        dispatcher = EventDispatcher({AfterPooledConnectionsInstantiationEvent: [_BudgetedNodes()]})
        self._is_opening = True
        try:
            with as_driver_errors():
                super().__init__(
                    startup_nodes=nodes, retry=BudgetedRetry(), event_dispatcher=dispatcher, **self._arguments
                )
        finally:
            self._is_opening = False

    def _first_client(self, host: str, port: int) -> "redis.Redis":
        arguments = {name: value for name, value in self._arguments.items() if name != "max_connections"}
        client = redis.Redis(host, port, retry=BudgetedRetry(0), **arguments)
        client.connection_pool.connection_class = budgeted(client.connection_pool.connection_class)
        return client

    def close(self) -> None:
        if "nodes_manager" in vars(self):
            super().close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with within(self.budget), as_driver_errors():
            try:
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except TimeoutError:
                if not self._is_opening:
                    raise
                self.replace_default_node()  # of COMMAND, which any node answers
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool | None = None, shard_hint: Any = None) -> Any:
        pipeline: Any = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        execute, asked = pipeline.execute, pipeline._get_command_keys

        def bounded(raise_on_error: bool = True) -> Any:
            with within(self.budget), as_driver_errors():
                return execute(raise_on_error)

        # redis-py would ask the server for the keys of each script, a round trip each.
        pipeline.execute, pipeline._get_command_keys = bounded, lambda *args: keys_in(args) or asked(*args)
        return pipeline
