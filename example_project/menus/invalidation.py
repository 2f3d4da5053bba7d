"""Which cached values a saved menu, dish or ingredient makes stale."""

from bergizi_redis.cache.invalidation import Touched, invalidates
from menus.models import Dish, Ingredient, Menu


@invalidates(Menu, Dish, Ingredient, bulk=["menus", "menu"])
def menus_touched(instance: Menu | Dish | Ingredient) -> Touched:
    """The kitchen's lists and overview (the tag "menus") and the cards of its menus (the domain "menu").

    A dish may stand in any menu of its kitchen, so all of them go; those of other kitchens stay.
    """
    return Touched(tenant=instance.sppg_id, tags=["menus", "menu"])
