"""Writes planned kitchens to the database, many at a time."""

import datetime
from collections.abc import Iterator

from django.core.cache import cache
from django.db import transaction

from kitchens.models import Kitchen
from kitchens.sample.kitchen import KitchenPlan, kitchen_of
from menus.models import Menu

CHUNK = 25


def missing_numbers(kitchens: int) -> list[int]:
    """Which of the first ``kitchens`` kitchens are not there yet."""
    present = set(Kitchen.objects.values_list("pk", flat=True))
    return [number for number in range(1, kitchens + 1) if kitchen_of(number).pk not in present]


def seed(numbers: list[int], day: datetime.date, password: str) -> Iterator[int]:
    """Write the kitchens with these numbers; yields how many were written, chunk by chunk.

    ``password`` is the encoded password of everybody. Each chunk is one transaction, so a stopped run leaves whole
    kitchens and the next one goes on from there.
    """
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        plans = [KitchenPlan(number, day, password) for number in chunk]
        write(plans)
        for plan in plans:
            # bulk_create sends no signals. A cache that outlived an older database must not answer for the new one.
            cache.invalidate_all(tenant=plan.kitchen.pk)
        yield len(chunk)


@transaction.atomic
def write(plans: list[KitchenPlan]) -> None:
    """All rows of the plans, model by model: the order in which they were planned puts parents first."""
    for model in plans[0].rows:
        rows = [row for plan in plans for row in plan.rows[model]]
        model.objects.bulk_create(rows, batch_size=500)  # type: ignore[attr-defined]
    through = Menu.dishes.through
    links = [
        through(menu_id=menu.pk, dish_id=dish.pk)
        for plan in plans
        for menu, dishes in plan.menu_dishes
        for dish in dishes
    ]
    through.objects.bulk_create(links, batch_size=500)
