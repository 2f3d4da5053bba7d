"""Suppliers and what is ordered from them."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import KitchenOwned


class Supplier(KitchenOwned):
    """Somebody the kitchen buys from."""

    name = models.CharField(_("name"), max_length=80)
    phone = models.CharField(_("phone"), max_length=20, blank=True)

    class Meta:
        verbose_name = _("supplier")
        verbose_name_plural = _("suppliers")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class PurchaseOrder(KitchenOwned):
    """An order."""

    class Status(models.TextChoices):
        """How far the order is."""

        DRAFT = "draft", _("Draft")
        SENT = "sent", _("Sent")
        RECEIVED = "received", _("Received")

    number = models.CharField(_("number"), max_length=30)
    supplier = models.ForeignKey(Supplier, models.PROTECT, related_name="orders", verbose_name=_("supplier"))
    ordered = models.DateField(_("ordered on"))
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.DRAFT)

    class Meta:
        verbose_name = _("purchase order")
        verbose_name_plural = _("purchase orders")
        ordering = ["-ordered", "number"]

    def __str__(self) -> str:
        return self.number


class OrderLine(KitchenOwned):
    """One article of an order."""

    order = models.ForeignKey(PurchaseOrder, models.CASCADE, related_name="lines", verbose_name=_("purchase order"))
    article = models.CharField(_("article"), max_length=60)
    quantity = models.DecimalField(_("quantity"), max_digits=9, decimal_places=1)
    unit = models.CharField(_("unit"), max_length=8)
    price = models.PositiveIntegerField(_("price per unit (Rp)"))

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        ordering = ["article"]

    def __str__(self) -> str:
        return f"{self.article} {self.quantity} {self.unit}"
