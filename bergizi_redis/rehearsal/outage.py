"""An outage of Redis for this process alone: real sockets, real errors, and the server stays up for everybody else.

Promise: inside the block every connection that redis-py has open here is cut, and every new one – of any client,
sync or async, to any server, Sentinel or node – goes to a port of our own that refuses it, or with ``hung`` accepts it
and never answers. Afterwards connections open anew where they belong, and each pool's circuit is closed.

Where a socket is opened is the one place of redis-py that is replaced for the time; nothing in between is.
"""

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis.asyncio.connection
import redis.connection

from bergizi_redis.circuit import circuit_of

HOST = "127.0.0.1"
SYNC: tuple[Any, ...] = (redis.connection.Connection, redis.connection.UnixDomainSocketConnection)
ASYNC: tuple[Any, ...] = (redis.asyncio.connection.Connection, redis.asyncio.connection.UnixDomainSocketConnection)
CONNECTIONS = (redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection)
POOLS = (redis.connection.ConnectionPool, redis.asyncio.connection.ConnectionPool)

_blocks: list[dict[str, Any]] = []  # where connections lead, innermost last
_lock = threading.RLock()


@contextmanager
def outage(hung: bool = False) -> Iterator[None]:
    """The block of ``redis_is_down``. Blocks may be nested: the inner one holds."""
    with ExitStack() as stack:
        place = stack.enter_context(_nowhere(hung))
        with _lock:
            if not _blocks:
                _divert()
            _blocks.append(place)
        _cut()
        try:
            yield
        finally:
            with _lock:
                _blocks.remove(place)
                if not _blocks:
                    _lead_back()
            _cut()
            _close_circuits()


@contextmanager
def _nowhere(hung: bool) -> Iterator[dict[str, Any]]:
    """Attributes of a connection that leads to sockets of ours: bound, so that nobody else gets the port."""
    with (
        TemporaryDirectory() as directory,
        socket.socket() as port,
        socket.socket(socket.AF_UNIX) as path,
    ):
        port.bind((HOST, 0))
        path.bind(str(Path(directory) / "redis.sock"))
        if hung:  # the system accepts for a socket that listens, and we never do
            port.listen(1024)
            path.listen(1024)
        yield {"host": HOST, "port": port.getsockname()[1], "path": path.getsockname()}


_originals: dict[Any, Callable[..., Any]] = {}


def _divert() -> None:
    for kind in (*SYNC, *ASYNC):
        _originals[kind] = kind._connect
        kind._connect = _adiverted(kind._connect) if kind in ASYNC else _diverted(kind._connect)


def _lead_back() -> None:
    for kind, original in _originals.items():
        kind._connect = original
    _originals.clear()


def _diverted(connect: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(connect)
    def diverted(connection: Any) -> Any:
        with _leading_nowhere(connection):
            return connect(connection)

    return diverted


def _adiverted(connect: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(connect)
    async def diverted(connection: Any) -> Any:
        with _leading_nowhere(connection):
            return await connect(connection)

    return diverted


@contextmanager
def _leading_nowhere(connection: Any) -> Iterator[None]:
    """Give the connection another address while it connects. One thread or task has it, so nobody else looks."""
    place = _blocks[-1] if _blocks else {}
    before = {name: getattr(connection, name) for name in place if hasattr(connection, name)}
    for name in before:
        setattr(connection, name, place[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(connection, name, value)


def _cut() -> None:
    """End every open connection as a dying server does; who waits for a reply there reads the end of the stream."""
    for connection in _living(CONNECTIONS):
        writer = getattr(connection, "_writer", None)
        link = getattr(connection, "_sock", None) if writer is None else writer.get_extra_info("socket")
        if link is not None:
            # A copy, for what a loop hands out may have no shutdown(); OSError: it is closed already.
            with suppress(OSError), socket.socket(fileno=os.dup(link.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)


def _close_circuits() -> None:
    for pool in _living(POOLS):
        circuit_of(pool).answered()


def _living(kinds: tuple[type, ...]) -> list[Any]:
    """Every instance in this process. By ``type()``: ``isinstance`` would wake lazy objects of the project."""
    return [found for found in gc.get_objects() if issubclass(type(found), kinds)]
