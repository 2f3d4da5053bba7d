"""The kitchen's store."""

from django.db.models import F, QuerySet

from inventory.models import StockItem
from kitchens.access import KitchenList


class StockList(KitchenList):
    """Each article, those running low first."""

    model = StockItem
    template_name = "inventory/list.html"

    def get_queryset(self) -> QuerySet[StockItem]:
        """The emptiest first, against their minimum."""
        return super().get_queryset().order_by(F("quantity") / F("minimum"), "article")
