"""What an operator sees of the write-behinds: how much waits, and the dead letters, to replay or to drop.

Round trips: some for each shard; none of this belongs into a request. Raises ``RedisError`` when Redis is down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.utils.module_loading import autodiscover_modules

from bergizi_redis.cache.behind import Shard, Waiting
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.writes import WriteBehind, declared
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.exchange import Exchange, speak

MODULE = "writes"
LONGEST_SHOWN = 200  # characters of a value


@dataclass(frozen=True, slots=True)
class Report:
    """``waiting`` writes, the oldest ``since`` (Unix seconds); ``buffered`` entries, ``dead`` letters, ``workers``."""

    domain: str
    waiting: int
    since: float | None
    buffered: int
    dead: int
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """A write that could not be flushed: ``failures`` and the ``reason`` of the last; ``data`` as it prints, cut."""

    domain: str
    tenant: str
    ident: str
    token: str
    failures: int
    reason: str
    data: str


def discovered() -> list[WriteBehind]:
    """Every write-behind, those in the modules ``writes`` of installed apps too."""
    autodiscover_modules(MODULE)
    return declared()


def reports(behinds: Sequence[WriteBehind]) -> list[Report]:
    """One for each write-behind."""
    return [_report(behind) for behind in behinds]


def _report(behind: WriteBehind) -> Report:
    found = [_say(shard.status()) for shard in behind.all_shards()]
    return Report(
        behind.domain.name,
        sum(status.waiting for status in found),
        min((status.since for status in found if status.since is not None), default=None),
        sum(status.buffered for status in found),
        sum(status.dead for status in found),
        tuple(sorted({status.worker for status in found if status.worker})),
    )


def dead_letters(behind: WriteBehind) -> list[Letter]:
    """The dead letters, those of an entry in the order of its writes."""
    return [_shown(behind, waiting) for _, waiting in _letters(behind)]


def replay(behind: WriteBehind) -> None:
    """Have the worker flush all dead letters again, in order and before later writes of their entries."""
    for shard, group in _by_entry(behind):
        _say(shard.replay([group[0].name]))


def drop(behind: WriteBehind) -> int:
    """Give up all dead letters; how many there were. The database's value is read from then on."""
    return sum(_say(shard.drop(group)) for shard, group in _by_entry(behind))


def _letters(behind: WriteBehind) -> Iterator[tuple[Shard, Waiting]]:
    for shard in behind.all_shards():
        for letter in _say(shard.letters()):
            yield shard, letter


def _by_entry(behind: WriteBehind) -> Iterator[tuple[Shard, list[Waiting]]]:
    ordered = sorted(_letters(behind), key=lambda found: (found[0].number, found[1].name))  # stable: writes in order
    for (number, _), group in groupby(ordered, key=lambda found: (found[0].number, found[1].name)):
        yield Shard(behind.domain.name, number), [letter for _, letter in group]


def _shown(behind: WriteBehind, letter: Waiting) -> Letter:
    ident = letter.name.partition(b":")[2].decode("utf-8", "backslashreplace")
    return Letter(
        behind.domain.name, letter.tenant, ident, letter.token, letter.failures, letter.reason, _data(letter.payload)
    )


def _data(payload: bytes) -> str:
    try:
        return repr(tagged_cache().entries.decode(payload))[:LONGEST_SHOWN]
    except Exception as error:  # a serializer may raise anything, and that may be why it died
        return f"<{type(error).__name__}>"


def _say(exchange: Exchange[Any]) -> Any:
    return speak(exchange, client(config.WRITE_BEHIND_ALIAS))
