"""The people of a kitchen and when they work."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import KitchenOwned


class Employee(KitchenOwned):
    """Somebody who works in the kitchen, with or without a sign-in."""

    name = models.CharField(_("name"), max_length=100)
    job = models.CharField(_("job"), max_length=40)
    joined = models.DateField(_("joined"))

    class Meta:
        verbose_name = _("employee")
        verbose_name_plural = _("employees")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Shift(KitchenOwned):
    """When somebody works."""

    employee = models.ForeignKey(Employee, models.CASCADE, related_name="shifts", verbose_name=_("employee"))
    starts = models.DateTimeField(_("starts"))
    ends = models.DateTimeField(_("ends"))

    class Meta:
        verbose_name = _("shift")
        verbose_name_plural = _("shifts")
        ordering = ["starts"]

    def __str__(self) -> str:
        return f"{self.employee_id} {self.starts:%Y-%m-%d %H:%M}"
