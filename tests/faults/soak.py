"""Random operations of three processes on one small server, held against ``oracle.py``; the same seed, the same steps.

Readers and writers stand half done while others go on: a lookup may store thousands of operations after it computed,
a writer stands between fence, COMMIT and release, and a crash forgets either. Meanwhile the server evicts (its memory
is smaller than what is stored), single keys are deleted, versions and fences too, and now and then all of it.

``python -m tests.faults.soak SEED OPERATIONS`` runs it on a server of its own and prints what was met.
"""

import asyncio
import json
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from bergizi_redis.cache import fences
from bergizi_redis.cache.addresses import Address, address_of
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.process import ProcessState
from tests.faults.oracle import ABSENT, Oracle, Row

TENANTS = ("sppg-a", "sppg-b", "sppg-c")
TAGS = tuple(f"tag{number}" for number in range(30))
DATA = 2**20  # bytes for keys and values; an idle Valkey 9 takes 1.07 MB before the first
KEYS = 900
MANY = 10
PROCESSES = 3


@dataclass
class Reader:
    lookup: Lookup
    key: str
    rows: tuple[Row, ...]
    value: Any = None


@dataclass
class Writer:
    name: bytes
    rows: list[Row]
    version_keys: set[str]
    committed: bool = False
    evicted: bool = False  # its fence, on its way to COMMIT


