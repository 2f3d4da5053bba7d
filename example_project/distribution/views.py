"""The kitchen's deliveries."""

from distribution.models import Delivery
from kitchens.access import KitchenList


class DeliveryList(KitchenList):
    """Each delivery with its school."""

    model = Delivery
    related = ("school",)
    template_name = "distribution/list.html"
