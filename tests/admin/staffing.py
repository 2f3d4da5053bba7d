"""Who may enter the admin, and do what there."""

import json
from collections.abc import Mapping, Sequence

from tests.browser.exampleserver import JAKARTA, ExampleSite


def staff(permissions: Mapping[str, Sequence[str]]) -> str:
    """Code for ``manage.py shell``: these people of one kitchen may enter the admin, and have these permissions."""
    return f"""
from django.contrib.auth.models import Permission
from accounts.models import User
for handle, names in {[(handle, list(names)) for handle, names in permissions.items()]}:
    user = User.objects.get(sppg="{JAKARTA}", handle=handle)
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="bergizi_redis", codename__in=names))
"""


def logged(site: ExampleSite, entries: str, *columns: str) -> list[list[str]]:
    """The columns of the admin's log: ``entries`` is a query of ``LogEntry``, a column what an ``entry`` has."""
    row = ", ".join(f"entry.{column}" for column in columns)
    code = f"""
import json
from django.contrib.admin.models import LogEntry
print("LOG" + json.dumps([[{row}] for entry in {entries}.order_by("pk")]))
"""
    said = site.manage("shell", "-c", code)
    found: list[list[str]] = json.loads(said.stdout.partition("LOG")[2])
    return found
