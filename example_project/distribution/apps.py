"""The app "distribution"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DistributionConfig(AppConfig):
    """Distribution of the example."""

    name = "distribution"
    verbose_name = _("Distribution")

    def ready(self) -> None:
        """Let saves of this app's models invalidate what was cached of them."""
        from distribution import invalidation  # noqa: F401
