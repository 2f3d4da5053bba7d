"""What is said on each new connection before anything else, such as whether the server is still the one it was.

A room says it by ``on_connect(teller)``; ``teller(url)`` gives the scripts to run for the server at that URL. One round
trip for each script and connection that is opened, none later. What the server refuses is logged once and left out.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.exceptions import ResponseError

logger = logging.getLogger("bergizi_redis")

Step = tuple[str, Sequence[str], Sequence[Any]]  # the script's text, its keys, its arguments
Teller = Callable[[str], Iterable[Step]]

_tellers: list[Teller] = []
_told: set[str] = set()
_said: set[bytes] = set()


def on_connect(teller: Teller) -> None:
    if teller not in _tellers:
        _tellers.append(teller)


def is_greeting(text: bytes) -> bool:
    """Whether a script is one that was said on a connection."""
    return text in _said


def _commands(url: str) -> list[tuple[Any, ...]]:
    steps = [step for tell in _tellers for step in tell(url)]
    _said.update(text.encode() for text, _, _ in steps)
    return [("EVAL", text, len(keys), *keys, *arguments) for text, keys, arguments in steps]


def greeting(url: str) -> Callable[[Any], None]:
    """redis-py's ``redis_connect_func``: the handshake, then what is to be said."""

    def greet(connection: Any) -> None:
        connection.on_connect()
        for command in _commands(url):
            connection.send_command(*command, check_health=False)
            try:
                connection.read_response()
            except ResponseError as error:
                _refused(error)

    return greet


def agreeting(url: str) -> Callable[[Any], Any]:
    """The same for a loop."""

    async def greet(connection: Any) -> None:
        await connection.on_connect()
        for command in _commands(url):
            await connection.send_command(*command, check_health=False)
            try:
                await connection.read_response()
            except ResponseError as error:
                _refused(error)

    return greet


def _refused(error: ResponseError) -> None:
    """A replica, or a user who may not: the connection is good all the same."""
    kind = str(error).partition(" ")[0]
    if kind not in _told:
        _told.add(kind)
        logger.warning(
            "The server cannot be asked whether it was restarted from an older copy: %s. Allow INFO and EVAL to the "
            "user, or call cache.invalidate_all() after such a restart.", error, extra={"action": "greeting_refused"},
        )  # fmt: skip
