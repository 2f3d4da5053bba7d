"""Procurement in the admin."""

from django.contrib import admin

from kitchens.admin import KitchenOwnedAdmin
from procurement.models import OrderLine, PurchaseOrder, Supplier


@admin.register(Supplier)
class SupplierAdmin(KitchenOwnedAdmin):
    """Suppliers."""

    list_display = ("name", "phone", "sppg")
    search_fields = ("name",)


@admin.register(PurchaseOrder)
class PurchaseOrderAdmin(KitchenOwnedAdmin):
    """Orders."""

    list_display = ("number", "supplier", "ordered", "status", "sppg")
    search_fields = ("number",)
    list_select_related = ("sppg", "supplier")
    autocomplete_fields = ("sppg", "supplier")


@admin.register(OrderLine)
class OrderLineAdmin(KitchenOwnedAdmin):
    """Articles of orders."""

    list_display = ("article", "quantity", "unit", "price", "order", "sppg")
    search_fields = ("article",)
    list_select_related = ("sppg", "order")
    autocomplete_fields = ("sppg", "order")
