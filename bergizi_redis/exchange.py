"""One operation's talk with the server, written once and spoken sync or async.

An exchange is a generator: it yields requests (a function of the client, such as ``lambda c: c.get(key)``), is sent
each reply, and returns the result. ``speak`` runs it on a ``redis.Redis``, ``aspeak`` on a ``redis.asyncio.Redis``;
a driver error is thrown into the generator, so that its ``try`` works as in plain code.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from redis.exceptions import NoScriptError

from bergizi_redis.scripts.script import Script

T = TypeVar("T")
Request = Callable[[Any], Any]
Exchange = Generator[Request, Any, T]


def speak(exchange: Exchange[T], client: Any) -> T:
    """Run the exchange on a sync client and return its result."""
    try:
        request = next(exchange)
        while True:
            try:
                reply = request(client)
            except Exception as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def aspeak(exchange: Exchange[T], client: Any) -> T:
    """Run the exchange on an async client of the running loop and return its result."""
    try:
        request = next(exchange)
        while True:
            try:
                reply = await request(client)
            except Exception as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def evaluate(script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Exchange[Any]:
    """Run a script: one round trip, two where the server does not know it yet."""
    try:
        return (yield lambda client: client.evalsha(script.sha, len(keys), *keys, *args))
    except NoScriptError:
        return (yield lambda client: client.eval(script.text, len(keys), *keys, *args))


def evaluate_by_text(script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Exchange[Any]:
    """The same in one round trip always, for what is rare or promised to take one: the whole text is sent."""
    return (yield lambda client: client.eval(script.text, len(keys), *keys, *args))
