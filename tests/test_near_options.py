"""``OPTIONS["NEAR_CACHE"]``: what it may hold, and what the system check says of the rest; and RESP3, as it arrives.

The parser was cut short once, so that a reply in two pieces was taken for one: red.
"""

from typing import Any

import pytest
from django.core.cache import caches

from bergizi_redis import checklist
from bergizi_redis.cache.near.options import NearOptions, near_options
from bergizi_redis.cache.near.replies import Garbled, Push, Refusal, Replies, packed
from bergizi_redis.checks import check_aliases
from bergizi_redis.exceptions import ConfigurationError

TAGGED = "bergizi_redis.cache.backend.TaggedRedisCache"
WRONG = [
    ("yes", "expected True, False or a dict"),
    ({"max_byte": 1}, "Did you mean 'max_bytes'?"),
    ({"size": 1}, "It may hold 'max_bytes' and 'max_staleness'."),
    ({"max_bytes": 0}, "a whole number of bytes above 0"),
    ({"max_bytes": 1.5}, "a whole number of bytes above 0"),
    ({"max_bytes": True}, "a whole number of bytes above 0"),
    ({"max_staleness": -1}, "a number of seconds above 0"),
    ({"max_staleness": float("inf")}, "a number of seconds above 0"),
    ({"max_staleness": "1"}, "a number of seconds above 0"),
]


def alias(near: object, backend: str = TAGGED) -> dict[str, Any]:
    return {"BACKEND": backend, "LOCATION": "redis://localhost:6379/0", "OPTIONS": {"NEAR_CACHE": near}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (False, None),
        (None, None),
        (True, NearOptions(64 * 2**20, 1.0)),
        ({}, NearOptions()),
        ({"max_bytes": 1000, "max_staleness": 2}, NearOptions(1000, 2)),
    ],
)
def test_what_it_may_hold(settings: Any, given: object, expected: NearOptions | None) -> None:
    assert near_options({"NEAR_CACHE": given}) == expected
    settings.CACHES = {"default": alias(given)}
    assert check_aliases() == []


def test_it_is_off_by_default() -> None:
    assert near_options({}) is None
    assert caches["default"].near is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_what_it_may_not_hold_is_named(settings: Any, given: object, words: str) -> None:
    settings.CACHES = {"default": alias(given)}
    (found,) = check_aliases()
    assert found.id == checklist.WRONG_NEAR_CACHE.id
    assert words in found.msg
    assert "CACHES['default']" in found.msg
    assert found.hint
    with pytest.raises(ConfigurationError, match="NEAR_CACHE"):
        caches["default"].get("k")


def test_an_alias_that_ignores_it_is_named(settings: Any) -> None:
    settings.CACHES = {"default": alias(True), "plain": alias(True, "django_redis.cache.RedisCache")}
    found = [message for message in check_aliases() if message.id == checklist.WRONG_NEAR_CACHE.id]
    assert [message.msg for message in found] == ["CACHES['plain'] has NEAR_CACHE, which its BACKEND ignores."]


STREAM = (
    b"+OK\r\n:42\r\n(123456789012345678901234567890\r\n,1.5\r\n_\r\n#t\r\n#f\r\n$3\r\na\r\n\r\n"
    b"$-1\r\n*-1\r\n*2\r\n$0\r\n\r\n:1\r\n%2\r\n+role\r\n+master\r\n+modules\r\n*0\r\n~1\r\n:1\r\n=7\r\ntxt:abc\r\n"
    b"-MOVED 1 127.0.0.1:1\r\n!5\r\nERR x\r\n|1\r\n+ttl\r\n:1\r\n+behind\r\n>2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n"
    b">2\r\n+invalidate\r\n_\r\n"
)
SAID = [
    b"OK", 42, 123456789012345678901234567890, b"1.5", None, True, False, b"a\r\n", None, None, [b"", 1],
    {b"role": b"master", b"modules": []}, [1], b"txt:abc", "MOVED 1 127.0.0.1:1", "ERR x", b"behind",
    [b"invalidate", [b"k"]], [b"invalidate", None],
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_replies_are_whole_however_they_arrive(size: int) -> None:
    replies = Replies()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    found = [reply for piece in pieces for reply in replies.feed(piece)]
    assert [str(reply) if isinstance(reply, Refusal) else reply for reply in found] == SAID
    assert [isinstance(reply, Push) for reply in found[-3:]] == [False, True, True]


def test_what_is_no_resp_is_said_to_be_none() -> None:
    with pytest.raises(Garbled):
        list(Replies().feed(b"HTTP/1.1 400 Bad Request\r\n"))


def test_commands_are_packed_as_bytes() -> None:
    assert packed("GET", "dapur-é", b"\xff") == b"*3\r\n$3\r\nGET\r\n$8\r\ndapur-\xc3\xa9\r\n$1\r\n\xff\r\n"
