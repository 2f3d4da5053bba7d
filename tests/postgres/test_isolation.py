"""Readers and writers on a real PostgreSQL, step by step, at every isolation level.

Taken away, the guards turn these red: refusing to store from a snapshot (``an_older_snapshot``, by each way that a
level can be set), the fence before COMMIT (``every_moment``), the release after a COMMIT whose answer was lost
(``lost_on_its_way``), storing under the token that was read before computing (``every_moment``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import pytest
from django.core.cache import caches
from django.db import Error, IntegrityError, OperationalError, connections, transaction
from psycopg import IsolationLevel

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.transactions import is_snapshot
from tests.models import Dish
from tests.postgres.conftest import Postgres
from tests.postgres.cutting import cutting

DISHES = "tests_dish"
LEVELS = {level.name: level for level in IsolationLevel}
SNAPSHOTS = ("REPEATABLE_READ", "SERIALIZABLE")


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


def name_of_dish(alias: str = "pg") -> str:
    return Dish.objects.using(alias).values_list("name", flat=True).get()


def rename(name: str, alias: str = "pg") -> None:
    Dish.objects.using(alias).update(name=name)


def execute(sql: str, alias: str = "pg") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def never_old(cache: TaggedRedisCache, postgres: Postgres) -> None:
    """Whoever comes now is served what is committed, and may store it."""

    def read() -> tuple[Any, Any]:
        committed = name_of_dish()
        with cache.lookup("dish", tags=[DISHES]) as entry:
            if entry.missed:
                entry.store(committed)
        return entry.value, committed

    for _ in range(2):
        served, committed = postgres.elsewhere(read)
        assert served == committed
    assert cache.get("dish") == postgres.elsewhere(name_of_dish)


# Older snapshots, by every way to get one

WAYS: dict[str, tuple[dict[str, Any], str, str]] = {
    "the option, repeatable read": ({"isolation_level": IsolationLevel.REPEATABLE_READ}, "", ""),
    "the option, serializable": ({"isolation_level": IsolationLevel.SERIALIZABLE}, "", ""),
    "the server's default": ({"options": "-c default_transaction_isolation=repeatable\\ read"}, "", ""),
    "the server's default, serializable": ({"options": "-c default_transaction_isolation=serializable"}, "", ""),
    "SET TRANSACTION": ({}, "", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
    "SET TRANSACTION, serializable": ({}, "", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    "the session's characteristics": (
        {}, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_in_an_older_snapshot_stores_nothing_after_the_bump(
    postgres: Postgres, cache: TaggedRedisCache, way: str
) -> None:
    options, before, inside = WAYS[way]
    postgres.alias("pg", OPTIONS=options)
    Dish.objects.using("pg").create(name="old")
    if before:
        execute(before)
    with transaction.atomic(using="pg"):
        if inside:
            execute(inside)
        assert name_of_dish() == "old"
        postgres.elsewhere(lambda: rename("new"))
        assert name_of_dish() == "old"
        with cache.lookup("dish", tags=[DISHES]) as entry:
            assert entry.missed
            entry.store(name_of_dish())
        cache.set("plain", name_of_dish(), tags=[DISHES])
        cache.add("added", name_of_dish(), tags=[DISHES])
        assert cache.get_or_set("or", name_of_dish, tags=[DISHES]) == "old"
    for key in ("dish", "plain", "added", "or"):
        assert cache.get(key, MISSING) is MISSING
    never_old(cache, postgres)


@pytest.mark.parametrize("level", ["READ_COMMITTED", "READ_UNCOMMITTED"])
def test_a_transaction_that_sees_every_commit_may_store(
    postgres: Postgres, cache: TaggedRedisCache, level: str
) -> None:
    postgres.alias("pg", OPTIONS={"isolation_level": LEVELS[level]})
    Dish.objects.using("pg").create(name="old")
    with transaction.atomic(using="pg"):
        assert name_of_dish() == "old"
        postgres.elsewhere(lambda: rename("new"))
        assert not is_snapshot(connections["pg"])
        with cache.lookup("dish", tags=[DISHES]) as entry:
            assert entry.store(name_of_dish())
    assert cache.get("dish") == "new"


def test_a_level_for_one_transaction_counts_for_that_one_alone(postgres: Postgres, cache: TaggedRedisCache) -> None:
    Dish.objects.using("pg").create(name="soto")
    with transaction.atomic(using="pg"):
        execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        assert is_snapshot(connections["pg"])
    with transaction.atomic(using="pg"):
        assert not is_snapshot(connections["pg"])
        with cache.lookup("dish", tags=[DISHES]) as entry:
            assert entry.store(name_of_dish())


def test_a_transaction_that_has_failed_stores_nothing(postgres: Postgres, cache: TaggedRedisCache) -> None:
    """The server answers nothing in it, so nobody can say what it has seen."""
    with pytest.raises(Error), transaction.atomic(using="pg"):  # noqa: PT012
        with pytest.raises(Error):
            execute("SELECT 1 / 0")
        with cache.lookup("dish", tags=[DISHES]) as entry:
            assert not entry.store("what it saw before")
        execute("SELECT 1")


# A reader's steps between a writer's

MOMENTS = ("before", "written", "fenced", "committed", "after")


@contextmanager
def at_commit(alias: str, before: Callable[[], None], after: Callable[[], None]) -> Iterator[None]:
    """``before`` between fence and COMMIT, ``after`` between COMMIT and release, of this thread's connection."""
    connection = connections[alias]
    commit = connection._commit  # type: ignore[attr-defined]

    def between() -> None:
        before()
        commit()
        after()

    connection._commit = between  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection._commit = commit  # type: ignore[attr-defined]


