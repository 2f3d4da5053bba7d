"""What is being cooked."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import KitchenOwned
from menus.models import Menu


class Batch(KitchenOwned):
    """One run of a menu through the kitchen."""

    class Status(models.TextChoices):
        """How far the batch is."""

        PLANNED = "planned", _("Planned")
        COOKING = "cooking", _("Cooking")
        PACKED = "packed", _("Packed")

    menu = models.ForeignKey(Menu, models.CASCADE, related_name="batches", verbose_name=_("menu"))
    code = models.CharField(_("batch"), max_length=20)
    portions = models.PositiveIntegerField(_("portions"))
    started = models.DateTimeField(_("started"))
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.PLANNED)

    class Meta:
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        ordering = ["-started", "code"]

    def __str__(self) -> str:
        return self.code
