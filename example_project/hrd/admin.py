"""Staff in the admin."""

from django.contrib import admin

from hrd.models import Employee, Shift
from kitchens.admin import KitchenOwnedAdmin


@admin.register(Employee)
class EmployeeAdmin(KitchenOwnedAdmin):
    """Employees."""

    list_display = ("name", "job", "joined", "sppg")
    search_fields = ("name", "job")


@admin.register(Shift)
class ShiftAdmin(KitchenOwnedAdmin):
    """Shifts."""

    list_display = ("employee", "starts", "ends", "sppg")
    search_fields = ("employee__name",)
    list_select_related = ("sppg", "employee")
    autocomplete_fields = ("sppg", "employee")
