"""Orders of the kitchen."""

from django.db.models import Count, F, QuerySet, Sum

from kitchens.access import KitchenList
from procurement.models import PurchaseOrder


class OrderList(KitchenList):
    """Each order with its supplier, its lines and its total."""

    model = PurchaseOrder
    related = ("supplier",)
    template_name = "procurement/list.html"

    def get_queryset(self) -> QuerySet[PurchaseOrder]:
        """Lines counted and totalled in the same query."""
        total = Sum(F("lines__quantity") * F("lines__price"))
        return super().get_queryset().annotate(total=total, articles=Count("lines")).order_by("-ordered", "number")
