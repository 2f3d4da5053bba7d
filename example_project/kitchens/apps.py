"""The app "kitchens"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class KitchensConfig(AppConfig):
    """Kitchens of the example."""

    name = "kitchens"
    verbose_name = _("Kitchens")
