"""Which cached values a saved article makes stale."""

from bergizi_redis.cache.invalidation import Touched, invalidates
from inventory.models import StockItem


@invalidates(StockItem, bulk=["stock"])
def article_touched(instance: StockItem) -> Touched:
    """The kitchen's overview."""
    return Touched(tenant=instance.sppg_id, tags=["stock"])
