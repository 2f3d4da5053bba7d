"""Distribution in the admin."""

from django.contrib import admin

from distribution.models import Delivery, School
from kitchens.admin import KitchenOwnedAdmin


@admin.register(School)
class SchoolAdmin(KitchenOwnedAdmin):
    """Schools."""

    list_display = ("name", "pupils", "distance_km", "sppg")
    search_fields = ("name",)


@admin.register(Delivery)
class DeliveryAdmin(KitchenOwnedAdmin):
    """Deliveries."""

    list_display = ("school", "vehicle", "driver", "portions", "leaves", "status", "sppg")
    search_fields = ("vehicle", "driver")
    list_select_related = ("sppg", "school")
    autocomplete_fields = ("sppg", "school")
