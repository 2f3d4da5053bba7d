"""A write that is proven to touch one kitchen leaves the others warm; any other voids the table for all.

The guards, taken away, turn these red: the question whose the rows are (``a_row_that_moves``), the second look at rows
that were not there (``a_row_that_appears``), the refusal of what proves nothing (``an_unproven_write``).
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection, transaction
from django.db.models import F, Q, Value

from bergizi_redis.cache.sqltenants import proof_of, values_of
from bergizi_redis.cache.tables import table_named
from tests.models import Dish, Kitchen, Recipe

committing = pytest.mark.django_db(transaction=True)
KITCHENS = ["sppg-a", "sppg-b", "sppg-c"]
DISH = Dish._meta.db_table


@pytest.fixture(autouse=True)
def a_field_for_tenants(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_FIELD": ("tenant", "kitchen")}


@pytest.fixture
def warm() -> Callable[[], list[str]]:
    """Fill a cache for each kitchen from the dishes; then: which kitchens' caches are still warm."""
    cache: Any = caches["default"]
    addresses = {kitchen: cache.scope_of(kitchen).read_by((DISH,)) for kitchen in KITCHENS}
    shared = cache.scope_of(None).read_by((DISH,))
    before = {kitchen: cache.ask(_read(keys)) for kitchen, keys in {**addresses, "shared": shared}.items()}

    def still() -> list[str]:
        now = {kitchen: cache.ask(_read(keys)) for kitchen, keys in {**addresses, "shared": shared}.items()}
        return [kitchen for kitchen in now if now[kitchen] == before[kitchen]]

    return still


def _read(version_keys: tuple[str, ...]) -> Any:
    from bergizi_redis.cache import tags

    return tags.read(version_keys)


def moved() -> None:
    dish = Dish.objects.get(name="soto")
    dish.tenant = "sppg-b"
    dish.save()


def saved() -> None:
    dish = Dish.objects.get(name="soto")
    dish.name = "rawon"
    dish.save()


def saved_in_part() -> None:
    dish = Dish.objects.get(name="soto")
    dish.name = "rawon"
    dish.save(update_fields=["name"])


def saved_from_an_old_copy() -> None:
    """The row is at b by now; the copy still says a."""
    dish = Dish.objects.get(name="soto")
    raw(f"UPDATE {DISH} SET tenant = 'sppg-b' WHERE name = 'soto'")  # noqa: S608
    dish.save()


def raw(sql: str) -> None:
    """Behind the cache's back."""
    with connection.make_cursor(connection.create_cursor()) as cursor:
        cursor.cursor.execute(sql)


PROVEN: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "create": (lambda: Dish.objects.create(tenant="sppg-a", name="x"), {"sppg-a"}),
    "bulk_create": (
        lambda: Dish.objects.bulk_create([Dish(tenant="sppg-a", name="x"), Dish(tenant="sppg-c", name="y")]),
        {"sppg-a", "sppg-c"},
    ),
    "save": (saved, {"sppg-a"}),
    "save of one field": (saved_in_part, {"sppg-a"}),
    "a row that moves": (moved, {"sppg-a", "sppg-b"}),
    "a row that has moved": (saved_from_an_old_copy, {"sppg-a", "sppg-b"}),
    "delete": (lambda: Dish.objects.get(name="soto").delete(), {"sppg-a"}),
    "update of one kitchen": (lambda: Dish.objects.filter(tenant="sppg-a").update(name="x"), {"sppg-a"}),
    "update of some of one kitchen": (
        lambda: Dish.objects.filter(Q(name="soto") & Q(tenant="sppg-a", pk__gt=0)).update(name=F("name")),
        {"sppg-a"},
    ),
    "update that moves": (
        lambda: Dish.objects.filter(tenant="sppg-a").update(tenant="sppg-b"), {"sppg-a", "sppg-b"},
    ),
    "bulk_update": (lambda: Dish.objects.bulk_update(Dish.objects.filter(name="soto"), ["name"]), {"sppg-a"}),
    "delete of one kitchen": (lambda: Dish.objects.filter(tenant="sppg-a")._raw_delete("default"), {"sppg-a"}),
}  # fmt: skip


