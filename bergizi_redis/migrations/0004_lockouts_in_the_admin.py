"""No table: the permissions to look at locked accounts in the admin, and to unlock them."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("bergizi_redis", "0003_audit")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.CreateModel(
            name="Lockout",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "locked account",
                "verbose_name_plural": "locked accounts",
                "permissions": [("unlock_account", "Can unlock account")],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
