"""The buffer of a write-behind: what is said to Redis, once for sync and async.

A write goes into its shard's stream and into the buffer, in one atomic step. Tenant and ident decide the shard, so all
writes of an entry stand in one stream, in order. One worker at a time leases a shard; what it does not acknowledge,
the next is handed again. A write is forgotten, in one atomic step, once it is flushed and the cache was voided.

Where a write cannot be flushed it becomes a dead letter, and its entry is *halted*: later writes of that entry follow
it there, in order. A replay hands an entry's letters out before its writes.

| operation | round trips |
| --- | --- |
| write, peek, take, acknowledge, fail, bury, hold | 1 |
| take while an entry is replayed | 3 |
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from os import urandom
from typing import Any

from redis.exceptions import TimeoutError

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script

NONCE_LIFE = 10_000  # ms, at least; a client gives up sending one write again after REQUEST_BUDGET
WINDOW = 1_000  # writes of a shard that may wait for a retry before it takes no new ones
STREAM, DEAD = "stream", "dead"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One write that is to be flushed, as it stands in Redis. ``failures`` so far; ``due`` is ms of the server's time.

    ``source``: the stream, or the dead letters. ``again``: handed out before; its worker may have died of it.
    """

    id: str
    name: bytes
    ident: bytes
    payload: bytes
    token: str
    source: str = STREAM
    again: bool = False
    failures: int = 0
    due: int = 0
    reason: str = ""

    @property
    def tenant(self) -> str:
        return self.name.partition(b":")[0].decode()

    @property
    def failure_field(self) -> str:
        return self.id if self.source == STREAM else f"dead:{self.id}"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a worker was handed: in order, dead letters to replay first. ``halted``: entries that have dead letters."""

    now: int
    writes: tuple[Waiting, ...] = ()
    letters: tuple[Waiting, ...] = ()
    halted: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Status:
    """``waiting`` writes, the oldest ``since`` (Unix seconds); ``buffered`` entries that reads see; ``dead``
    letters; entries whose letters are ``replayed``.
    """

    waiting: int
    buffered: int
    dead: int
    replayed: int
    since: float | None
    worker: str | None


def name_of(tenant: str, ident: object) -> bytes:
    """An entry's name in a shard. No tenant holds a colon; 42 and "42" are one entry, as in its domain."""
    return f"{tenant}:{ident}".encode("utf-8", "surrogatepass")


def shard_of(name: bytes, shards: int) -> int:
    return zlib.crc32(name) % shards


def token_of(entry_id: str, nonce: str) -> str:
    """As ``behind_write.lua`` makes it: sorts in the order in which writes were taken in."""
    ms, place = entry_id.split("-")
    return f"{ms:0>15}-{place:0>6}-{nonce}"


