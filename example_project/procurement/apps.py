"""The app "procurement"."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProcurementConfig(AppConfig):
    """Procurement of the example."""

    name = "procurement"
    verbose_name = _("Procurement")
