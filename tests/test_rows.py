"""An entry of one row dies with that row's writes alone, and with those that do not say which rows they touch.

The guards, taken away, turn these red: the rows' tags of a statement by key, the table's mark for rows unknown (in
what a row's tag depends on, and in what a table that is voided by hand voids), the signal of a new row.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection, transaction

from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.cache.rows import row_tags
from bergizi_redis.exceptions import ConfigurationError
from tests.models import Dish, Packed, Special

committing = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def rows_have_tags(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ROW_TAGS": ["tests.Dish", "tests.Packed"]}


def dish(key: int) -> Dish:
    return Dish.objects.get(pk=key)


def raw(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


WRITES: dict[str, tuple[Callable[[], Any], list[int]]] = {
    "save": (lambda: dish(1).save(), [2, 3]),
    "save through a proxy": (lambda: Special.objects.get(pk=1).save(), [2, 3]),
    "delete": (lambda: dish(1).delete(), [2, 3]),
    "update of some by key": (lambda: Dish.objects.filter(pk__in=[1, 2]).update(name="x"), [3]),
    "bulk_update": (lambda: Dish.objects.bulk_update([dish(1), dish(3)], ["name"]), [2]),
    "update of nobody knows which": (lambda: Dish.objects.filter(name="1").update(name="x"), []),
    "raw SQL": (lambda: raw("UPDATE tests_dish SET name = 'x' WHERE id = 1"), []),
    "a new row": (lambda: Dish.objects.create(name="x"), [1, 2, 3]),
    "new rows": (lambda: Dish.objects.bulk_create([Dish(name="x")]), []),
    "a child": (lambda: Packed.objects.create(name="x"), [1, 2, 3]),
}


@committing
@pytest.mark.parametrize("is_atomic", [True, False])
@pytest.mark.parametrize("case", WRITES)
def test_who_is_left_after_a_write(case: str, is_atomic: bool) -> None:
    cache: Any = caches["default"]
    for key in (1, 2, 3):
        Dish.objects.create(pk=key, name=str(key))
    for key in (1, 2, 3):
        cache.set(str(key), "old", tags=row_tags(dish(key)))
    write, left = WRITES[case]
    if is_atomic:
        with transaction.atomic():
            write()
    else:
        write()
    assert [key for key in (1, 2, 3) if cache.get(str(key))] == left


@committing
def test_what_was_computed_while_there_was_no_such_row_is_void() -> None:
    cache: Any = caches["default"]
    last = Dish.objects.create(name="x").pk
    cache.set("next", "none", tags=row_tags(Dish, last + 1))
    assert Dish.objects.create(name="y").pk == last + 1
    assert cache.get("next") is None


@committing
@pytest.mark.parametrize("case", ["save", "update of nobody knows which", "raw SQL"])
def test_the_tag_of_a_row_may_be_written_by_hand(case: str) -> None:
    cache: Any = caches["default"]
    Dish.objects.create(pk=1, name="1")
    with cache.lookup("1", tags=["tests_dish#1"]) as entry:
        entry.store("old")
    WRITES[case][0]()
    assert cache.get("1") is None


@committing
@pytest.mark.parametrize("way", ["invalidate_tags", "touch"])
def test_who_voids_a_table_by_hand_voids_its_rows(way: str) -> None:
    cache: Any = caches["default"]

    def void(tags: list[str]) -> None:
        cache.invalidate_tags(tags) if way == "invalidate_tags" else touch(Touched(None, tags))

    cache.set("1", "old", tags=row_tags(Dish, 1))
    void(["another table", "tests_dish#2"])
    assert cache.get("1") == "old"
    void(["tests_dish"])
    assert cache.get("1") is None


@committing
def test_a_child_dies_with_its_parents_row() -> None:
    cache: Any = caches["default"]
    packed = Packed.objects.create(name="x")
    cache.set("packed", "old", tags=row_tags(packed))
    dish(packed.pk).save()
    assert cache.get("packed") is None


@pytest.mark.django_db
def test_a_model_that_is_not_named_and_a_row_without_a_key_are_told_so() -> None:
    from django.contrib.auth.models import Group

    with pytest.raises(ConfigurationError, match=r"name 'auth.Group' in BERGIZI_REDIS\['ROW_TAGS'\]"):
        row_tags(Group, 1)
    with pytest.raises(ConfigurationError, match="key of a row"):
        row_tags(Dish())
