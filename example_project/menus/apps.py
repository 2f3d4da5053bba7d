"""The app "menus"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MenusConfig(AppConfig):
    """Menus of the example."""

    name = "menus"
    verbose_name = _("Menus")

    def ready(self) -> None:
        """Let saves of this app's models invalidate what was cached of them."""
        from menus import invalidation  # noqa: F401
