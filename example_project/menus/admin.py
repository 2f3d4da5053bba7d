"""Menus in the admin."""

from django.contrib import admin

from kitchens.admin import KitchenOwnedAdmin
from menus.models import Dish, Ingredient, Menu


@admin.register(Menu)
class MenuAdmin(KitchenOwnedAdmin):
    """Menus."""

    list_display = ("name", "day", "status", "portions", "sppg")
    search_fields = ("name",)
    date_hierarchy = "day"
    autocomplete_fields = ("sppg", "dishes")


@admin.register(Dish)
class DishAdmin(KitchenOwnedAdmin):
    """Dishes."""

    list_display = ("name", "course", "energy_kcal", "protein_g", "fat_g", "carbohydrate_g", "fibre_g", "sppg")
    search_fields = ("name", "sppg__id")


@admin.register(Ingredient)
class IngredientAdmin(KitchenOwnedAdmin):
    """Ingredients."""

    list_display = ("food", "grams", "dish", "tkpi_code", "sppg")
    list_select_related = ("sppg", "dish")
    search_fields = ("food", "tkpi_code")
    autocomplete_fields = ("sppg", "dish")
