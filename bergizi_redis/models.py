"""The one table of this app: what a write has made void while Redis was down, see ``cache/outbox.py``. And one name."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class OwedBump(models.Model):
    """A version key to be bumped, noted in the transaction of the write; struck out when it has been."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=512)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "owed invalidation"
        verbose_name_plural = "owed invalidations"

    def __str__(self) -> str:
        return self.key


class Session(models.Model):
    """No table: the name under which the admin shows sessions, and to which its permissions belong."""

    class Meta:
        managed = False
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        default_permissions = ("view",)
        permissions = [("end_session", "Can end session")]

    def __str__(self) -> str:
        return str(self.pk)
