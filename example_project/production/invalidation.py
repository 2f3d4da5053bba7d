"""Which cached values a saved batch makes stale."""

from bergizi_redis.cache.invalidation import Touched, invalidates
from production.models import Batch


@invalidates(Batch, bulk=["batches"])
def batch_touched(instance: Batch) -> Touched:
    """The kitchen's overview."""
    return Touched(tenant=instance.sppg_id, tags=["batches"])
