"""Every way to write voids what was computed from the table, whoever sends the statement.

The guards, taken away, turn these red: the execute wrapper (all), the fence around a statement that commits itself
(``a_reader_between_the_statement``), pending tables of a transaction (``nothing_is_stored_by_its_own_writer``), the
tables that go along (``the_database_deletes``), the rows' own tenants (``a_row_that_moves``), the count of rows that
were not there a moment before (``a_row_that_appears``).
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection, connections, models, transaction
from django.db.models import F

from bergizi_redis.cache import commits, statements
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.invalidation import Touched, invalidates
from tests.models import Dish, Packed, Special

committing = pytest.mark.django_db(transaction=True, databases=["default", "other"])
DISH = Dish._meta.db_table
PACKED = Packed._meta.db_table


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


def raw(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def many(sql: str, *rows: tuple[Any, ...]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)


def saved() -> None:
    dish = Dish.objects.get(name="soto")
    dish.name = "rawon"
    dish.save()


WRITES: dict[str, Callable[[], Any]] = {
    "create": lambda: Dish.objects.create(name="pecel"),
    "save": saved,
    "save of one field": lambda: Dish.objects.get(name="soto").save(update_fields=["name"]),
    "save through a proxy": lambda: Special.objects.get(name="soto").save(),
    "save of a child": lambda: Packed.objects.create(name="kering", weight=3),
    "delete": lambda: Dish.objects.get(name="soto").delete(),
    "delete of a set": lambda: Dish.objects.filter(name="soto").delete(),
    "update": lambda: Dish.objects.filter(name="soto").update(name="rawon"),
    "update by F": lambda: Dish.objects.update(tenant=F("name")),
    "bulk_create": lambda: Dish.objects.bulk_create([Dish(name="a"), Dish(name="b")]),
    "bulk_create that updates": lambda: Dish.objects.bulk_create(
        [Dish(pk=1, name="a")], update_conflicts=True, update_fields=["name"], unique_fields=["id"]
    ),
    "bulk_update": lambda: Dish.objects.bulk_update(Dish.objects.all(), ["name"]),
    "get_or_create": lambda: Dish.objects.get_or_create(name="pecel"),
    "update_or_create": lambda: Dish.objects.update_or_create(name="soto", defaults={"tenant": "sppg-b"}),
    "raw SQL": lambda: raw(f"UPDATE {DISH} SET name = %s", "rawon"),  # noqa: S608
    "raw SQL with a comment": lambda: raw(f'/* why */ delete from "{DISH}" -- all'),  # noqa: S608
    "executemany": lambda: many(f"UPDATE {DISH} SET name = %s WHERE id = %s", ("a", 1), ("b", 2)),  # noqa: S608
    "a common table expression": lambda: raw(
        f"WITH chosen AS (SELECT id FROM {DISH}) DELETE FROM {DISH} WHERE id IN (SELECT id FROM chosen)"  # noqa: S608
    ),
    "what nobody understands": lambda: raw(f"ALTER TABLE {DISH} RENAME COLUMN name TO name"),
}


def begun_by_hand(write: Callable[[], Any]) -> None:
    raw("BEGIN")
    write()
    raw("COMMIT")


def without_autocommit(write: Callable[[], Any], end: Callable[[], None]) -> None:
    transaction.set_autocommit(False)
    try:
        write()
        end()
    finally:
        if not connection.autocommit:
            transaction.rollback()
            transaction.set_autocommit(True)


def in_atomic(write: Callable[[], Any]) -> None:
    with transaction.atomic(durable=True):
        write()


def in_savepoints(write: Callable[[], Any]) -> None:
    with transaction.atomic(), transaction.atomic(), transaction.atomic():
        write()


WAYS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "committing itself": lambda write: write(),
    "in atomic": in_atomic,
    "three savepoints deep": in_savepoints,
    "without autocommit, committed": lambda write: without_autocommit(write, transaction.commit),
    "without autocommit, turned on again": lambda write: without_autocommit(
        write, lambda: transaction.set_autocommit(True)
    ),
}


@committing
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_voids_what_was_computed_from_its_table(cache: TaggedRedisCache, write: str, way: str) -> None:
    Dish.objects.create(pk=1, name="soto")
    cache.set("menu", "old", tags=[DISH])
    cache.set("else", "kept", tags=["auth_group"])
    WAYS[way](WRITES[write])
    assert cache.get("menu") is None
    assert cache.get("else") == (None if write == "what nobody understands" else "kept")
    cache.set("menu", "new", tags=[DISH])
    assert cache.get("menu") == "new"  # no fence was left behind


@committing
def test_begin_and_commit_in_sql_are_a_transaction_too(cache: TaggedRedisCache) -> None:
    Dish.objects.create(pk=1, name="soto")
    cache.set("menu", "old", tags=[DISH])
    raw("BEGIN")
    raw(f"UPDATE {DISH} SET name = 'rawon'")  # noqa: S608
    with cache.lookup("menu", tags=[DISH]) as entry:
        assert not entry.store("uncommitted")
    raw("COMMIT")
    assert cache.get("menu") is None
    with cache.lookup("menu", tags=[DISH]) as entry:
        assert entry.store("new")
    cache.set("menu", "new", tags=[DISH])
    raw("BEGIN")
    raw(f"UPDATE {DISH} SET name = 'pecel'")  # noqa: S608
    raw("ROLLBACK")
    assert cache.get("menu") == "new"


@committing
@pytest.mark.parametrize("read", ["SELECT 1", "SELECT * FROM tests_dish", "VALUES (1)", "PRAGMA foreign_keys"])
def test_what_reads_says_nothing(commands: Callable[[], Any], read: str) -> None:
    Dish.objects.count()
    with commands() as log:
        raw(read)
    assert log == []


@committing
def test_two_round_trips_for_a_transaction_and_for_a_statement_of_its_own(
    commands: Callable[[], Any], cache: TaggedRedisCache
) -> None:
    cache.get("warm")
    with commands() as log, transaction.atomic():
        Dish.objects.bulk_create([Dish(name=str(number)) for number in range(50)])
        Dish.objects.update(name="soto")
        Packed.objects.create(weight=1)
    assert [line.split(" ", 1)[0] for line in log] == ["EVAL", "EVAL"]
    with commands() as log:
        Dish.objects.update(name="rawon")
    assert [line.split(" ", 1)[0] for line in log] == ["EVAL", "EVAL"]


@committing
def test_a_rollback_voids_nothing(cache: TaggedRedisCache, commands: Callable[[], Any]) -> None:
    cache.set("menu", "kept", tags=[DISH])
    with commands() as log, transaction.atomic():
        Dish.objects.create(name="soto")
        transaction.set_rollback(True)
    assert log == []
    assert cache.get("menu") == "kept"
    with commands() as log, transaction.atomic():  # nothing is left of it
        Dish.objects.count()
    assert log == []


@committing
def test_a_reader_between_the_statement_that_commits_itself_and_its_release_stores_nothing(
    cache: TaggedRedisCache,
) -> None:
    """It has committed, or has not: either way what is computed meanwhile is dead from birth."""

    def reading(execute: Any, sql: str, params: Any, is_many: bool, context: Any) -> Any:
        cache.set("before", "old", tags=[DISH])
        result = execute(sql, params, is_many, context)
        assert cache.get("menu") is None
        cache.set("after", "between", tags=[DISH])
        return result

    cache.set("menu", "old", tags=[DISH])
    connection.ensure_connection()
    assert connection.execute_wrappers
    connection.execute_wrappers.append(reading)  # inside of the fence
    try:
        Dish.objects.update(name="rawon")
    finally:
        connection.execute_wrappers.remove(reading)
    assert [cache.get(key) for key in ("menu", "before", "after")] == [None, None, None]


@committing
def test_a_statement_that_fails_leaves_no_fence(cache: TaggedRedisCache) -> None:
    with pytest.raises(Exception, match="no such column"):
        raw(f"UPDATE {DISH} SET nonsense = 1")  # noqa: S608
    cache.set("menu", "new", tags=[DISH])
    assert cache.get("menu") == "new"


@committing
def test_nothing_is_stored_by_its_own_writer(cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "transaction_mode", "IMMEDIATE")
    with transaction.atomic():
        Dish.objects.update(name="uncommitted")
        with cache.lookup("menu", tags=[DISH]) as entry:
            assert not entry.store("uncommitted")
        with cache.lookup("other", tags=["auth_group"]) as entry:
            assert entry.store("committed long ago")


@committing
def test_each_database_is_watched(cache: TaggedRedisCache) -> None:
    cache.set("menu", "old", tags=[DISH])
    with transaction.atomic(using="other"), transaction.atomic():
        Dish.objects.using("other").create(name="soto")
        assert cache.get("menu") == "old"
    assert cache.get("menu") is None


@committing
def test_many_to_many_changes_void_the_table_between(cache: TaggedRedisCache, django_user_model: Any) -> None:
    from django.contrib.auth.models import Group

    user, group = django_user_model.objects.create(username="budi"), Group.objects.create(name="cooks")
    between = django_user_model.groups.through._meta.db_table
    for change in (
        lambda: user.groups.add(group), lambda: user.groups.remove(group), lambda: user.groups.set([group]),
        lambda: user.groups.clear(), lambda: group.user_set.add(user), lambda: group.delete(),
    ):  # fmt: skip
        cache.set("members", "old", tags=[between])
        change()
        assert cache.get("members") is None


@committing
def test_a_cascade_voids_each_table_it_reaches(cache: TaggedRedisCache) -> None:
    packed = Packed.objects.create(name="kering", weight=3)
    for table in (DISH, PACKED):
        cache.set(table, "old", tags=[table])
    Dish.objects.filter(pk=packed.pk).delete()
    assert cache.get(DISH) is cache.get(PACKED) is None


@committing
def test_tables_that_nobody_caches_are_not_watched(commands: Callable[[], Any], settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "UNWATCHED_TABLES": [DISH]}
    Dish.objects.count()
    with commands() as log:
        Dish.objects.update(name="rawon")
    assert log == []


@pytest.mark.django_db
def test_in_a_test_case_a_write_voids_at_once(cache: TaggedRedisCache) -> None:
    """Its transaction never commits."""
    cache.set("menu", "old", tags=[DISH])
    with transaction.atomic():
        Dish.objects.update(name="rawon")
    assert cache.get("menu") is None
    with cache.lookup("menu", tags=[DISH]) as entry:
        assert entry.store("new")
    assert cache.get("menu") == "new"


@committing
def test_a_commit_that_is_interrupted_is_fenced_again_when_it_happens_after_all(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite commits what is open when Django turns autocommit on again."""
    Dish.objects.create(pk=1, name="soto")
    fences: list[frozenset[str]] = []
    raised = commits.Fence.__init__

    def counted(fence: commits.Fence, *arguments: Any) -> None:
        raised(fence, *arguments)
        fences.append(fence.version_keys)

    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commits.Fence, "__init__", counted)
    monkeypatch.setattr(type(connections["default"]), "_commit", interrupted)
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        Dish.objects.update(name="rawon")
    monkeypatch.undo()
    assert Dish.objects.get(pk=1).name == "rawon"
    assert len(fences) == 2
    assert fences[0] == fences[1] == cache.scope.bumped_by([DISH])


