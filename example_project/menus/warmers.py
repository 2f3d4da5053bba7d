"""``manage.py warm_cache`` fills these before the kitchens open."""

from bergizi_redis.cache.warming import warmer
from menus.reading import menu_rows


@warmer("menus")
def warm_menus(tenant: str) -> None:
    """The list that everybody opens first; warmers run for their tenant."""
    menu_rows("")
