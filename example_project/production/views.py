"""Batches of the kitchen."""

from kitchens.access import KitchenList
from production.models import Batch


class BatchList(KitchenList):
    """Each batch with its menu."""

    model = Batch
    related = ("menu",)
    template_name = "production/list.html"
