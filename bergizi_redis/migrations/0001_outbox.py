"""The outbox: what a write has made void while Redis was down."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.CreateModel(
            name="OwedBump",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=512)),
                ("created", models.DateTimeField(auto_now_add=True)),
            ],
            options={"verbose_name": "owed invalidation", "verbose_name_plural": "owed invalidations"},
        ),
    ]
