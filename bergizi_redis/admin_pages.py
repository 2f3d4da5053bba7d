"""What the admin's pages have in common that show what lies in Redis: nothing is edited, and a search is an address."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

LONGEST = 200  # characters of a field that are looked at


class LookOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows are neither added, nor changed, nor deleted by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class TypedSearch:
    """What was typed into the form of the page ``LIST``: a field each, "" where it was left empty."""

    LIST: ClassVar[str]

    @classmethod
    def of(cls, given: Any) -> Self:
        return cls(*(given.get(field.name, "").strip()[:LONGEST] for field in fields(cls)))

    @property
    def address(self) -> str:
        """The list with this search."""
        typed = {field.name: getattr(self, field.name) for field in fields(self)}
        named = {name: value for name, value in typed.items() if value}
        return f"{reverse(self.LIST)}?{urlencode(named)}" if named else reverse(self.LIST)

    @property
    def turning(self) -> str:
        """The same, to be followed by the one field that says which page."""
        return f"{self.address}{'&' if '?' in self.address else '?'}"
