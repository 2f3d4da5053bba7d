"""The app "inventory"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InventoryConfig(AppConfig):
    """Inventory of the example."""

    name = "inventory"
    verbose_name = _("Inventory")

    def ready(self) -> None:
        """Let saves of this app's models invalidate what was cached of them."""
        from inventory import invalidation  # noqa: F401