@dataclass
class Soak:
    url: str
    seed: int
    prefix: str = "soak"
    oracle: Oracle = field(default_factory=Oracle)
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.fate = random.Random(self.seed)  # what comes next, whatever the last step found: how much must be met
        self.raw = redis.Redis.from_url(self.url, socket_timeout=60)
        self.evictions = self.raw.pubsub()
        self.evictions.subscribe("__keyevent@0__:evicted")
        self.evictions.get_message(timeout=60)  # that it has subscribed
        self.caches = [self.process() for _ in range(PROCESSES)]
        self.readers: list[Reader] = []
        self.writers: list[Writer] = []
        self.dead: list[Writer] = []
        steps: dict[Callable[[], int], float] = {
            self.get_many: 120, self.get: 60, self.read_through: 120, self.open_reader: 60, self.advance_reader: 130,
            self.store_many: 20, self.store: 40, self.add: 15, self.touch: 6, self.delete: 6, self.invalidate: 15,
            self.invalidate_own: 15, self.invalidate_all: 0.3, self.open_writer: 20, self.advance_writer: 40,
            self.run_out: 10, self.get_plain: 40, self.set_plain: 25, self.count_plain: 10, self.remove_key: 20,
            self.get_awaiting: 1, self.crash: 2, self.flush: 0.1,
        }  # fmt: skip
        self.steps, self.weights = list(steps), list(steps.values())

    def process(self) -> TaggedRedisCache:
        """A cache as another process has it: it knows nothing of what the others have met."""
        cache = TaggedRedisCache(self.url, {"KEY_PREFIX": self.prefix})
        cache.__dict__["state"] = ProcessState()
        return cache

    def run(self, operations: int) -> None:
        done = 0
        while done < operations:
            for step in self.fate.choices(self.steps, self.weights, k=100):
                times = step()
                self.met[step.__name__] += times
                done += times

    # What is drawn

    @property
    def cache(self) -> TaggedRedisCache:
        return self.dice.choice(self.caches)

    def key(self) -> str:
        """Half of the operations go to a twentieth of the keys, so that there are hits however much is evicted."""
        return f"k{self.dice.randrange(KEYS // 20 if self.dice.random() < 0.5 else KEYS)}"

    def tags(self, most: int = 3) -> list[str]:
        """Of a quarter of the draws those that a writer stands between fence and release of."""
        if self.writers and self.dice.random() < 0.4:
            return sorted({tag for _, tag in self.dice.choice(self.writers).rows})
        return self.dice.sample(TAGS, self.dice.randint(1, most))

    def life(self) -> float:
        return self.dice.choice((0.02, 60, 60, 600))

    def padding(self) -> int:
        return self.dice.choice((50, 500, 2_000))

    def rows_of(self, tags: list[str]) -> tuple[Row, ...]:
        """What a shared entry may hold: every tenant's."""
        return tuple((tenant, tag) for tag in tags for tenant in TENANTS)

    def scoped(self, cache: TaggedRedisCache) -> tuple[Address, str, tuple[Row, ...]]:
        """An entry of one tenant, in a domain."""
        tenant, ident, number = self.dice.choice(TENANTS), str(self.dice.randrange(10)), self.dice.randrange(len(TAGS))
        tags = TAGS[number : number + 2]
        address = address_of(cache.key_prefix, tenant, f"d{number}", "", ident, tags)
        return address, address.key, (*((tenant, tag) for tag in tags), (tenant, "all"), (address.key, "own"))

    def shared(self, cache: TaggedRedisCache) -> tuple[Lookup, str, tuple[Row, ...]]:
        tags = self.tags(1)
        key = f"s{self.dice.randrange(2)}" + "".join(tags)
        return cache.lookup(key, tags), key, self.rows_of(tags)

    # Reading

    def get_many(self) -> int:
        keys = [self.key() for _ in range(MANY)]
        found = self.cache.get_many(keys)
        self.oracle.check_many(keys, found)
        return MANY

    def get(self) -> int:
        key = self.key()
        found = self.cache.get(key, ABSENT)
        if found is not ABSENT:
            self.oracle.check(key, found)
        return 1

    def get_awaiting(self) -> int:
        keys = [self.key() for _ in range(MANY)]
        cache = self.cache

        async def read() -> list[Any]:
            return await asyncio.gather(*(cache.aget(key, ABSENT) for key in keys))

        for key, found in zip(keys, asyncio.run(read()), strict=True):
            if found is not ABSENT:
                self.oracle.check(key, found)
        return MANY

    def _arrive(self) -> Reader | None:
        cache = self.cache
        if self.dice.random() < 0.5:
            lookup, key, rows = self.shared(cache)
        else:
            address, key, rows = self.scoped(cache)
            lookup = Lookup(cache, address)
        lookup.__enter__()
        if lookup.missed:
            return Reader(lookup, key, rows)
        self.oracle.check(key, lookup.value, rows)
        return None

    def read_through(self) -> int:
        if reader := self._arrive():
            reader.lookup.store(self.oracle.compute(reader.key, reader.rows, self.padding()), self.life())
            return 2
        return 1

    def open_reader(self) -> int:
        if len(self.readers) < 12 and (reader := self._arrive()):
            self.readers.append(reader)
        return 1

    def advance_reader(self) -> int:
        if not self.readers:
            return 0
        reader = self.dice.choice(self.readers)
        if reader.value is None:
            reader.value = self.oracle.compute(reader.key, reader.rows, self.padding())
        else:
            reader.lookup.store(reader.value, self.life())
            self.readers.remove(reader)
        return 1

    # Storing: one step of this thread, so what is computed is of now, as the versions are

    def store(self) -> int:
        key, tags = self.key(), self.tags()
        self.cache.set(key, self.oracle.compute(key, self.rows_of(tags), self.padding()), self.life(), tags=tags)
        return 1

    def store_many(self) -> int:
        tags = self.tags()
        keys = {self.key() for _ in range(MANY)}
        values = {key: self.oracle.compute(key, self.rows_of(tags), 50) for key in sorted(keys)}
        self.cache.set_many(values, self.life(), tags=tags)
        return len(values)

    def add(self) -> int:
        """Never over a living entry, so what is there is checked by whoever reads it."""
        key, tags = self.key(), self.tags()
        self.cache.add(key, self.oracle.compute(key, self.rows_of(tags), self.padding()), 60, tags=tags)
        return 1

    def touch(self) -> int:
        self.cache.touch(self.key(), 60)
        return 1

    def delete(self) -> int:
        key = self.key()
        self.cache.delete(key)
        if self.cache.get(key, ABSENT) is not ABSENT:
            raise AssertionError(f"{key} was there after its deletion")
        return 2

    # Writing

    def _change(self) -> tuple[str | None, list[str], list[Row]]:
        tenant, tags = self.dice.choice((*TENANTS, None)), self.tags(2)
        return tenant, tags, [row for row in self.rows_of(tags) if tenant in (None, row[0])]

    def invalidate(self) -> int:
        tenant, tags, rows = self._change()
        self.oracle.write(rows)
        self.cache.invalidate_tags(tags, tenant=tenant)
        self.oracle.settle(rows)
        return 1

    def invalidate_own(self) -> int:
        cache = self.cache
        address, key, _ = self.scoped(cache)
        self.oracle.write([(key, "own")])
        cache.bump(address.version_keys[-1:])  # the bucket of the entry, as a domain does it
        self.oracle.settle([(key, "own")])
        return 1

    def invalidate_all(self) -> int:
        tenant = self.dice.choice((*TENANTS, None))
        if tenant is None:
            rows = self.rows_of(list(TAGS))
            self.oracle.write(rows)
            self.cache.invalidate_all()
            self.oracle.settle(rows)
        else:
            self.oracle.write([(tenant, "all")])
            self.cache.invalidate_all(tenant=tenant)
            self.oracle.settle([(tenant, "all")])
        return 1

    def open_writer(self) -> int:
        if len(self.writers) < 4:
            tenant, tags, rows = self._change()
            cache = self.cache
            writer = Writer(fences.new_writer(), rows, cache.scope_of(tenant).bumped_by(tags))
            cache.ask(fences.put_up(writer.version_keys, writer.name, 3600))
            self.writers.append(writer)
        return 1

    def advance_writer(self) -> int:
        if not self.writers:
            return 0
        writer = self.dice.choice(self.writers)
        if not writer.committed:
            self._commit(writer)
        else:
            self.cache.ask(fences.take_down(writer.version_keys, writer.name))
            self.oracle.settle(writer.rows)
            self.writers.remove(writer)
        return 1

    def _commit(self, writer: Writer) -> None:
        """Without its fence a COMMIT counts from its release on: until then the rows of before may be served."""
        self.raw.ping()  # what was published before its reply has arrived by then
        while message := self.evictions.get_message(timeout=0):
            self.lost({message["data"].decode()})
        writer.committed = True
        self.oracle.write(writer.rows)
        if writer.evicted:
            self.met["fences lost"] += 1
        else:
            self.oracle.settle(writer.rows)

    def lost(self, version_keys: set[str] | None = None) -> None:
        """Version keys, or all of them, are gone."""
        for writer in self.writers:
            if not writer.committed and (version_keys is None or not version_keys.isdisjoint(writer.version_keys)):
                writer.evicted = True

    def run_out(self) -> int:
        """The deadline of a dead writer's fence passes; the key goes with the last fence on it."""
        if not self.dead:
            return 0
        writer = self.dead.pop()
        for key in sorted(writer.version_keys):
            value: Any = self.raw.get(key)
            at = -1 if value is None else value.find(writer.name)
            if at < 0:
                continue
            value = value[: at + 8] + struct.pack(">Q", 1) + value[at + 16 :]
            late = [struct.unpack(">Q", value[end - 8 : end])[0] for end in range(17, len(value) + 1, 16)]
            self.raw.set(key, value, keepttl=True) if max(late) > 1 else self.raw.delete(key)
        return 1

    # Untagged entries

    def get_plain(self) -> int:
        keys = [f"p{self.dice.randrange(100)}" for _ in range(5)]
        found = self.cache.get_many(keys)
        for key in keys:
            self.oracle.check_plain(key, found.get(key, ABSENT))
        return 5

    def set_plain(self) -> int:
        key, value = f"p{self.dice.randrange(100)}", self.dice.randrange(10**6)
        cache = self.cache
        match self.dice.randrange(4):
            case 0:
                cache.delete(key)
                self.oracle.plain[key] = ABSENT
            case 1:
                if cache.add(key, value, 60):
                    self.oracle.plain[key] = value
            case _:
                cache.set(key, value, 60)
                self.oracle.plain[key] = value
        return 1

    def count_plain(self) -> int:
        key = f"p{self.dice.randrange(100)}"
        try:
            number = self.cache.incr(key)
        except ValueError:
            self.oracle.plain[key] = ABSENT
        else:
            self.oracle.plain[key] = self.oracle.plain[key] + 1
            self.oracle.check_plain(key, number)
        return 1

    # What befalls them

    def remove_key(self) -> int:
        """Expired or evicted: an entry, or one of the versions it depends on."""
        cache = self.cache
        address, _, _ = self.scoped(cache)
        versions = cache.scope.read_by(tuple(self.tags()))
        gone = self.dice.choice((cache.made(self.key()), address.key, *address.version_keys, *versions))
        self.raw.unlink(gone)
        self.lost({gone})
        return 1

    def crash(self) -> int:
        """A process forgets all it knew; its readers are gone, and its writers leave their fences."""
        known = self.cache.__dict__
        known.pop("entries", None)
        known["state"] = ProcessState()
        self.readers = [reader for reader in self.readers if self.dice.random() < 0.7]
        for writer in [writer for writer in self.writers if self.dice.random() < 0.5]:
            self.writers.remove(writer)
            self.dead.append(writer)
        return 1

    def flush(self) -> int:
        self.raw.flushall()
        self.lost()
        if self.dice.random() < 0.5:
            self.raw.script_flush()
        self.oracle.plain.clear()
        return 1


