"""The table of the audit's sink ``database``, and the permission to look at the trails in Redis."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("bergizi_redis", "0002_sessions_in_the_admin")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.CreateModel(
            name="AuditTrail",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "audit trail",
                "verbose_name_plural": "audit trails",
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_index=True, verbose_name="time")),
                ("event", models.CharField(max_length=200, verbose_name="event")),
                ("user", models.CharField(blank=True, max_length=200, verbose_name="user")),
                ("tenant", models.CharField(blank=True, max_length=64, verbose_name="tenant")),
                ("actor", models.CharField(blank=True, max_length=200, verbose_name="actor")),
                ("outcome", models.CharField(max_length=10, verbose_name="outcome")),
                ("network", models.CharField(blank=True, max_length=64, verbose_name="network")),
                ("agent", models.CharField(blank=True, max_length=256, verbose_name="user agent")),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="reason")),
                ("request", models.CharField(blank=True, max_length=80, verbose_name="request")),
                ("details", models.TextField(blank=True, verbose_name="details")),
                ("entry", models.CharField(blank=True, max_length=40, verbose_name="entry in Redis")),
            ],
            options={
                "verbose_name": "audit event",
                "verbose_name_plural": "audit events",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["user", "-at"], name="bergizi_audit_user"),
                    models.Index(fields=["tenant", "-at"], name="bergizi_audit_tenant"),
                ],
            },
        ),
    ]
