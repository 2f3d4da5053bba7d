"""``manage.py warm_cache`` fills these before the kitchens open."""

from bergizi_redis.cache.warming import warmer

from bergizi_redis.tenancy import use_tenant
from menus.reading import menu_rows


@warmer("menus")
def warm_menus(tenant: str) -> None:
    """The list that everybody opens first."""
    with use_tenant(tenant):
        menu_rows("")
