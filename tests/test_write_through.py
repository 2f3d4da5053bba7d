"""Writing through: database first, then the cache, in one fenced step; an older value is never put over a newer one.

Taken away, the guards turn these red: the versions read before the COMMIT (``another_tag``), the mark that a fence was
not alone (``overlap``, ``bump``), the withdrawal (``by_other_means``), the order of puts (``twice``), ``on_commit``
(``rolled_back``).
"""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from bergizi_redis.cache import fences
from bergizi_redis.cache.domains import Domain, tagged_cache
from bergizi_redis.cache.through import Put
from bergizi_redis.cache.writes import WriteThrough
from bergizi_redis.exceptions import ConfigurationError, TenantRequired
from bergizi_redis.tenancy import use_tenant
from tests.models import Dish
from tests.roundtrips import round_trips
from tests.servers import PrivateServer
from tests.spoken import Spoken

committing = pytest.mark.django_db(transaction=True)
dishes = Domain("dish", tags=["dishes"])
A = "sppg-a"


def save(tenant: str, ident: Any, data: Any) -> str:
    Dish.objects.update_or_create(id=ident, defaults={"tenant": tenant, "name": data})
    return "saved"


through = WriteThrough(dishes, save=save)


def row(ident: int) -> Any:
    return Dish.objects.filter(id=ident).values_list("name", flat=True).first()


@committing
@pytest.mark.parametrize("way", ["blocking"])
def test_what_is_written_is_in_the_database_and_in_the_cache(way: str) -> None:
    spoken = Spoken(through, way)
    for name in ("soto", "rawon"):
        dishes.set_list(A, [name])
        assert spoken.write(A, 1, name) == "saved"
        assert row(1) == name
        assert dishes.get(A, 1) == name
        assert dishes.get_list(A) is None  # it may hold the entry


@committing
@pytest.mark.parametrize("value", [5, True, None, 1.5, b"x", {"name": "soto"}])
def test_any_value_that_can_be_stored_is_put(value: Any) -> None:
    """A whole number is stored as its digits, so that Redis can add to it."""
    WriteThrough(dishes, save=lambda *_: Dish.objects.create(id=1, name="soto")).write(A, 1, value)
    assert dishes.get(A, 1, "missing") == value


@pytest.mark.django_db(transaction=True)
def test_it_is_awaited_in_a_thread() -> None:
    saved: list[Any] = []
    spoken = Spoken(WriteThrough(dishes, save=lambda *what: saved.append(what)), "awaiting")
    spoken.write(A, 1, "soto")
    assert saved == [(A, 1, "soto")]
    assert dishes.get(A, 1) == "soto"


@committing
def test_the_tenant_in_force_is_meant_where_none_is_named() -> None:
    with use_tenant(A):
        through.write(None, 1, "soto")
    assert dishes.get(A, 1) == "soto"
    with pytest.raises(TenantRequired):
        through.write(None, 1, "soto")


@committing
def test_a_save_that_fails_leaves_both_as_they_were() -> None:
    through.write(A, 1, "soto")

    def fails(tenant: str, ident: Any, data: Any) -> None:
        save(tenant, ident, data)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        WriteThrough(dishes, save=fails).write(A, 1, "rawon")
    assert (row(1), dishes.get(A, 1)) == ("soto", "soto")


@committing
def test_what_cannot_be_stored_is_not_saved() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        through.write(A, 1, lambda: None)
    assert row(1) is None


@committing
def test_in_a_transaction_the_put_follows_the_commit() -> None:
    through.write(A, 1, "soto")
    with transaction.atomic():
        through.write(A, 1, "rawon")
        assert dishes.get(A, 1) == "soto"
    assert dishes.get(A, 1) == "rawon"


@committing
def test_what_is_rolled_back_is_not_put() -> None:
    through.write(A, 1, "soto")
    with transaction.atomic():
        through.write(A, 1, "rawon")
        transaction.set_rollback(True)
    assert (row(1), dishes.get(A, 1)) == ("soto", "soto")
    with transaction.atomic():
        through.write(A, 1, "rawon")
        with transaction.atomic():
            through.write(A, 1, "gado-gado")
            transaction.set_rollback(True)
    assert (row(1), dishes.get(A, 1)) == ("rawon", "rawon")


@committing
def test_of_an_entry_that_is_written_twice_the_last_value_alone_is_put(commands: Any) -> None:
    with commands() as log, transaction.atomic():
        for name in ("soto", "rawon"):
            through.write(A, 1, name)
        through.write(A, 2, "gado-gado")
    assert (dishes.get(A, 1), dishes.get(A, 2)) == ("rawon", "gado-gado")
    assert len([line for line in log if line.startswith("SET ") and ":dish:1 " in line]) == 1


