"""Buffered writes: what was accepted is read at once, flushed in order at least once, and never dropped quietly.

Taken away, the guards turn these red: see the note at each.
"""

import io
import json
import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import ANY

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections

from bergizi_redis.cache import behind as behind_protocol
from bergizi_redis.cache import flushing, letters, writes
from bergizi_redis.cache.behind import Shard, name_of
from bergizi_redis.cache.buffers import buffers
from bergizi_redis.cache.domains import Domain
from bergizi_redis.cache.flushing import Held, Visit, Visited
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.workers import Worker
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.connections import client
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable, TenantError, TenantRequired
from bergizi_redis.exchange import speak
from bergizi_redis.tenancy import current_tenant, use_tenant
from tests.models import Dish
from tests.roundtrips import round_trips
from tests.servers import PrivateServer, private_server
from tests.spoken import WAYS, Spoken

committing = pytest.mark.django_db(transaction=True)
counter = Domain("counter", tags=["counters"])
A, B = "sppg-a", "sppg-b"
Flushed = list[tuple[str, Any, Any, str]]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def declarations() -> Iterator[None]:
    yield
    writes._declared.clear()
    buffers.clear()


class Target:
    """Where writes are flushed to: rows of ``Dish``, and a list of what was asked for. ``failing`` names may not."""

    def __init__(self) -> None:
        self.calls: Flushed = []
        self.failing: set[Any] = set()
        self.during: Callable[[], None] = lambda: None

    def __call__(self, tenant: str, ident: Any, data: Any, token: str) -> None:
        assert current_tenant() == tenant
        self.calls.append((tenant, ident, data, token))
        if ident in self.failing:
            raise ValueError(f"{ident} cannot be")
        Dish.objects.update_or_create(tenant=tenant, id=ident, defaults={"name": str(data)})
        self.during()

    @property
    def values(self) -> list[Any]:
        return [data for *_, data, _ in self.calls]


@pytest.fixture
def target() -> Target:
    return Target()


def made(target: Target, **options: Any) -> WriteBehind:
    return WriteBehind(counter, flush=target, **{"shards": 2, "backoff": (0.0, 0.0), **options})


def nothing() -> None:
    pass


def visited(behind: WriteBehind, ident: int = 1, worker: str = "w") -> Visited | None:
    """One visit of the shard of the entry."""
    return Visit(behind, behind.shard(name_of(A, ident)), worker).run()


def row(ident: int) -> Any:
    return Dish.objects.filter(id=ident).values_list("name", flat=True).first()


def fail() -> Any:
    pytest.fail("asked the database")


@committing
def test_a_write_is_read_at_once_and_flushed_later(target: Target, way: str) -> None:
    behind = made(target)
    spoken = Spoken(behind, way)
    assert spoken.read(A, 7, lambda: "from the database") == "from the database"
    token = spoken.write(A, 7, {"portions": 10})
    assert spoken.read(A, 7, fail) == {"portions": 10}
    assert spoken.read(A, "7", fail) == {"portions": 10}
    assert spoken.read(B, 7, lambda: "another's") == "another's"
    assert target.calls == []
    assert Worker([behind]).drain() == Visited(flushed=1)
    assert target.calls == [(A, 7, {"portions": 10}, token)]
    assert behind.peek(A, 7) is MISSING
    assert spoken.read(A, 7, lambda: "from the database") == "from the database"
    assert row(7) == "{'portions': 10}"


@committing
def test_none_may_be_written(target: Target, way: str) -> None:
    behind = made(target)
    Spoken(behind, way).write(A, 1, None)
    assert Spoken(behind, way).read(A, 1, fail) is None


@committing
def test_the_tenant_in_force_is_meant_where_none_is_named(target: Target, way: str) -> None:
    spoken = Spoken(made(target), way)
    with use_tenant(A):
        spoken.write(None, 1, "x")
        assert spoken.read(None, 1, fail) == "x"
    with pytest.raises(TenantRequired):
        spoken.write(None, 1, "x")
    with pytest.raises(TenantError):
        spoken.read("a b", 1, fail)


@committing
def test_tokens_sort_as_the_writes_of_an_entry(target: Target) -> None:
    behind = made(target)
    tokens = [behind.write(A, 1, number) for number in range(50)]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 50
    Worker([behind]).drain()
    assert [call[3] for call in target.calls] == tokens
    assert target.values == list(range(50))


