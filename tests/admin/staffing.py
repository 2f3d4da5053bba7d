"""Who may enter the admin, and do what there."""

from collections.abc import Mapping, Sequence

from tests.browser.exampleserver import JAKARTA


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
