"""What pages and the API read about menus: plain dictionaries, so that they can be cached."""

from typing import Any

from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu as menu_domain
from bergizi_redis.tenancy import current_tenant
from menus.models import NUTRIENTS, Dish, Menu

Row = dict[str, Any]


def plate_of(menu: Menu) -> list[Dish]:
    """The dishes as they are told: staple first, fruit last. Prefetch ``dishes``."""
    order = Dish.Course.values
    return sorted(menu.dishes.all(), key=lambda dish: (order.index(dish.course), dish.name))


def nutrition_of(menu: Menu) -> dict[str, float]:
    """One portion of the whole plate: the sum of its dishes."""
    dishes = list(menu.dishes.all())
    return {field: round(sum(float(getattr(dish, field)) for dish in dishes), 1) for field in NUTRIENTS}


def row_of(menu: Menu) -> Row:
    """A menu as it stands in a list. Prefetch ``dishes``."""
    return {
        "pk": menu.pk,
        "name": menu.name,
        "day": menu.day,
        "status": menu.status,
        "portions": menu.portions,
        "dishes": [dish.name for dish in plate_of(menu)],
        "nutrition": nutrition_of(menu),
    }


@cached(timeout=300, tags=["menus"], per_tenant=True)
def menu_rows(status: str = "") -> list[Row]:
    """The menus of the kitchen in force by day, all or of one status."""
    menus = Menu.here.prefetch_related("dishes")
    return [row_of(menu) for menu in (menus.filter(status=status) if status else menus)]


def menu_card(pk: int) -> Row | None:
    """One menu with its dishes and the shopping list for all portions; None when the kitchen has no such menu."""
    found: Row | None = menu_domain.get_or_compute(current_tenant(), pk, lambda: compute_card(pk))
    return found


def compute_card(pk: int) -> Row | None:
    """The same from the database. Three queries."""
    menu = Menu.here.prefetch_related("dishes__ingredients").filter(pk=pk).first()
    if menu is None:
        return None
    dishes = [
        {
            "name": dish.name,
            "course": dish.course,
            "nutrition": {field: float(getattr(dish, field)) for field in NUTRIENTS},
            "ingredients": [{"food": i.food, "grams": float(i.grams)} for i in dish.ingredients.all()],
        }
        for dish in plate_of(menu)
    ]
    needed: dict[str, float] = {}
    for dish in dishes:
        for ingredient in dish["ingredients"]:
            needed[ingredient["food"]] = needed.get(ingredient["food"], 0.0) + ingredient["grams"]
    shopping = [{"food": food, "kg": grams * menu.portions / 1000} for food, grams in needed.items()]
    shopping.sort(key=lambda line: -line["kg"])
    return row_of(menu) | {"plate": dishes, "shopping": shopping}