@dataclass(frozen=True, slots=True)
class Shard:
    """One stream of a domain and what belongs to it."""

    domain: str
    number: int

    def key(self, part: str) -> str:
        return keys.behind(self.domain, self.number, part)

    def keys(self, *parts: str) -> list[str]:
        return [self.key(part) for part in parts]

    # For those who write and read

    def write(self, name: bytes, ident: bytes, payload: bytes, on_disk: float = 0) -> Exchange[str]:
        """Take the write in; its token. ``on_disk``: seconds to wait for the server's AOF, 0 = do not."""
        nonce = urandom(8).hex()
        names = self.keys("stream", "buffer", f"nonce:{nonce}")
        arguments = (name, ident, payload, nonce, max(NONCE_LIFE, math.ceil(2000 * config.REQUEST_BUDGET)))
        if not on_disk:
            token: bytes = yield from evaluate(script("behind_write"), names, arguments)
            return token.decode()

        def send(client: Any) -> Any:  # WAITAOF waits for what its own connection wrote
            pipeline = client.pipeline(transaction=False)
            pipeline.eval(script("behind_write").text, len(names), *names, *arguments)
            pipeline.execute_command("WAITAOF", 1, 0, int(on_disk * 1000))
            return pipeline.execute()

        token, (synced, _) = yield send
        if not synced:
            raise TimeoutError(f"The write was taken in, but not on disk within {on_disk:g} s.")
        return token.decode()

    def peek(self, name: bytes) -> Exchange[bytes | None]:
        """The newest buffered value of the entry, or None."""
        record: bytes | None = yield lambda client: client.hget(self.key("buffer"), name)
        return None if record is None else record.split(b"\n", 1)[1]

    # For the worker that has the lease

    def take(self, worker: str, lease: int, most: int) -> Exchange[Taken | None]:
        """Lease the shard for ``lease`` ms and take what is to be flushed; None where another worker has it."""
        names = self.keys("lease", "stream", "failures", "halted", "replay")
        found = yield from evaluate(script("behind_take"), names, (worker, lease, WINDOW, most))
        if found is None:
            return None
        now, writes, failures, halted, replayed, before = found
        letters = (yield from self._letters_of(set(replayed))) if replayed else ()
        waiting = tuple(
            waiting_of(entry_id.decode(), dict(zip(fields[::2], fields[1::2], strict=True)), place < before, failure)
            for place, ((entry_id, fields), failure) in enumerate(zip(writes, failures, strict=True))
        )
        return Taken(int(now), waiting, letters, frozenset(halted[::2]))

    def _letters_of(self, names: set[bytes]) -> Exchange[tuple[Waiting, ...]]:
        letters = yield from self.letters()
        chosen = [letter for letter in letters if letter.name in names]
        if not chosen:
            yield lambda client: client.delete(self.key("replay"))  # dropped meanwhile
            return ()
        fields = [letter.failure_field for letter in chosen]
        failures = yield lambda client: client.hmget(self.key("failures"), fields)
        return tuple(
            Waiting(
                letter.id,
                letter.name,
                letter.ident,
                letter.payload,
                letter.token,
                DEAD,
                True,
                *failure_of(failure or b""),
            )
            for letter, failure in zip(chosen, failures, strict=True)
        )

    def hold(self, worker: str, lease: int) -> Exchange[bool]:
        """Whether the lease is still the worker's: then it stands for ``lease`` ms more, or with 0 is given back."""
        return bool((yield from evaluate(script("behind_hold"), self.keys("lease"), (worker, lease))))

    def acknowledge(self, worker: str, lease: int, flushed: Sequence[Waiting]) -> Exchange[bool]:
        """Forget writes of one entry, in order, all of one source. False where the lease is lost: nothing was done."""
        names = self.keys("lease", "stream", "buffer", "failures", "dead", "halted", "replay")
        newest = flushed[-1]
        arguments = (worker, lease, newest.name, newest.token, newest.source, *(write.id for write in flushed))
        return bool((yield from evaluate(script("behind_ack"), names, arguments)))

    def fail(self, worker: str, lease: int, write: Waiting, wait: int, reason: str) -> Exchange[bool]:
        """Note one more failure; not before ``wait`` ms is it tried again."""
        arguments = (worker, lease, write.failure_field, write.failures + 1, wait, reason)
        return bool((yield from evaluate(script("behind_fail"), self.keys("lease", "failures"), arguments)))

    def bury(self, worker: str, lease: int, write: Waiting, failures: int, reason: str) -> Exchange[bool]:
        """Make it a dead letter; one that was being replayed stays where it is, and the replay ends."""
        if write.source == DEAD:
            yield lambda client: client.srem(self.key("replay"), write.name)
            yield lambda client: client.hdel(self.key("failures"), write.failure_field)
            return True
        arguments = (worker, lease, write.id, write.token, write.name, failures, reason)
        names = self.keys("lease", "stream", "dead", "failures", "halted")
        return bool((yield from evaluate(script("behind_bury"), names, arguments)))

    # For those who look after it

    def status(self) -> Exchange["Status"]:
        """How many writes wait, since when, and who has the lease. Six round trips."""
        waiting = yield lambda client: client.xlen(self.key("stream"))
        buffered = yield lambda client: client.hlen(self.key("buffer"))
        dead = yield lambda client: client.xlen(self.key("dead"))
        worker = yield lambda client: client.get(self.key("lease"))
        first = yield lambda client: client.xrange(self.key("stream"), count=1)
        since = int(first[0][0].split(b"-")[0]) / 1000 if first else None
        replayed = yield lambda client: client.scard(self.key("replay"))
        return Status(waiting, buffered, dead, replayed, since, worker.decode() if worker else None)

    def letters(self) -> Exchange[tuple[Waiting, ...]]:
        """The dead letters, in order; ``failures`` and ``reason`` are those of which each died."""
        found = yield lambda client: client.xrange(self.key("dead"))
        return tuple(letter_of(entry_id.decode(), fields) for entry_id, fields in found)

    def replay(self, names: Sequence[bytes]) -> Exchange[None]:
        """Have the dead letters of these entries flushed again, before the writes that follow them."""
        yield lambda client: client.sadd(self.key("replay"), *names)

    def drop(self, letters: Sequence[Waiting]) -> Exchange[int]:
        """Give up dead letters of one entry; how many there were."""
        arguments = [part for letter in letters for part in (letter.id, letter.token)]
        names = self.keys("dead", "halted", "replay", "buffer")
        return int((yield from evaluate(script("behind_drop"), names, (letters[0].name, *arguments))))


def waiting_of(entry_id: str, fields: dict[bytes, bytes], again: bool, failure: bytes) -> Waiting:
    token = token_of(entry_id, fields[b"n"].decode())
    return Waiting(entry_id, fields[b"k"], fields[b"i"], fields[b"v"], token, STREAM, again, *failure_of(failure))


def letter_of(entry_id: str, fields: dict[bytes, bytes]) -> Waiting:
    failures, reason = int(fields[b"f"]), fields[b"r"].decode("utf-8", "replace")
    token = fields[b"o"].decode()
    return Waiting(entry_id, fields[b"k"], fields[b"i"], fields[b"v"], token, DEAD, True, failures, 0, reason)


def failure_of(text: bytes) -> tuple[int, int, str]:
    """(failures, due ms, reason) as ``behind_fail.lua`` wrote them."""
    if not text:
        return 0, 0, ""
    failures, due, reason = text.split(b"|", 2)
    return int(failures), int(due), reason.decode("utf-8", "replace")
