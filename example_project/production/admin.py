"""Production in the admin."""

from django.contrib import admin

from kitchens.admin import KitchenOwnedAdmin
from production.models import Batch


@admin.register(Batch)
class BatchAdmin(KitchenOwnedAdmin):
    """Batches."""

    list_display = ("code", "menu", "portions", "started", "status", "sppg")
    search_fields = ("code",)
    list_select_related = ("sppg", "menu")
    autocomplete_fields = ("sppg", "menu")
