"""The app "production"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProductionConfig(AppConfig):
    """Production of the example."""

    name = "production"
    verbose_name = _("Production")

    def ready(self) -> None:
        """Let saves of this app's models invalidate what was cached of them."""
        from production import invalidation  # noqa: F401
