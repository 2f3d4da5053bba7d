"""The app "hrd"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class HrdConfig(AppConfig):
    """Staff of the example."""

    name = "hrd"
    verbose_name = _("Staff")
