"""Inventory in the admin."""

from django.contrib import admin

from inventory.models import StockItem, StockMove
from kitchens.admin import KitchenOwnedAdmin


@admin.register(StockItem)
class StockItemAdmin(KitchenOwnedAdmin):
    """Articles in store."""

    list_display = ("article", "quantity", "minimum", "unit", "sppg")
    search_fields = ("article",)


@admin.register(StockMove)
class StockMoveAdmin(KitchenOwnedAdmin):
    """Movements."""

    list_display = ("item", "quantity", "moved", "note", "sppg")
    search_fields = ("item__article", "note")
    list_select_related = ("sppg", "item")
    autocomplete_fields = ("sppg", "item")
