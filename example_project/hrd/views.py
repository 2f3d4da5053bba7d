"""The kitchen's staff."""

from hrd.models import Employee
from kitchens.access import KitchenList


class StaffList(KitchenList):
    """Everybody who works here, with their shifts."""

    model = Employee
    prefetched = ("shifts",)
    template_name = "hrd/list.html"
