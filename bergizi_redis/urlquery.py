"""The query of a ``LOCATION``: arguments of a connection, typed as redis-py types them.

A name that no connection takes is told of where the URL is read. redis-py would hand it to the first connection of a
request, for a ``TypeError`` that says nothing of the URL.
"""

import difflib
from functools import cache
from inspect import signature
from typing import Any
from urllib.parse import parse_qsl

from redis import Redis
from redis.connection import (
    URL_QUERY_ARGUMENT_PARSERS,
    AbstractConnection,
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from bergizi_redis.exceptions import ConfigurationError


def query_arguments(query: str, scheme: str, where: str) -> dict[str, Any]:
    """The arguments by name, each one that a connection of this scheme takes. Raises ``ConfigurationError``."""
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query):
        if name not in taken_by(scheme):
            raise ConfigurationError(f"{where}: {_unknown(name, query, scheme)}")
        typed: Any = URL_QUERY_ARGUMENT_PARSERS.get(name, str)
        try:
            options[name] = typed(value)
        except (TypeError, ValueError):
            raise ConfigurationError(f"{where}: the value of {name!r} in the URL's query cannot be used.") from None
    return options


@cache
def taken_by(scheme: str) -> frozenset[str]:
    """What may stand in the query of such a URL: what its connections and their pool take."""
    if scheme.endswith("+cluster"):  # each node's client is made of them
        classes: tuple[type, ...] = (Redis,)
    elif scheme == "unix":
        classes = (AbstractConnection, UnixDomainSocketConnection, BlockingConnectionPool)
    else:
        classes = (AbstractConnection, Connection, SSLConnection, BlockingConnectionPool)
    names = {name for kind in classes for name in signature(kind.__init__).parameters}  # type: ignore[misc]
    if not scheme.startswith("rediss"):
        names = {name for name in names if not name.startswith("ssl")}
    return frozenset(names - {"self", "kwargs", "connection_kwargs"})


def _unknown(name: str, query: str, scheme: str) -> str:
    if "@" in query:  # what was read as a query is a piece of the password
        return "its query holds an '@'. Percent-encode special characters of the password: '?' as %3F, '@' as %40."
    if name.startswith("ssl") and name in taken_by("rediss"):
        return f"{name!r} in the URL's query is for TLS; write rediss in the place of redis."
    close = difflib.get_close_matches(name, taken_by(scheme), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "such as socket_timeout=0.5 or health_check_interval=30."
    return f"{name!r} in the URL's query is no argument of a connection; {hint}"
