"""The schools a kitchen serves, and today's deliveries."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import KitchenOwned


class School(KitchenOwned):
    """A school."""

    name = models.CharField(_("name"), max_length=100)
    pupils = models.PositiveIntegerField(_("pupils"))
    distance_km = models.DecimalField(_("distance (km)"), max_digits=5, decimal_places=1)

    class Meta:
        verbose_name = _("school")
        verbose_name_plural = _("schools")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Delivery(KitchenOwned):
    """Portions on their way to a school."""

    class Status(models.TextChoices):
        """How far the delivery is."""

        LOADING = "loading", _("Loading")
        ON_THE_WAY = "on-the-way", _("On the way")
        DELIVERED = "delivered", _("Delivered")

    school = models.ForeignKey(School, models.CASCADE, related_name="deliveries", verbose_name=_("school"))
    driver = models.CharField(_("driver"), max_length=100)
    vehicle = models.CharField(_("vehicle"), max_length=16)
    portions = models.PositiveIntegerField(_("portions"))
    leaves = models.DateTimeField(_("leaves"))
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.LOADING)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-leaves", "school__name"]

    def __str__(self) -> str:
        return f"{self.vehicle} → {self.school_id}"
