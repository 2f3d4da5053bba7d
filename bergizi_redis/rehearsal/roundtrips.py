"""Counting what this process asks of Redis, where redis-py hands commands to a socket.

Promise: one for each time that something is sent and an answer is waited for – a command, a script, a pipeline, a
MULTI – of any client, sync or async, in any thread. Setting a connection up and probing it do not count; a second try
after a broken link does. Costs nothing outside of the block.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import redis.asyncio.connection
import redis.connection

from bergizi_redis.greetings import is_greeting

HANDSHAKE = {"AUTH", "CLIENT", "CLUSTER", "COMMAND", "HELLO", "PING", "READONLY", "SELECT"}
CONNECTIONS: tuple[Any, ...] = (redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection)


class RoundTrips:
    """``count`` so far, and ``sent``: the commands of each round trip, such as ``["MGET"]`` or ``["GET", "SET"]``.

    ``commands`` has every command with its arguments, as bytes.
    """

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.commands: list[list[bytes]] = []

    @property
    def count(self) -> int:
        return len(self.sent)

    def __repr__(self) -> str:
        return f"<{self.count} round trips: {'; '.join(' '.join(names) for names in self.sent)}>"

    def note(self, data: bytes) -> None:
        commands = commands_in(data)
        names = [command[0].decode("ascii", "replace").upper() for command in commands]
        is_greeted = names == ["EVAL"] and is_greeting(commands[0][1])
        if not HANDSHAKE.issuperset(names) and not is_greeted:
            self.sent.append(names)
            self.commands += commands


def commands_in(data: bytes) -> list[list[bytes]]:
    """The commands in a request (RESP): ``*<arguments>``, then ``$<length>`` and the bytes of each argument."""
    commands, at = [], 0

    def number() -> int:
        nonlocal at
        end = data.index(b"\r\n", at)
        found, at = int(data[at + 1 : end]), end + 2
        return found

    while at < len(data):
        command = []
        for _ in range(number()):
            size = number()
            command.append(data[at : at + size])
            at += size + 2
        commands.append(command)
    return commands


_counting: tuple[RoundTrips, ...] = ()
_originals: list[Callable[..., Any]] = []
_lock = threading.Lock()


@contextmanager
def counting() -> Iterator[RoundTrips]:
    """The block of ``count_round_trips``."""
    global _counting
    trips = RoundTrips()
    with _lock:
        if not _counting:
            _listen()
        _counting = (*_counting, trips)
    try:
        yield trips
    finally:
        with _lock:
            _counting = tuple(other for other in _counting if other is not trips)
            if not _counting:
                _end()


def _listen() -> None:
    for kind in CONNECTIONS:
        _originals.append(kind.send_packed_command)
        kind.send_packed_command = _noting(kind.send_packed_command)


def _end() -> None:
    for kind, original in zip(CONNECTIONS, _originals, strict=True):
        kind.send_packed_command = original
    _originals.clear()


def _noting(send: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(send)
    def noted(connection: Any, command: str | bytes | Sequence[bytes], *args: Any, **kwargs: Any) -> Any:
        if isinstance(command, str | bytes):
            command = [command.encode() if isinstance(command, str) else command]
        data = b"".join(command)
        for trips in _counting:
            trips.note(data)
        return send(connection, [data], *args, **kwargs)  # awaitable where the connection is

    return noted
