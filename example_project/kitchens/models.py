"""A kitchen (SPPG) and what it means for a row to belong to one.

Every model of this project derives from ``KitchenOwned``. Views read ``Model.here``, which only ever holds rows of the
kitchen in force and raises ``TenantRequired`` when there is none; ``Model.objects`` is for the admin, commands and
warmers, which name the kitchen themselves.
"""

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from bergizi_redis.tenancy import current_tenant


class Kitchen(models.Model):
    """An SPPG. Its primary key is the tenant id, such as ``sppg-jakarta-001``."""

    id = models.SlugField(_("kitchen id"), primary_key=True, max_length=64)
    name = models.CharField(_("name"), max_length=100)
    regency = models.CharField(_("regency or city"), max_length=60)
    province = models.CharField(_("province"), max_length=60)
    time_zone = models.CharField(_("time zone"), max_length=40, default="Asia/Jakarta")

    class Meta:
        verbose_name = _("kitchen")
        verbose_name_plural = _("kitchens")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class KitchenManager(models.Manager):  # type: ignore[type-arg]
    """Rows of the kitchen that this code runs for, and no others."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """``TenantRequired`` where no kitchen is known, rather than everybody's rows."""
        return super().get_queryset().filter(sppg_id=current_tenant())


class KitchenOwned(models.Model):
    """A row of exactly one kitchen."""

    sppg = models.ForeignKey(Kitchen, models.CASCADE, related_name="+", verbose_name=_("kitchen"))

    objects = models.Manager()  # first, so that the admin and related lookups use it
    here = KitchenManager()

    class Meta:
        abstract = True