def shrink(raw: "redis.Redis") -> int:
    """Leave the server ``DATA`` bytes for what is stored, and let it evict whatever it likes; its ``maxmemory``."""
    most = int(raw.info("memory")["used_memory"]) + DATA
    raw.config_set("notify-keyspace-events", "Ee")
    raw.config_set("maxmemory-policy", "allkeys-lru")
    raw.config_set("maxmemory", most)
    return most


def soaked(url: str, seed: int, operations: int) -> dict[str, Any]:
    """Run it and tell what was met. Raises ``Stale``."""
    soak = Soak(url, seed)
    most = shrink(soak.raw)
    began = time.monotonic()
    soak.run(operations)
    taken = time.monotonic() - began
    stats = soak.raw.info("stats")
    return {
        "seed": seed, "operations": operations, "seconds": round(taken, 1), "per second": round(operations / taken),
        "maxmemory": most, "evicted": stats["evicted_keys"], "served": soak.oracle.served, **soak.met,
    }  # fmt: skip


def main(seed: int, operations: int) -> Iterator[str]:
    import django
    from django.conf import settings

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 60.0}  # what is slow is no outage: each answer is held to be true
    django.setup()
    from tests.servers import private_server

    with private_server() as server:
        yield json.dumps(soaked(server.url, seed, operations))


if __name__ == "__main__":
    for line in main(int(sys.argv[1]), int(sys.argv[2])):
        sys.stdout.write(line + "\n")
