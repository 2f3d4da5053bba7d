"""The admin sees every kitchen; it is for the network's own staff."""

from typing import Any

from django.contrib import admin

from kitchens.models import Kitchen


class KitchenOwnedAdmin(admin.ModelAdmin):
    """Shows and filters by the kitchen a row belongs to, without a drop-down of a thousand kitchens."""

    list_filter: tuple[Any, ...] = (("sppg", admin.RelatedOnlyFieldListFilter),)
    list_select_related: Any = ("sppg",)
    autocomplete_fields: Any = ("sppg",)


@admin.register(Kitchen)
class KitchenAdmin(admin.ModelAdmin):
    """Kitchens."""

    list_display = ("id", "name", "regency", "province")
    search_fields = ("id", "name", "regency", "province")
