"""Buffered writes: what was accepted is read at once, flushed in order at least once, and never dropped quietly.

Taken away, the guards turn these red: see the note at each.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bergizi_redis.cache import writes
from bergizi_redis.cache.behind import name_of
from bergizi_redis.cache.domains import Domain
from bergizi_redis.cache.flushing import Visit, Visited, Worker
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.exceptions import TenantError, TenantRequired
from bergizi_redis.tenancy import current_tenant, use_tenant
from tests.models import Dish
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
    before = dict(writes._declared)
    yield
    writes._declared.clear()
    writes._declared.update(before)


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
