"""What a ``LOCATION`` says: one server, a service behind Sentinels, or a cluster."""

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.cluster import ClusterNode
from redis.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.sentinel import Sentinel

from bergizi_redis.exceptions import ConfigurationError

SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"
)  # fmt: skip
DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}

Kind = Literal["standalone", "sentinel", "cluster"]


@dataclass(frozen=True, slots=True)
class Topology:
    """``hosts`` and ``service`` are empty for a standalone server; ``options`` are keyword arguments of a connection."""

    kind: Kind
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def sentinel_manager(self, arguments: dict[str, Any]) -> Sentinel:
        return Sentinel(list(self.hosts), sentinel_kwargs=_bounded(arguments), **self.options)  # type: ignore[no-untyped-call]

    def async_sentinel_manager(self, arguments: dict[str, Any]) -> AsyncSentinel:
        return AsyncSentinel(list(self.hosts), sentinel_kwargs=_bounded(arguments), **self.options)

    def startup_nodes(self) -> list[ClusterNode]:
        return [ClusterNode(host, port) for host, port in self.hosts]


def _bounded(arguments: dict[str, Any]) -> dict[str, Any]:
    """The Sentinels are asked within the same time-outs as the server; its password is not theirs."""
    return {name: value for name, value in arguments.items() if name in ("socket_timeout", "socket_connect_timeout")}


def parse_location(url: object, where: str = "LOCATION") -> Topology:
    """Read a URL. Raises ``ConfigurationError``, without the password, for what is not one of ``SCHEMES``."""
    scheme = url.split("://", 1)[0].lower() if isinstance(url, str) and "://" in url else ""
    if scheme not in SCHEMES:
        shown = scheme + "://…" if scheme else "not a URL" if url else "empty"
        raise ConfigurationError(
            f"{where} is {shown}; expected one of {', '.join(f'{name}://' for name in SCHEMES)}, "
            "such as redis://localhost:6379/0."
        )
    tls = scheme.startswith("rediss")
    if "+" not in scheme:
        return Topology("standalone", tls)
    kind: Kind = "sentinel" if scheme.endswith("sentinel") else "cluster"
    parts = urlsplit(str(url))
    path = [unquote(part) for part in parts.path.split("/") if part]
    credentials, _, addresses = parts.netloc.rpartition("@")
    hosts = tuple(_host(address, kind, where) for address in addresses.split(",") if address)
    if not hosts or (kind == "sentinel" and not path):
        form = "redis+sentinel://host:26379/service/0" if kind == "sentinel" else "redis+cluster://host:7000"
        raise ConfigurationError(f"{where} names no {'service' if hosts else 'host'}; expected {form}.")
    options = _options(credentials, parts.query)
    if kind == "sentinel" and len(path) > 1:
        options["db"] = _number(path[1], where)
    return Topology(kind, tls, hosts, path[0] if kind == "sentinel" else "", options)


def _host(address: str, kind: Kind, where: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":") if address.rpartition(":")[2].isdecimal() else (address, "", "")
    return host.strip("[]") or address, _number(port, where) if port else DEFAULT_PORTS[kind]


def _number(text: str, where: str) -> int:
    if not text.isdecimal():
        raise ConfigurationError(f"{where}: {text!r} is not a number.")
    return int(text)


def _options(credentials: str, query: str) -> dict[str, Any]:
    """User, password and the query's arguments, typed as redis-py types those of a plain URL."""
    options: dict[str, Any] = {}
    username, _, password = credentials.partition(":")
    if username:
        options["username"] = unquote(username)
    if password:
        options["password"] = unquote(password)
    for name, value in parse_qsl(query):
        options[name] = URL_QUERY_ARGUMENT_PARSERS.get(name, str)(value)
    return options
