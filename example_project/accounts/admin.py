"""Users in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.utils.translation import gettext_lazy as _

from accounts.models import User


class UserCreationForm(BaseUserCreationForm):
    """``login`` is made of the user name and the kitchen, so it is not asked for."""

    class Meta:
        model = User
        fields = ("handle", "sppg", "name", "role")
        field_classes: dict[str, type] = {}


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Users, with the kitchen they belong to."""

    add_form = UserCreationForm
    list_display = ("login", "name", "role", "sppg", "is_active", "is_staff")
    list_filter = ("role", "is_active", "is_staff")
    search_fields = ("login", "name")
    ordering = ("login",)
    autocomplete_fields = ("sppg",)
    readonly_fields = ("login", "last_login")
    fieldsets = (
        (None, {"fields": ("login", "handle", "sppg", "name", "role", "password")}),
        (_("Access"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("Dates"), {"fields": ("last_login",)}),
    )
    add_fieldsets = ((None, {"fields": ("handle", "sppg", "name", "role", "password1", "password2")}),)