@committing
@pytest.mark.parametrize("way", ["committing itself", "in atomic"])
@pytest.mark.parametrize("case", PROVEN)
def test_a_proven_write_leaves_the_others_warm(case: str, way: str, warm: Callable[[], list[str]]) -> None:
    write, touched = PROVEN[case]
    raw(f"INSERT INTO {DISH} (tenant, name) VALUES ('sppg-a', 'soto')")  # noqa: S608
    if way == "in atomic":
        with transaction.atomic():
            write()
    else:
        write()
    assert warm() == [kitchen for kitchen in KITCHENS if kitchen not in touched]


UNPROVEN: dict[str, Callable[[], Any]] = {
    "update of all": lambda: Dish.objects.update(name="x"),
    "update by name": lambda: Dish.objects.filter(name="soto").update(name="x"),
    "either or": lambda: Dish.objects.filter(Q(tenant="sppg-a") | Q(name="soto")).update(name="x"),
    "not": lambda: Dish.objects.exclude(tenant="sppg-a").update(name="x"),
    "a kitchen that is computed": lambda: Dish.objects.filter(tenant="sppg-a").update(tenant=F("name")),
    "a kitchen out of an expression": lambda: Dish.objects.filter(tenant=Value("sppg-a")).update(
        tenant=Value("sppg-") + F("name")
    ),
    "no kitchen's id": lambda: Dish.objects.create(tenant="not an id"),
    "delete by name": lambda: Dish.objects.filter(name="soto")._raw_delete("default"),
    "an insert that updates": lambda: Dish.objects.bulk_create(
        [Dish(pk=1, tenant="sppg-a")], update_conflicts=True, update_fields=["name"], unique_fields=["id"]
    ),
    "raw SQL": lambda: connection.cursor().execute(f"UPDATE {DISH} SET name = 'x' WHERE tenant = 'sppg-a'"),  # noqa: S608
}


@committing
@pytest.mark.parametrize("case", UNPROVEN)
def test_an_unproven_write_voids_the_table_for_all(case: str, warm: Callable[[], list[str]]) -> None:
    raw(f"INSERT INTO {DISH} (id, tenant, name) VALUES (1, 'sppg-a', 'soto')")  # noqa: S608
    UNPROVEN[case]()
    assert warm() == []


