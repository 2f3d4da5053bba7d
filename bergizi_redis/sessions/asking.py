"""How this room asks the server: in one budget, sync or async, and with an outage told apart from "no session".

``SESSION_CACHE_ALIAS``, Django's own setting, names the alias of CACHES.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from bergizi_redis.aconnections import aclient
from bergizi_redis.budget import within
from bergizi_redis.conf import config
from bergizi_redis.connections import client, explain, is_outage
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange, aspeak, speak
from bergizi_redis.scripts.script import Script

T = TypeVar("T")


class Call(NamedTuple):
    """One script on one key, and others in its slot: of several calls each may lie in another slot of a cluster."""

    script: Script
    key: str
    args: Sequence[Any]
    beside: Sequence[str] = ()


@contextmanager
def outage_told() -> Iterator[None]:
    """Raise ``RedisUnavailable`` where the server cannot serve; a wrong command stays what it is."""
    try:
        yield
    except RedisError as error:
        if not is_outage(error):
            raise
        raise _unavailable(error) from error


def _unavailable(error: RedisError) -> RedisUnavailable:
    return RedisUnavailable(
        f"The session store, CACHES[{settings.SESSION_CACHE_ALIAS!r}], cannot serve; sessions and cookies are "
        f"kept. {explain(error)}"
    )


def ask(exchange: Exchange[T], *, budget: float | None = None) -> T:
    """Run the exchange, all its round trips within ``budget`` seconds: ``REQUEST_BUDGET`` unless given."""
    try:
        with within(config.REQUEST_BUDGET if budget is None else budget):
            return speak(readdressed(exchange), client(settings.SESSION_CACHE_ALIAS))
    except RedisError as error:  # as outage_told() does, without a generator's cost
        if not is_outage(error):
            raise
        raise _unavailable(error) from error


async def aask(exchange: Exchange[T], *, budget: float | None = None) -> T:
    """``ask`` on the client of the running loop, without a thread."""
    try:
        # A deadline and no timer: the command that it ends must be the one to know, and to tell the circuit.
        with within(config.REQUEST_BUDGET if budget is None else budget):
            return await aspeak(readdressed(exchange), aclient(settings.SESSION_CACHE_ALIAS))
    except RedisError as error:
        if not is_outage(error):
            raise
        raise _unavailable(error) from error


def readdressed(exchange: Exchange[T]) -> Exchange[T]:
    """Send a request once more, on new connections, where the server says that it has become a replica meanwhile.

    After a failover the name or the Sentinels lead to the new primary; the old connections do not. A replica has
    written nothing, so nothing is done twice.
    """
    try:
        request = next(exchange)
        while True:
            reply: Any = None
            try:
                reply = yield request
                is_refused = _holds_refusal(reply)
            except ReadOnlyError:
                is_refused = True
            except Exception as error:
                request = exchange.throw(error)
                continue
            if is_refused:
                yield _hang_up
                try:
                    reply = yield request
                except Exception as error:
                    request = exchange.throw(error)
                    continue
            request = exchange.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _holds_refusal(reply: Any) -> bool:
    return isinstance(reply, list) and any(isinstance(each, ReadOnlyError) for each in reply)


def _hang_up(client: Any) -> Any:
    pool = getattr(client, "connection_pool", None)
    # A cluster's client has no such pool: there a node that was demoted says MOVED.
    return client.ping() if pool is None else pool.disconnect(inuse_connections=False)


def evaluate_all(calls: Sequence[Call]) -> Exchange[list[Any]]:
    """Run scripts in one round trip, two where the server does not know them yet. Errors stand among the replies."""
    replies: list[Any] = yield lambda client: _pipeline(client, calls, by_text=False)
    unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        again: list[Any] = yield lambda client: _pipeline(client, [calls[place] for place in unknown], by_text=True)
        for place, reply in zip(unknown, again, strict=True):
            replies[place] = reply
    return replies


def _pipeline(client: Any, calls: Sequence[Call], *, by_text: bool) -> Any:
    pipeline = client.pipeline(transaction=False)
    for script, key, args, beside in calls:
        # redis-py's cluster pipelines block evalsha() by name; sent like this it is routed by its key.
        command = ("EVAL", script.text) if by_text else ("EVALSHA", script.sha)
        pipeline.execute_command(*command, 1 + len(beside), key, *beside, *args)
    return pipeline.execute(raise_on_error=False)


def raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