@committing
def test_of_writes_that_wait_only_the_newest_may_be_flushed(target: Target) -> None:
    behind = made(target, coalesce=True)
    *_, token = [behind.write(A, 1, number) for number in range(50)]
    assert Worker([behind]).drain() == Visited(flushed=50)
    assert target.calls == [(A, 1, 49, token)]
    assert behind.peek(A, 1) is MISSING


@committing
def test_a_newer_write_goes_on_being_shown_when_an_older_one_is_done(target: Target) -> None:
    """Without the comparison of tokens in behind_ack.lua the newer value is dropped from the buffer."""
    behind = made(target)
    behind.write(A, 1, "old")

    def write_again() -> None:
        target.during = nothing
        behind.write(A, 1, "new")

    target.during = write_again
    assert visited(behind) == Visited(flushed=1)
    assert (row(1), behind.read(A, 1, fail)) == ("old", "new")
    assert visited(behind) == Visited(flushed=1)
    assert row(1) == "new"
    assert behind.peek(A, 1) is MISSING


# What is read meanwhile


@committing
def test_the_domain_shows_the_buffered_value_too(target: Target, way: str) -> None:
    behind = made(target)
    spoken = Spoken(counter, way)
    counter.set(A, 1, "cached")
    behind.write(A, 1, "buffered")
    assert spoken.get(A, 1) == spoken.get_or_compute(A, 1, fail) == "buffered"
    Worker([behind]).drain()
    assert spoken.get(A, 1) is None
    assert spoken.get_or_compute(A, 1, lambda: "from the database") == "from the database"