@committing
@pytest.mark.parametrize("case", ["update of one kitchen", "delete of one kitchen"])
def test_where_the_column_takes_two_ids_as_equal_a_condition_proves_nothing(
    case: str, warm: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SPPG-A`` would match the rows of ``sppg-a``, too."""
    monkeypatch.setattr(Dish._meta.get_field("tenant"), "db_collation", "nocase")
    PROVEN[case][0]()
    assert warm() == []


@committing
def test_where_the_column_takes_two_ids_as_equal_a_new_row_is_one_kitchens(
    warm: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dish._meta.get_field("tenant"), "db_collation", "nocase")
    Dish.objects.create(tenant="sppg-a", name="x").save()
    assert warm() == ["sppg-b", "sppg-c"]


@committing
@pytest.mark.parametrize("is_atomic", [True, False])
def test_a_row_that_appears_after_it_was_asked_for_voids_the_table_for_all(
    is_atomic: bool, warm: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has said whose it was."""
    from bergizi_redis.cache import statements

    asked = statements._tenants_of_rows

    def too_early(*arguments: Any) -> list[Any]:
        found = asked(*arguments)
        raw(f"INSERT INTO {DISH} (id, tenant, name) VALUES (7, 'sppg-b', 'soto')")  # noqa: S608
        return found

    monkeypatch.setattr(statements, "_tenants_of_rows", too_early)
    dish = Dish(pk=7, tenant="sppg-a", name="rawon")
    if is_atomic:
        with transaction.atomic():
            dish.save(force_update=True)
    else:
        dish.save(force_update=True)
    assert warm() == []


@committing
def test_a_save_in_one_kitchen_leaves_999_others_warm() -> None:
    """Counted: a thousand kitchens, one save, 999 hits."""
    cache: Any = caches["default"]
    kitchens = [f"sppg-{number:04}" for number in range(1000)]
    keys = {kitchen: cache.scope_of(kitchen).read_by((DISH,)) for kitchen in kitchens}
    before = {kitchen: cache.ask(_read(keys[kitchen])) for kitchen in kitchens}
    Dish.objects.create(tenant="sppg-0007", name="soto")
    after = {kitchen: cache.ask(_read(keys[kitchen])) for kitchen in kitchens}
    assert [kitchen for kitchen in kitchens if before[kitchen] != after[kitchen]] == ["sppg-0007"]


@committing
def test_a_key_to_the_kitchen_names_the_tenant_as_well() -> None:
    Kitchen.objects.create(id="sppg-a", name="A")
    table = table_named(Recipe._meta.db_table)
    assert table.column == "kitchen_id"
    assert table.tenants(["sppg-a"]) == frozenset({"sppg-a"})
    assert table.tenants([None]) is None
    assert table.tenants(["no id"]) is None


PLACES = [
    ('INSERT INTO "t" ("n", "k") VALUES (%s, %s), (%s, %s)', ["1", "a", "2", "b"], ["a", "b"]),
    ('INSERT INTO "t" ("n", "k") VALUES (COALESCE(%s, %s), %s)', ["1", "2", "a"], ["a"]),
    ('INSERT INTO "t" ("n", "k") SELECT * FROM UNNEST((%s)::int[], (%s)::varchar[])', [[1, 2], ["a", "b"]], ["a", "b"]),
    ('INSERT INTO "t" ("k") VALUES (%s) ON CONFLICT DO NOTHING', ["a"], ["a"]),
    ('UPDATE "t" SET "n" = (%s + %s) WHERE ("t"."n" > %s AND "t"."k" = %s)', [1, 2, 3, "a"], ["a"]),
    ('DELETE FROM "t" WHERE "t"."k" = %s RETURNING "t"."n"', ["a"], ["a"]),
]


@pytest.mark.parametrize(("sql", "params", "tenants"), PLACES)
def test_the_place_of_the_tenant_is_told_from_the_text(sql: str, params: list[Any], tenants: list[str]) -> None:
    proof = proof_of(sql, "t", "k", "id")
    assert proof is not None
    assert values_of(proof, params) == tenants


@pytest.mark.parametrize(
    "sql",
    [
        'INSERT INTO "t" ("n") VALUES (%s)',
        'INSERT INTO "t" ("n", "k") VALUES (%s, UPPER(%s))',
        'INSERT INTO "t" ("k") SELECT "k" FROM "u"',
        'INSERT INTO "t" ("k") VALUES (%s) ON DUPLICATE KEY UPDATE "n" = 1',
        'INSERT INTO "t" ("n", "k") SELECT * FROM UNNEST((%s)::int[], %s || %s)',
        'UPDATE "t" SET "n" = %s FROM "u" WHERE "t"."k" = %s',
        'UPDATE "t" SET "n" = %s WHERE "u"."k" = %s',
        'UPDATE "t" SET "n" = %s WHERE "t"."k" = %s OR 1 = 1',
        'UPDATE "t" SET "n" = %s WHERE "t"."k" = %s AND "t"."n" = %s OR "t"."n" = %s',
        'UPDATE "t" SET "n" = %s WHERE "t"."k" = %s AND "t"."n" = %s XOR "t"."n" = %s',
        'UPDATE "t" SET "n" = %s WHERE "t"."k" = %s AND "t"."n" = %s || "t"."n" = %s',
        'UPDATE "t" SET "n" = %s WHERE "t"."k" = %s; DELETE FROM "t"',
        'UPDATE "t" SET "n" = %s WHERE NOT ("t"."k" = %s)',
        'UPDATE "t" SET "n" = %s WHERE "t"."k" IN (SELECT %s)',
        'UPDATE "t" SET "n" = %s',
        'DELETE FROM "t" USING "u" WHERE "t"."k" = %s',
        'DELETE FROM "t" WHERE "t"."k" = %(name)s AND "t"."n" = 5 %% 3',
        "SELECT 1",
    ],
)
def test_what_proves_nothing(sql: str) -> None:
    assert proof_of(sql, "t", "k", "id") is None


@pytest.mark.parametrize("params", [None, {"name": "a"}, ["too short"]])
def test_parameters_that_do_not_fit_prove_nothing(params: Any) -> None:
    proof = proof_of('INSERT INTO "t" ("n", "k") VALUES (%s, %s)', "t", "k", "id")
    assert proof is not None
    assert values_of(proof, params) is None
