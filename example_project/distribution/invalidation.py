"""Which cached values a saved delivery makes stale."""

from bergizi_redis.cache.invalidation import Touched, invalidates
from distribution.models import Delivery


@invalidates(Delivery, bulk=["deliveries"])
def delivery_touched(instance: Delivery) -> Touched:
    """The kitchen's overview."""
    return Touched(tenant=instance.sppg_id, tags=["deliveries"])