def at_commit(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call ``before`` between fence and COMMIT, ``after`` between COMMIT and release."""
    kind = type(connections["default"])
    real = kind._commit  # type: ignore[attr-defined]

    def commit(self: Any) -> None:
        before()
        real(self)
        after()

    monkeypatch.setattr(kind, "_commit", commit)


@committing
def test_at_no_moment_is_the_value_from_before_the_write_read(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the flush, before and after its COMMIT, between release and acknowledgement, and after it.

    Red where the write is acknowledged before the COMMIT, or the entry is not voided by it.
    """
    Dish.objects.create(tenant=A, id=1, name="old")
    behind = made(target)
    seen: dict[str, Any] = {}
    stored = {"name": "old"}

    def look(when: str) -> None:
        seen[when] = behind.read(A, 1, lambda: stored["name"])

    look("before the write")
    behind.write(A, 1, "new")
    look("buffered")
    counter.set(A, 1, "old")  # a reader that has read the database before the write, and stores late
    look("with a late store")
    target.during = lambda: look("in the flush")

    def after() -> None:
        stored["name"] = "new"
        look("after COMMIT")

    at_commit(monkeypatch, lambda: look("before COMMIT"), after)
    acknowledge = Shard.acknowledge

    def acknowledged(*arguments: Any) -> Any:
        look("before the acknowledgement")
        return acknowledge(*arguments)

    monkeypatch.setattr(Shard, "acknowledge", acknowledged)
    assert visited(behind) == Visited(flushed=1)
    look("afterwards")
    assert seen.pop("before the write") == "old"
    assert seen == dict.fromkeys(seen, "new")
    assert len(seen) == 7
    assert behind.peek(A, 1) is MISSING


@committing
def test_a_worker_that_dies_between_commit_and_acknowledgement_leaves_the_buffer(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is handed the write again, with the same token."""
    behind = made(target)
    behind.write(A, 1, "new")

    def dies(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Shard, "acknowledge", dies)
        with pytest.raises(KeyboardInterrupt):
            visited(behind)
    assert row(1) == "new"
    assert behind.read(A, 1, fail) == "new"
    assert visited(behind, worker="next") == Visited(flushed=1)
    assert target.calls[0] == target.calls[1]
    assert behind.peek(A, 1) is MISSING


@committing
def test_of_a_flush_that_fails_nothing_is_kept(target: Target) -> None:
    behind = made(target)
    behind.write(A, 1, "new")

    def fails() -> None:
        raise ValueError("after the row")

    target.during = fails
    assert visited(behind) == Visited(failed=1)
    assert row(1) is None
    target.during = nothing
    assert visited(behind) == Visited(flushed=1)
    assert row(1) == "new"


# Failures


def ident_of_shard(behind: WriteBehind, number: int, skip: int = 0) -> int:
    """The first ident whose writes stand in the shard."""
    found = [ident for ident in range(1, 200) if behind.shard(name_of(A, ident)).number == number]
    return found[skip]


@committing
def test_a_failing_entry_holds_up_its_own_writes_alone(target: Target) -> None:
    behind = made(target, shards=1, max_failures=100)
    target.failing = {1}
    for ident, data in ((1, "a"), (2, "b"), (1, "c"), (2, "d")):
        behind.write(A, ident, data)
    assert visited(behind) == Visited(flushed=2, failed=1)
    assert target.values == ["a", "b", "d"]
    behind.write(A, 1, "e")
    behind.write(A, 3, "f")
    assert visited(behind) == Visited(flushed=1, failed=1)
    target.failing = set()
    assert visited(behind) == Visited(flushed=3)
    assert [data for _, ident, data, _ in target.calls if ident == 1] == ["a", "a", "a", "c", "e"]
    assert len({token for _, _, data, token in target.calls if data == "a"}) == 1


@committing
def test_a_retry_waits_longer_each_time_up_to_the_longest(target: Target) -> None:
    behind = made(target, shards=1, max_failures=100, backoff=(1000.0, 6000.0))
    target.failing = {1}
    token = behind.write(A, 1, "a")
    shard = behind.shard(name_of(A, 1))
    waits = []
    server: Any = client()
    for _ in range(5):
        before = milliseconds(server)
        assert visited(behind) == Visited(failed=1)
        after = milliseconds(server)
        taken = speak(shard.take("w", 1000, 10), server)
        assert taken
        (write,) = taken.writes
        waits.append(((write.due - before) / 1000, (write.due - after) / 1000))
        assert (write.token, write.reason) == (token, "ValueError: 1 cannot be")
        assert visited(behind, worker="w") == Visited()  # not yet
        failures = server.hget(shard.key("failures"), write.id)
        server.hset(shard.key("failures"), write.id, failures.replace(str(write.due).encode(), b"1"))  # it is time
    for (most, least), longest in zip(waits, (1000, 2000, 4000, 6000, 6000), strict=True):
        assert most >= longest / 2 - 1
        assert least <= longest


def milliseconds(server: Any) -> int:
    """The server's clock."""
    seconds, micros = server.time()
    return int(seconds) * 1000 + int(micros) // 1000


@committing
def test_a_dead_letter_halts_its_entry_and_keeps_its_order(target: Target) -> None:
    """Red where writes of a halted entry are flushed past its dead letters."""
    behind = made(target, shards=1, max_failures=2)
    target.failing = {1}
    for number in range(3):
        behind.write(A, 1, number)
        behind.write(A, 2, number)
    Worker([behind]).drain()
    assert [data for _, ident, data, _ in target.calls if ident == 2] == [0, 1, 2]
    assert [data for _, ident, data, _ in target.calls if ident == 1] == [0, 0]
    behind.write(A, 1, 3)
    target.failing = set()
    assert Worker([behind]).drain() == Visited(died=1)
    dead = letters.dead_letters(behind)
    assert [letter.data for letter in dead] == ["0", "1", "2", "3"]
    assert (dead[0].reason, dead[0].failures, dead[0].tenant, dead[0].ident) == ("ValueError: 1 cannot be", 2, A, "1")
    assert "earlier write" in dead[1].reason
    assert behind.read(A, 1, fail) == 3  # accepted, and not in the database yet

    target.calls.clear()
    letters.replay(behind)
    behind.write(A, 1, 4)
    assert Worker([behind]).drain() == Visited(flushed=5)
    assert target.values == [0, 1, 2, 3, 4]
    assert [call[3] for call in target.calls][:4] == [letter.token for letter in dead]
    assert letters.dead_letters(behind) == []
    assert behind.peek(A, 1) is MISSING
    behind.write(A, 1, 5)
    assert Worker([behind]).drain() == Visited(flushed=1)


@committing
def test_a_replay_that_fails_again_halts_again(target: Target) -> None:
    behind = made(target, shards=1, max_failures=2)
    target.failing = {1}
    behind.write(A, 1, "a")
    behind.write(A, 1, "b")
    Worker([behind]).drain()
    letters.replay(behind)
    Worker([behind]).drain()
    assert [letter.data for letter in letters.dead_letters(behind)] == ["'a'", "'b'"]
    assert target.values == ["a"] * 4
    target.failing = set()
    letters.replay(behind)
    Worker([behind]).drain()
    assert target.values == [*["a"] * 5, "b"]


@committing
def test_dead_letters_may_be_dropped(target: Target) -> None:
    behind = made(target, shards=1, max_failures=1)
    target.failing = {1}
    behind.write(A, 1, "a")
    behind.write(A, 1, "b")
    Worker([behind]).drain()
    assert letters.drop(behind) == 2
    assert behind.read(A, 1, lambda: "from the database") == "from the database"
    target.failing = set()
    behind.write(A, 1, "c")
    assert Worker([behind]).drain() == Visited(flushed=1)


@committing
def test_the_database_down_is_no_fault_of_a_write(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = made(target, max_failures=1)
    behind.write(A, 1, "a")

    def gone() -> None:
        raise OperationalError("server closed the connection")

    target.during = gone
    with monkeypatch.context() as patched:
        patched.setattr(flushing, "is_down", lambda connection: True)
        with pytest.raises(Held):
            Worker([behind]).drain()
    assert letters.dead_letters(behind) == []
    target.during = nothing
    assert Worker([behind]).drain() == Visited(flushed=1)


# Leases


@committing
def test_a_shard_has_one_worker_at_a_time(target: Target) -> None:
    behind = made(target)
    behind.write(A, 1, "a")
    seen: list[Any] = []
    target.during = lambda: seen.append(visited(behind, worker="other"))
    assert visited(behind, worker="one") == Visited(flushed=1)
    assert seen == [None]


@committing
def test_a_worker_that_lost_its_lease_commits_nothing(target: Target, raw: "redis.Redis") -> None:
    """Held up in a flush for longer than its lease: another has flushed this write and a later one.

    Red without the look at the lease before the COMMIT: the older value comes back.
    """
    behind = made(target)
    shard = behind.shard(name_of(A, 1))
    behind.write(A, 1, "old")

    def held_up() -> None:
        target.during = nothing
        raw.delete(shard.key("lease"))  # what its deadline does
        behind.write(A, 1, "new")
        with ThreadPoolExecutor(1) as other:
            taken = other.submit(lambda: speak(shard.take("other", 30_000, 10), client())).result()
        assert taken
        assert [write.token for write in taken.writes] == sorted(write.token for write in taken.writes)
        assert len(taken.writes) == 2

    target.during = held_up
    assert visited(behind, worker="one") == Visited()
    assert row(1) is None
    assert behind.read(A, 1, fail) == "new"
    assert visited(behind, worker="other") == Visited(flushed=2)
    assert row(1) == "new"


@committing
def test_a_shard_whose_backlog_is_full_takes_nothing_new(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of two: beyond it may lie a write of the same entry as what is new. Red where new ones are taken."""
    monkeypatch.setattr(behind_protocol, "WINDOW", 2)
    behind = made(target, shards=1, max_failures=100)
    target.failing = {1}
    for number in range(4):
        behind.write(A, 1, number)
    assert visited(behind) == Visited(failed=1)
    behind.write(A, 2, "new")
    assert visited(behind) == Visited(failed=1)
    assert target.values == [0, 0]
    target.failing = set()
    Worker([behind]).drain()
    assert target.values == [0, 0, 0, 1, 2, 3, "new"]


@committing
def test_a_stopped_worker_finishes_the_write_under_way_and_gives_the_rest_back(target: Target) -> None:
    behind = made(target, shards=1)
    for number in range(3):
        behind.write(A, 1, number)
    worker = Worker([behind])
    target.during = worker.stopping.set
    assert worker.run() == Visited(flushed=1)
    target.during = nothing
    assert visited(behind, worker="next") == Visited(flushed=2)
    assert target.values == [0, 1, 2]


# Redis


@committing
def test_redis_down_refuses_the_write_and_shows_the_database(server: PrivateServer, target: Target, way: str) -> None:
    behind = made(target)
    server.kill()
    with pytest.raises(RedisUnavailable, match="not buffered"):
        Spoken(behind, way).write(A, 1, "a")
    assert Spoken(behind, way).read(A, 1, lambda: "from the database") == "from the database"
    assert target.calls == []


@committing
def test_redis_down_writes_through_where_that_is_allowed(server: PrivateServer, target: Target) -> None:
    behind = made(target, fallback="through")
    server.kill()
    token = behind.write(A, 1, "a")
    assert row(1) == "a"
    assert target.calls == [(A, 1, "a", token)]


@committing
def test_a_write_that_is_sent_twice_is_taken_in_once(target: Target, settings: Any, raw: Any, prefix: str) -> None:
    """As the driver does when the link breaks under the reply, which it may for a budget. Red without the nonce."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 300}
    behind = made(target, shards=1)
    exchange = behind._writing(A, 1, "a")
    request = next(exchange)
    first, second = request(client()), request(client())
    assert first == second
    (nonce,) = raw.scan_iter(match=f"{prefix}*nonce:*", count=1000)
    assert raw.pttl(nonce) > 300_000
    behind.write(A, 1, "b")
    assert request(client()) == first  # even then
    exchange.close()
    Worker([behind]).drain()
    assert target.values == ["a", "b"]


@committing
def test_a_durable_write_waits_for_the_aof(target: Target, settings: Any, way: str) -> None:
    behind = made(target, durable=True)
    with private_server("--appendonly", "yes") as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        if client().info("server")["redis_version"].startswith("7.0."):
            with pytest.raises(ConfigurationError, match=r"needs a server of Redis 7\.2"):
                Spoken(behind, way).write(A, 1, "a")
            return
        token = Spoken(behind, way).write(A, 1, "a")
        assert Spoken(behind, way).read(A, 1, fail) == "a"
        Worker([behind]).drain()
        assert target.calls == [(A, 1, "a", token)]
    with private_server() as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        with pytest.raises(ConfigurationError, match="appendonly yes"):
            Spoken(behind, way).write(A, 1, "a")


def test_what_cannot_be_encoded_is_told_at_once(target: Target) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        made(target).write(A, 1, lambda: None)


def test_a_write_behind_that_cannot_work_is_refused(target: Target) -> None:
    make: Any = WriteBehind
    for wrong in ({"shards": 0}, {"max_failures": 0}, {"backoff": (2, 1)}, {"fallback": "drop"}, {"flush": 1}):
        with pytest.raises(ConfigurationError, match="WriteBehind"):
            make(**{"domain": counter, "flush": target, **wrong})


@committing
def test_a_write_takes_one_round_trip(server: PrivateServer, target: Target) -> None:
    behind = made(target)
    behind.write(A, 1, "a")
    counter.get(A, 1)
    with round_trips(server) as counted:
        behind.write(A, 1, "b")
    assert counted == [1]
    with round_trips(server) as counted:
        behind.read(A, 1, fail)
    assert counted == [1]


@committing
def test_a_replay_coalesces_letters_apart_from_what_came_after(target: Target) -> None:
    """Red where both are acknowledged as one: the letters would stay dead."""
    behind = made(target, shards=1, max_failures=1, coalesce=True)
    target.failing = {1}
    for number in range(3):
        behind.write(A, 1, number)
    assert Worker([behind]).drain() == Visited(failed=1, died=3)
    target.failing = set()
    target.calls.clear()
    letters.replay(behind)
    behind.write(A, 1, 3)
    assert Worker([behind]).drain() == Visited(flushed=4)
    assert target.values == [2, 3]
    assert letters.dead_letters(behind) == []


# The command


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and output of ``manage.py write_behind``."""
    out = io.StringIO()
    try:
        call_command("write_behind", *arguments, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


@committing
def test_the_command_drains_shows_and_replays(target: Target) -> None:
    behind = made(target, max_failures=1)
    behind.write(A, 1, {"portions": 10})
    behind.write(A, 2, "b")
    assert json.loads(command("status", "--json")[1]) == [
        {"domain": "counter", "waiting": 2, "since": ANY, "buffered": 2, "dead": 0, "workers": []}
    ]
    assert re.match(r"DOMAIN +WAITING +OLDEST +DEAD +WORKERS\ncounter +2 +\d+ s ago +0 +0\n", command("status")[1])
    target.failing = {1}
    assert command("drain") == (1, "1 flushed, 1 failures, 1 dead.\n")
    (dead,) = json.loads(command("dead", "--json")[1])
    assert dead["reason"] == "ValueError: 1 cannot be"
    assert (dead["tenant"], dead["ident"], dead["data"]) == (A, "1", "{'portions': 10}")
    assert "ValueError: 1 cannot be" in command("dead")[1]
    target.failing = set()
    assert "They are flushed again." in command("dead", "--replay")[1]
    assert command("drain", "--json") == (0, '{"flushed": 1, "failed": 0, "died": 0}\n')
    assert command("dead") == (0, "There are no dead letters.\n")
    assert row(1) == "{'portions': 10}"


@committing
def test_the_command_drops_dead_letters(target: Target) -> None:
    behind = made(target, max_failures=1)
    target.failing = {1}
    behind.write(A, 1, "a")
    command("drain")
    assert "They are dropped." in command("dead", "--drop")[1]
    assert command("drain") == (0, "0 flushed, 0 failures, 0 dead.\n")


def test_the_command_says_what_is_wrong(target: Target) -> None:
    code, text = command("status")
    assert (code, "No WriteBehind is declared." in text) == (2, True)
    made(target)
    assert command("drain", "--domain", "menu") == (2, ANY)
    assert "there is counter" in command("drain", "--domain", "menu")[1]
    for wrong in (["drain", "--replay"], ["dead", "--replay", "--drop"]):
        assert command(*wrong)[0] == 2


def test_the_command_without_redis(server: PrivateServer, target: Target) -> None:
    made(target)
    server.kill()
    for action in ("drain", "status", "dead"):
        assert command(action) == (2, ANY)


@committing
def test_sigterm_ends_the_worker_after_the_write_under_way(target: Target) -> None:
    behind = made(target, shards=1)
    for number in range(3):
        behind.write(A, 1, number)
    before = signal.getsignal(signal.SIGTERM)
    target.during = lambda: os.kill(os.getpid(), signal.SIGTERM)
    code, text = command("run")
    assert (code, text.splitlines()[-1]) == (0, "1 flushed, 0 failures, 0 dead.")
    assert signal.getsignal(signal.SIGTERM) is before
    target.during = nothing
    assert visited(behind) == Visited(flushed=2)


@committing
def test_a_flush_that_kills_its_worker_is_a_dead_letter_in_the_end(target: Target, raw: "redis.Redis") -> None:
    """Red where a write that was handed out before is flushed without a note: the next worker dies of it, too."""
    behind = made(target, shards=1, max_failures=3)
    behind.write(A, 1, "poison")
    behind.write(A, 2, "b")
    lease = behind.all_shards()[0].key("lease")

    class Killed(BaseException):
        """As kill -9: nothing is said to Redis any more."""

    def dies() -> None:
        raw.set(lease, "dead")  # so that the lease is not given back
        raise Killed

    target.during = dies
    for _ in range(4):  # once as new, and three times again
        with pytest.raises(Killed):
            visited(behind)
        raw.delete(lease)
    target.during = nothing
    assert visited(behind) == Visited(flushed=1, died=1)
    assert target.values == ["poison"] * 4 + ["b"]
    (letter,) = letters.dead_letters(behind)
    assert letter.reason == "The worker ended in the middle of the flush."


@committing
def test_workers_leave_nothing_behind(target: Target) -> None:
    behind = made(target, shards=1)
    shard = behind.all_shards()[0]
    for name in ("one", "two"):
        behind.write(A, 1, name)
        assert visited(behind, worker=name) == Visited(flushed=1)
    server: Any = client()
    assert len(server.xinfo_consumers(shard.key("stream"), "flush")) == 1
    assert sorted(key for key in shard.keys("lease", "buffer", "failures", "halted", "replay", "dead")
                  if server.exists(key)) == []  # fmt: skip
    assert visited(behind, worker="three") == Visited()
    assert not server.exists(shard.key("lease"))
    assert server.xlen(shard.key("stream")) == 0
