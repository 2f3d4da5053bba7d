"""Exchanges: one generator, spoken sync and async."""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import NoScriptError, ResponseError

from bergizi_redis.exchange import Exchange, aspeak, evaluate, speak
from bergizi_redis.scripts.script import script
from tests.servers import plain_client


@pytest.fixture(params=["blocking", "awaiting"])
def say(request: pytest.FixtureRequest, redis_url: str) -> Any:
    """Speak an exchange and return its result."""

    def blocking(exchange: Exchange[Any]) -> Any:
        with plain_client(redis_url) as client:
            return speak(exchange, client)

    async def awaiting(exchange: Exchange[Any]) -> Any:
        async with redis.asyncio.Redis.from_url(redis_url, socket_timeout=60, socket_connect_timeout=60) as client:
            return await aspeak(exchange, client)

    return blocking if request.param == "blocking" else lambda exchange: asyncio.run(awaiting(exchange))


def test_each_request_is_sent_and_its_reply_given_back(say: Any, prefix: str) -> None:
    def exchange() -> Exchange[tuple[Any, ...]]:
        stored = yield lambda client: client.set(f"{prefix}:k", "1")
        number = yield lambda client: client.incr(f"{prefix}:k")
        several = yield lambda client: client.pipeline().get(f"{prefix}:k").delete(f"{prefix}:k").execute()
        return stored, number, several

    assert say(exchange()) == (True, 2, [b"2", 1])


def test_an_exchange_may_ask_for_nothing(say: Any) -> None:
    def exchange(requests: tuple[Any, ...] = ()) -> Exchange[str]:
        yield from requests
        return "done"

    assert say(exchange()) == "done"


def test_an_exchange_may_have_a_part(say: Any, prefix: str) -> None:
    def part(key: str) -> Exchange[int]:
        number: int = yield lambda client: client.exists(key)
        return number

    def exchange() -> Exchange[list[int]]:
        first = yield from part(f"{prefix}:a")
        return [first, (yield from part(f"{prefix}:b"))]

    assert say(exchange()) == [0, 0]


def test_a_drivers_error_can_be_caught_inside(say: Any, prefix: str) -> None:
    def exchange() -> Exchange[bytes]:
        text = "no error"
        yield lambda client: client.sadd(f"{prefix}:k", "x")
        try:
            yield lambda client: client.incr(f"{prefix}:k")
        except ResponseError as error:
            text = str(error)
        echoed: bytes = yield lambda client: client.echo(text[:9])
        return echoed

    assert say(exchange()) == b"WRONGTYPE"


def test_an_error_that_is_not_caught_comes_out_and_what_is_open_is_closed(say: Any, prefix: str) -> None:
    closed = []

    def exchange() -> Exchange[None]:
        try:
            yield lambda client: client.execute_command("NO-SUCH-COMMAND")
        finally:
            closed.append(True)

    with pytest.raises(ResponseError):
        say(exchange())
    assert closed == [True]


def test_an_error_in_the_request_itself_comes_out(say: Any) -> None:
    def exchange() -> Exchange[None]:
        yield lambda client: 1 / 0

    with pytest.raises(ZeroDivisionError):
        say(exchange())


def test_a_script_that_the_server_has_forgotten_is_sent_whole(say: Any, prefix: str, raw: Any) -> None:
    incr = script("incr")
    raw.set(f"{prefix}:n", 1)
    forgotten = type("Forgotten", (), {"sha": "0" * 40, "text": incr.text})()
    assert say(evaluate(forgotten, [f"{prefix}:n"], (5,))) == 6
    assert say(evaluate(incr, [f"{prefix}:n"], (5,))) == 11
    with pytest.raises(NoScriptError):
        raw.evalsha("0" * 40, 0)