class TestFunctionsOfProjects:
    """``@invalidates``: a write without an instance voids its bulk tags, or everything."""

    @committing
    def test_a_save_is_announced_and_voids_only_what_the_function_says(self, cache: TaggedRedisCache) -> None:
        @invalidates(Dish)
        def touched(dish: Dish) -> Touched:
            return Touched(tenant=None, tags=["dishes"])

        cache.set("dishes", 1, tags=["dishes"])
        cache.set("else", 1, tags=["staff"])
        dish = Dish.objects.create(name="soto")
        dish.save()
        dish.delete()
        Dish.objects.get_or_create(name="x")
        Packed.objects.create(name="kering")
        assert (cache.get("dishes"), cache.get("else")) == (None, 1)

    @committing
    @pytest.mark.parametrize("write", ["update", "bulk_create", "raw SQL", "delete of a set", "save from a field"])
    def test_a_write_without_an_instance_voids_the_bulk_tags(
        self, cache: TaggedRedisCache, write: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Dish.objects.create(pk=1, name="soto")

        @invalidates(Dish, bulk=["dishes"])
        def touched(dish: Dish) -> Touched:
            return Touched(tenant=None, tags=["other"])

        def renumbering(field: Any, instance: Any, add: bool) -> Any:
            Dish.objects.filter(pk=1).update(name="x")
            return getattr(instance, field.attname)

        cache.set("dishes", 1, tags=["dishes"])
        cache.set("else", 1, tags=["staff"])
        if write == "save from a field":
            monkeypatch.setattr(models.CharField, "pre_save", renumbering)
            Dish(pk=1, name="y").save(force_update=True)
        else:
            WRITES[write]()
        expected = 1 if write == "delete of a set" else None  # Django deletes one by one where somebody listens
        assert (cache.get("dishes"), cache.get("else")) == (expected, 1)

    @committing
    def test_without_bulk_tags_everything_goes_and_the_log_says_so_once(
        self, cache: TaggedRedisCache, caplog: pytest.LogCaptureFixture
    ) -> None:
        @invalidates(Dish)
        def touched(dish: Dish) -> Touched:
            return Touched(tenant=None, tags=["dishes"])

        for _ in range(2):
            cache.set("else", 1, tags=["staff"])
            Dish.objects.update(name="x")
            assert cache.get("else") is None
        assert caplog.text.count("bulk=[") == 1

    @committing
    def test_a_child_changes_with_its_parents_table(self, cache: TaggedRedisCache) -> None:
        @invalidates(Packed, bulk=["packed"])
        def touched(packed: Packed) -> Touched:
            return Touched(tenant=None, tags=["other"])

        packed = Packed.objects.create(name="kering")
        cache.set("packed", 1, tags=["packed"])
        dish = Dish.objects.get(pk=packed.pk)
        dish.name = "basah"
        dish.save()
        assert cache.get("packed") is None

    @committing
    def test_a_save_that_commits_itself_is_fenced_before_and_bumped_no_second_time(
        self, cache: TaggedRedisCache, commands: Callable[[], Any]
    ) -> None:
        @invalidates(Dish)
        def touched(dish: Dish) -> Touched:
            return Touched(tenant=None, tags=["dishes"])

        dish = Dish.objects.create(name="soto")
        cache.set("dishes", "old", tags=["dishes"])
        seen = []

        def looking(execute: Any, *arguments: Any) -> Any:
            seen.append(cache.get("dishes"))
            return execute(*arguments)

        connection.execute_wrappers.append(looking)
        try:
            dish.save()
        finally:
            connection.execute_wrappers.remove(looking)
        assert seen == [None]
        with commands() as log:
            dish.save()
        assert [line.split(" ", 1)[0] for line in log] == ["EVAL", "EVAL"]


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="the database's own cascades came with Django 6.1")
@committing
def test_what_the_database_deletes_along_is_void_too(cache: TaggedRedisCache) -> None:
    from bergizi_redis.cache import tables

    class Crate(models.Model):
        dish = models.ForeignKey(Dish, on_delete=models.DB_CASCADE, db_constraint=False)

        class Meta:
            app_label = "tests"

        def __str__(self) -> str:
            return "a crate"

    try:
        assert tables.with_followers([DISH.lower()]) == {DISH, "tests_crate"}
        cache.set("crates", "old", tags=["tests_crate"])
        Dish.objects.update(name="x")
        assert cache.get("crates") is None
    finally:
        from django.apps import apps

        del apps.all_models["tests"]["crate"]
        apps.clear_cache()


@committing
def test_behind_a_replica_the_fence_stands_until_it_has_caught_up(
    cache: TaggedRedisCache, settings: Any, raw: Any
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REPLICA_LAG": 60}
    Dish.objects.update(name="x")
    cache.set("menu", "from the replica", tags=[DISH])
    assert cache.get("menu") is None
    keys = cache.scope.bumped_by([DISH])
    assert all(0 < raw.pttl(key) <= 60_000 for key in keys)
    raw.delete(*keys)  # what its deadline does
    cache.set("menu", "new", tags=[DISH])
    assert cache.get("menu") == "new"


@committing
@pytest.mark.parametrize("how", ["WATCH_WRITES", "another backend"])
def test_who_does_not_want_it_pays_nothing(settings: Any, how: str, commands: Callable[[], Any]) -> None:
    connection.close()
    connection.execute_wrappers.clear()
    if how == "WATCH_WRITES":
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "WATCH_WRITES": False}
    else:
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    statements.watch(connections["default"])
    try:
        assert connection.execute_wrappers == []
    finally:
        connection.execute_wrappers.append(statements.watched)
