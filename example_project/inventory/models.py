"""What is in store, and how it got there."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import KitchenOwned


class StockItem(KitchenOwned):
    """An article in store. It is low when ``quantity`` is below ``minimum``."""

    article = models.CharField(_("article"), max_length=60)
    unit = models.CharField(_("unit"), max_length=8)
    quantity = models.DecimalField(_("in store"), max_digits=9, decimal_places=1)
    minimum = models.DecimalField(_("minimum"), max_digits=9, decimal_places=1)

    class Meta:
        verbose_name = _("stock item")
        verbose_name_plural = _("stock items")
        ordering = ["article"]
        constraints = [models.UniqueConstraint(fields=["sppg", "article"], name="one_article_per_kitchen")]

    def __str__(self) -> str:
        return self.article

    @property
    def is_low(self) -> bool:
        """Whether it is time to order."""
        return self.quantity < self.minimum

    def meter(self) -> dict[str, str]:
        """Attributes of an HTML ``<meter>``: text, because HTML reads no decimal comma."""
        full = max(self.quantity, self.minimum * 3)
        return {"max": str(full), "low": str(self.minimum), "value": str(self.quantity)}


class StockMove(KitchenOwned):
    """Something that came in (positive) or was used (negative)."""

    item = models.ForeignKey(StockItem, models.CASCADE, related_name="moves", verbose_name=_("stock item"))
    quantity = models.DecimalField(_("quantity"), max_digits=9, decimal_places=1)
    moved = models.DateTimeField(_("moved"))
    note = models.CharField(_("note"), max_length=80, blank=True)

    class Meta:
        verbose_name = _("stock move")
        verbose_name_plural = _("stock moves")
        ordering = ["-moved"]

    def __str__(self) -> str:
        return f"{self.item_id}: {self.quantity:+}"
