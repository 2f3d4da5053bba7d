"""What changes permissions, told after its COMMIT: groups of users, permissions of either, and what is deleted.

Receivers of Django's signals. ``QuerySet.update()``, raw SQL and roles of a project's own are told with
``permissions_changed``.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.sessions.permissions import permissions_changed

logger = logging.getLogger("bergizi_redis.sessions")

MANY = 20  # users; above, it is one barrier for everybody instead of one for each
# Fields of the user that permissions depend on; ``role`` is that of projects which have one.
FIELDS = {"is_active", "is_superuser", "is_staff", "role"}
ACTIONS = ("post_add", "post_remove", "post_clear")


def connect() -> None:
    """Listen to the models of ``django.contrib.auth``, and to the project's user model where it has permissions."""
    from django.contrib.auth.models import Group, Permission

    user = get_user_model()
    place = "bergizi_redis.sessions.grants"
    for field in ("groups", "user_permissions"):
        if hasattr(user, field):
            through = getattr(user, field).through
            m2m_changed.connect(users_changed, sender=through, dispatch_uid=f"{place}.{field}")
    m2m_changed.connect(everybody_changed, sender=Group.permissions.through, dispatch_uid=f"{place}.permissions")
    for model in (Group, Permission):
        post_delete.connect(everybody_changed, sender=model, dispatch_uid=f"{place}.{model.__name__}")
    post_save.connect(everybody_changed, sender=Permission, dispatch_uid=f"{place}.renamed")
    post_save.connect(user_saved, sender=user, dispatch_uid=f"{place}.user")


def users_changed(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, **kwargs: Any
) -> None:
    """A user's groups or permissions, or from the other side the users of one."""
    if action in ACTIONS and (pk_set is None or pk_set):
        _tell_after_commit(([instance.pk] if not reverse else pk_set), kwargs.get("using"), type(instance))


def everybody_changed(sender: Any, instance: Any, action: str = "", created: bool = False, **kwargs: Any) -> None:
    """A group's permissions, or a group or permission that is gone or has another name."""
    if action in ("", *ACTIONS) and not created and (kwargs.get("pk_set") is None or kwargs["pk_set"]):
        _tell_after_commit(None, kwargs.get("using"), type(instance))


def user_saved(sender: Any, instance: Any, created: bool, update_fields: Iterable[str] | None, **kwargs: Any) -> None:
    """Not the ``last_login`` of each log-in."""
    if not created and (update_fields is None or FIELDS & set(update_fields)):
        _tell_after_commit([instance.pk], kwargs.get("using"), sender)


def _tell_after_commit(user_ids: Iterable[Any] | None, using: str | None, model: type) -> None:
    whom = [None] if user_ids is None or len(list(user_ids)) > MANY else list(user_ids)
    transaction.on_commit(partial(_tell, whom), using=using or router.db_for_write(model))


def _tell(whom: list[Any]) -> None:
    try:
        for user_id in whom:
            permissions_changed(user_id)
    except RedisUnavailable as error:
        # The change is committed; to refuse it now would only hide it.
        logger.error(
            "Sessions keep the permissions of before, until permissions_changed() is called: %s", error,
            extra={"action": "permissions_not_told", "user_ids": whom},
        )  # fmt: skip
