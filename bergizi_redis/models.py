"""The tables of this app: what a write has made void while Redis was down, see ``cache/outbox``; and, where the sink
``database`` is chosen, audit events. And names without a table, for the admin."""

from typing import ClassVar

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


class Lockout(models.Model):
    """No table: the name under which the admin shows locked accounts, and to which its permissions belong."""

    class Meta:
        managed = False
        verbose_name = _("locked account")
        verbose_name_plural = _("locked accounts")
        default_permissions = ("view",)
        permissions = [("unlock_account", "Can unlock account")]

    def __str__(self) -> str:
        return str(self.pk)


class AuditTrail(models.Model):
    """No table: the name under which the admin shows the audit trails in Redis, and to which its permission belongs."""

    class Meta:
        managed = False
        verbose_name = _("audit trail")
        verbose_name_plural = _("audit trails")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.pk)


class AuditEvent(models.Model):
    """An event of an audit trail, as the sink ``database`` keeps it. Outlives Redis; written once, never changed."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("time"), db_index=True)
    event = models.CharField(_("event"), max_length=200)
    user = models.CharField(_("user"), max_length=200, blank=True)
    tenant = models.CharField(_("tenant"), max_length=64, blank=True)
    actor = models.CharField(_("actor"), max_length=200, blank=True)
    outcome = models.CharField(_("outcome"), max_length=10)
    network = models.CharField(_("network"), max_length=64, blank=True)
    agent = models.CharField(_("user agent"), max_length=256, blank=True)
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    request = models.CharField(_("request"), max_length=80, blank=True)
    details = models.TextField(_("details"), blank=True)  # JSON; a JSONField would ask the database at each check
    entry = models.CharField(_("entry in Redis"), max_length=40, blank=True)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        default_permissions = ("view",)
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "-at"], name="bergizi_audit_user"),
            models.Index(fields=["tenant", "-at"], name="bergizi_audit_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.event} · {self.user or '–'}"
