"""Which cached values a saved menu or dish makes stale."""

from bergizi_redis.cache.invalidation import Touched, invalidates

from menus.models import Dish, Ingredient, Menu


@invalidates(Menu)
def menu_touched(instance: Menu) -> Touched:
    """The kitchen's lists, its overview, and the menu's own card."""
    return Touched(tenant=instance.sppg_id, tags=["menus", "menu", f"menu:{instance.pk}"])


@invalidates(Dish, Ingredient)
def dish_touched(instance: Dish | Ingredient) -> Touched:
    """A dish may stand in any menu of its kitchen."""
    return Touched(tenant=instance.sppg_id, tags=["menus", "menu"])