@committing
def test_what_is_written_later_by_other_means_withdraws_the_put() -> None:
    with transaction.atomic():
        through.write(A, 1, "soto")
        Dish.objects.filter(id=1).update(name="rawon")
    assert dishes.get(A, 1, "missing") == "missing"
    with transaction.atomic():
        Dish.objects.filter(id=1).update(name="soto")
        through.write(A, 1, "rawon")
        assert Dish.objects.count() == 1
    assert dishes.get(A, 1) == "rawon"


def between(monkeypatch: pytest.MonkeyPatch, before: Callable[[], Any], after: Callable[[], Any]) -> None:
    """Call ``before`` between fence and COMMIT, ``after`` between COMMIT and release – of the next commit alone."""
    kind = type(connections["default"])
    real = kind._commit  # type: ignore[attr-defined]

    def commit(self: Any) -> None:
        monkeypatch.setattr(kind, "_commit", real)
        before()
        real(self)
        after()

    monkeypatch.setattr(kind, "_commit", commit)


def another_writes() -> None:
    """Another process's whole write of the entry's versions: fence, COMMIT, release."""
    cache, writer = tagged_cache(), fences.new_writer()
    for exchange in (
        fences.put_up(dishes.voided_by(A, 1), writer, 30),
        fences.take_down(dishes.voided_by(A, 1), writer),
    ):
        cache.ask(exchange)


@committing
def test_of_two_writers_that_overlap_none_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one commits after us and releases before us: our release makes the version, our value is old."""
    between(monkeypatch, lambda: None, another_writes)
    through.write(A, 1, "old")
    assert dishes.get(A, 1, "missing") == "missing"
    between(monkeypatch, another_writes, lambda: None)
    through.write(A, 1, "old")
    assert dishes.get(A, 1, "missing") == "missing"
    through.write(A, 1, "alone")
    assert dishes.get(A, 1) == "alone"


@committing
def test_a_fence_that_stood_before_ours_may_be_of_a_later_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overlap again: it fenced first, commits after us and releases before us."""
    cache, writer = tagged_cache(), fences.new_writer()
    cache.ask(fences.put_up(dishes.voided_by(A, 1), writer, 30))
    between(monkeypatch, lambda: None, lambda: cache.ask(fences.take_down(dishes.voided_by(A, 1), writer)))
    through.write(A, 1, "old")
    assert dishes.get(A, 1, "missing") == "missing"


@committing
def test_a_bump_while_our_fence_stands_may_be_of_a_later_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    between(monkeypatch, lambda: None, lambda: dishes.invalidate(A, 1))
    through.write(A, 1, "old")
    assert dishes.get(A, 1, "missing") == "missing"


@committing
def test_another_tag_that_moves_before_our_put_kills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a writer of the row does that voids it by a tag; that version is read before our COMMIT."""
    for moves in (lambda: dishes.invalidate(A), lambda: tagged_cache().invalidate_tags(["dishes"])):
        between(monkeypatch, lambda: None, moves)
        through.write(A, 1, "old")
        assert dishes.get(A, 1, "missing") == "missing"


@committing
def test_a_put_that_is_late_dies_with_the_version_of_its_own_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits in order 1, 2, puts in order 2, 1."""
    real = Put.__call__
    late: list[Put] = []
    monkeypatch.setattr(Put, "__call__", lambda self: late.append(self))
    through.write(A, 1, "first")
    monkeypatch.setattr(Put, "__call__", real)
    through.write(A, 1, "second")
    late[0]()
    assert dishes.get(A, 1) != "first"


@committing
def test_redis_down_lets_the_write_pass(server: PrivateServer) -> None:
    through.write(A, 1, "soto")
    server.kill()
    assert through.write(A, 1, "rawon") == "saved"
    assert row(1) == "rawon"
    server.start()
    assert dishes.get(A, 1, "missing") == "missing"


@committing
def test_a_write_takes_four_round_trips_and_those_of_the_save(server: PrivateServer) -> None:
    quick = WriteThrough(dishes, save=lambda *what: None)
    quick.write(A, 1, "soto")
    with round_trips(server) as counted:
        quick.write(A, 1, "rawon")
    assert counted == [4]


@pytest.mark.django_db
def test_in_a_test_case_it_is_put_when_its_callbacks_are_run(django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        through.write(A, 1, "soto")
    assert dishes.get(A, 1) == "soto"


def test_a_coroutine_function_cannot_save() -> None:
    async def later(*what: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="WriteThrough: save="):
        WriteThrough(dishes, save=later)