class Reader:
    """Looks, computes and stores at the moments that it is given, in a thread of its own; and probes at each."""

    def __init__(self, cache: TaggedRedisCache, postgres: Postgres, plan: tuple[str, ...], in_atomic: bool) -> None:
        self.cache, self.postgres, self.plan, self.in_atomic = cache, postgres, plan, in_atomic
        self.key = "-".join(plan)
        self.value: Any = None
        self.steps = iter(((self.look, plan[0]), (self.compute, plan[1]), (self.store, plan[2])))
        self.next = next(self.steps, None)

    def look(self) -> None:
        self.entry = self.cache.lookup(self.key, tags=[DISHES]).__enter__()

    def compute(self) -> None:
        self.value = self.entry.value if not self.entry.missed else name_of_dish()

    def store(self) -> None:
        if self.entry.missed:
            self.entry.store(self.value)

    def at(self, moment: str) -> None:
        def act() -> None:
            if self.in_atomic:
                with transaction.atomic(using="pg"):
                    self._due(moment)
            else:
                self._due(moment)
            served = self.cache.get(self.key)
            assert served in (None, name_of_dish()), f"{self.plan} was served {served!r} at {moment}"

        self.postgres.elsewhere(act)

    def _due(self, moment: str) -> None:
        while self.next is not None and self.next[1] == moment:
            self.next[0]()
            self.next = next(self.steps, None)


