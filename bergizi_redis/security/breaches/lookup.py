"""Is this password in the list? One round trip: the list in force, and the bits in the list that was so last time.

Where another list has come into force since, one more. While Redis is down, or where there is no list, the answer is
that nobody knows, logged: a new password never waits for a server.
"""

import logging
from typing import Any

from django.utils.translation import gettext
from redis.exceptions import RedisError

from bergizi_redis import breachkeys
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security.breaches.bloom import Shape, entry_of
from bergizi_redis.security.passwordrules.candidate import Problem
from bergizi_redis.security.steps import Pipeline, Steps

logger = logging.getLogger("bergizi_redis.security")

BREACHED = "password_breached"
MOST_LISTS = 16  # a process asks one; more are those of tests

_known: dict[str, Shape] = {}  # by the key that names the list in force: the one that was so last time


def in_a_breach() -> Problem:
    """The reason against such a password."""
    return Problem.said(BREACHED, gettext("This password was in a breach, so others have it on their lists."))


def breached(password: str) -> Steps[bool | None]:
    """Whether it is on the list – or, as often as the list was built to allow, is not; None: could not be asked."""
    entry, key = entry_of(password), breachkeys.in_force()
    try:
        return (yield from _ask(entry, key))
    except (RedisError, RedisUnavailable) as error:
        logger.warning("A password was not looked for in the breach list: %s", error, extra={"action": "breach.outage"})
        return None


def _ask(entry: bytes, key: str) -> Steps[bool | None]:
    guess = _known.get(key)
    for _ in range(3):  # a list that is replaced at each try would be another bug
        commands: list[tuple[Any, ...]] = [("get", key)]
        if guess is not None:
            commands.append(_bits(guess, entry))
        text, *bits = yield Pipeline(commands)
        shape = _read(text)
        if shape is None:
            logger.warning("There is no breach list: see build_breach_list", extra={"action": "breach.missing"})
            return None
        if shape == guess:
            return all(bits[0])
        if len(_known) >= MOST_LISTS:
            _known.clear()
        guess = _known[key] = shape
    return None


def _read(text: bytes | None) -> Shape | None:
    try:
        return None if text is None else Shape.read(text)
    except (ValueError, TypeError):  # not written by this version
        return None


def _bits(shape: Shape, entry: bytes) -> tuple[Any, ...]:
    first, *others = shape.places(entry)
    return "bitfield_ro", breachkeys.shard(shape.ident, shape.shard(entry)), "u1", first, [("u1", at) for at in others]