@pytest.mark.parametrize("in_atomic", [False, True], ids=["autocommit", "in a transaction"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_reader_at_every_moment_of_a_writer_is_served_nothing_old(
    postgres: Postgres, cache: TaggedRedisCache, level: str, in_atomic: bool
) -> None:
    """All 35 orders of look, compute and store between write, fence, COMMIT and release; ``level`` is the writer's."""
    Dish.objects.using(postgres.alias()).create(name="0")
    postgres.alias("writer", OPTIONS={"isolation_level": LEVELS[level]})
    for number, plan in enumerate(combinations_with_replacement(MOMENTS, 3), 1):
        reader = Reader(cache, postgres, plan, in_atomic)
        cache.set(reader.key, str(number - 1), tags=[DISHES])
        if number % 2:
            cache.delete(reader.key)
        reader.at("before")
        moments = (partial(reader.at, "fenced"), partial(reader.at, "committed"))
        with at_commit("writer", *moments), transaction.atomic(using="writer"):
            rename(str(number), "writer")
            reader.at("written")
        reader.at("after")
        assert reader.next is None


@pytest.mark.parametrize("level", LEVELS)
def test_a_reader_at_every_moment_of_a_statement_that_commits_itself(
    postgres: Postgres, cache: TaggedRedisCache, level: str
) -> None:
    Dish.objects.using(postgres.alias()).create(name="0")
    postgres.alias("writer", OPTIONS={"isolation_level": LEVELS[level]})
    for number, plan in enumerate(combinations_with_replacement(("before", "fenced", "committed", "after"), 3), 1):
        reader = Reader(cache, postgres, plan, in_atomic=False)
        cache.set(reader.key, str(number - 1), tags=[DISHES])

        def between(execute: Any, sql: str, params: Any, many: bool, context: Any, reader: Reader = reader) -> Any:
            reader.at("fenced")
            try:
                return execute(sql, params, many, context)
            finally:
                reader.at("committed")

        reader.at("before")
        connections["writer"].ensure_connection()
        with connections["writer"].execute_wrapper(between):
            rename(str(number), "writer")
        reader.at("after")
        assert reader.next is None


# Transactions that fail


@pytest.mark.parametrize("level", SNAPSHOTS)
def test_a_serialization_failure_and_its_retry_leave_what_is_committed(
    postgres: Postgres, cache: TaggedRedisCache, level: str
) -> None:
    postgres.alias("pg", OPTIONS={"isolation_level": LEVELS[level]})
    Dish.objects.using("pg").create(name="old")
    never_old(cache, postgres)

    def add(text: str, meanwhile: Callable[[], Any] = lambda: None) -> None:
        with transaction.atomic(using="pg"):
            dish = Dish.objects.using("pg").get()
            meanwhile()
            dish.name += text
            dish.save()

    with pytest.raises(OperationalError, match="could not serialize"):
        add(" ours", lambda: postgres.elsewhere(lambda: add(" theirs")))
    assert cache.get("dish") is None
    never_old(cache, postgres)
    add(" ours")
    assert name_of_dish() == "old theirs ours"
    never_old(cache, postgres)


def test_a_transaction_that_is_refused_at_its_commit_leaves_no_fence(
    postgres: Postgres, cache: TaggedRedisCache
) -> None:
    """Write skew: each of two has read what the other writes, and the database tells the second at COMMIT."""
    postgres.alias("pg", OPTIONS={"isolation_level": IsolationLevel.SERIALIZABLE})
    for name in ("a", "b"):
        Dish.objects.using("pg").create(name=name, tenant=name)

    def skew(mine: str, theirs: str, meanwhile: Callable[[], Any] = lambda: None) -> None:
        with transaction.atomic(using="pg"):
            read = Dish.objects.using("pg").get(tenant=theirs).name
            meanwhile()
            Dish.objects.using("pg").filter(tenant=mine).update(name=f"{mine} after {read}")

    with pytest.raises(OperationalError):
        skew("a", "b", lambda: postgres.elsewhere(lambda: skew("b", "a")))
    with cache.lookup("dish", tags=[DISHES]) as entry:
        assert entry.store(1)
    assert cache.get("dish") == 1


def test_a_constraint_that_fails_at_commit_voids_nothing_for_good(postgres: Postgres, cache: TaggedRedisCache) -> None:
    """A deferred foreign key is checked by COMMIT; the rows are as they were, and so may be the cache."""
    Dish.objects.using("pg").create(name="old")
    with pytest.raises(IntegrityError), transaction.atomic(using="pg"):  # noqa: PT012 – COMMIT raises
        rename("new")
        execute("INSERT INTO tests_packed (dish_ptr_id, weight) VALUES (999, 1)")
    assert name_of_dish() == "old"
    never_old(cache, postgres)


# Connections that are lost


def terminate_writers(cache: TaggedRedisCache) -> None:
    execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")


def test_a_writer_whose_connection_is_ended_before_its_commit_leaves_the_old_row(
    postgres: Postgres, cache: TaggedRedisCache
) -> None:
    Dish.objects.using("pg").create(name="old")
    never_old(cache, postgres)
    kill = lambda: postgres.elsewhere(lambda: terminate_writers(cache))  # noqa: E731
    with at_commit("pg", kill, lambda: None), pytest.raises(Error), transaction.atomic(using="pg"):
        rename("new")
    connections["pg"].close()
    assert cache.get("dish") is None
    assert name_of_dish() == "old"
    never_old(cache, postgres)


@pytest.mark.parametrize("level", LEVELS)
def test_a_commit_whose_answer_is_lost_on_its_way_voids_all_the_same(
    postgres: Postgres, cache: TaggedRedisCache, level: str
) -> None:
    """The database has committed, and the writer is told of a broken connection."""
    Dish.objects.using("pg").create(name="old")
    never_old(cache, postgres)
    with cutting(postgres.port, after=b"COMMIT\0") as proxied:
        postgres.alias("cut", PORT=proxied, OPTIONS={"isolation_level": LEVELS[level], "sslmode": "disable"})
        with pytest.raises(Error), transaction.atomic(using="cut"):  # noqa: PT012 – COMMIT raises
            rename("new", "cut")
            touch(Touched(tenant=None, tags=["menus"]), using="cut")
    assert cache.get("dish") is None
    assert name_of_dish() == "new"
    never_old(cache, postgres)


def test_a_statement_whose_answer_is_lost_on_its_way_voids_all_the_same(
    postgres: Postgres, cache: TaggedRedisCache
) -> None:
    Dish.objects.using("pg").create(name="old")
    never_old(cache, postgres)
    with cutting(postgres.port, after=b"UPDATE") as proxied:
        postgres.alias("cut", PORT=proxied, OPTIONS={"sslmode": "disable"})
        with pytest.raises(Error):
            rename("new", "cut")
    assert cache.get("dish") is None
    assert name_of_dish() == "new"
    never_old(cache, postgres)
