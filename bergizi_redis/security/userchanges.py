"""Passwords, permissions and users that change, for the audit trail; told after their COMMIT, where ``AUDIT`` is on.

A password counts as changed when ``set_password`` was called and the user saved: not when a log-in brings its hash up
to date. Of the flags that give rights the values before and after are noted, for one query more when a user is saved.
``QuerySet.update()`` and raw SQL are not seen.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from bergizi_redis.security import subjects
from bergizi_redis.security import vocabulary as named
from bergizi_redis.security.auditing import PLACE, note, quietly
from bergizi_redis.security.recording import About
from bergizi_redis.security.subjects import tenant_of

FLAGS = ("is_active", "is_staff", "is_superuser")
MANY = 20  # users of one change; above, it is one event
BEFORE = "_bergizi_redis_flags"
ACTIONS = {"post_add": "added", "post_remove": "removed", "post_clear": "cleared"}


def _after_commit(event: str, user_id: Any, about: About, using: str | None, model: type[Any]) -> None:
    quiet = quietly(lambda sender: note(event, user_id, about))
    transaction.on_commit(partial(quiet, None), using=using or router.db_for_write(model))


@quietly
def user_saving(sender: Any, instance: Any, update_fields: Iterable[str] | None = None, **about: Any) -> None:
    flags = [name for name in FLAGS if hasattr(instance, name) and (update_fields is None or name in update_fields)]
    if instance.pk is not None and flags and not instance._state.adding:
        before = sender._default_manager.filter(pk=instance.pk).values(*flags).first()
        setattr(instance, BEFORE, before or {})


@quietly
def user_saved(
    sender: Any, instance: Any, created: bool, update_fields: Iterable[str] | None = None, using: str | None = None,
    **about: Any,
) -> None:  # fmt: skip
    subjects.forget()
    tenant = tenant_of(instance)
    if created:
        _after_commit("user_created", instance.pk, {"tenant": tenant}, using, sender)
    elif getattr(instance, "_password", None) is not None and (update_fields is None or "password" in update_fields):
        _after_commit(named.PASSWORD_CHANGE, instance.pk, {"tenant": tenant}, using, sender)
    before = instance.__dict__.pop(BEFORE, {})
    changed = {name: [was, getattr(instance, name)] for name, was in before.items() if was != getattr(instance, name)}
    if changed and not created:
        _after_commit(named.AUTHZ_CHANGE, instance.pk, {"tenant": tenant, "details": changed}, using, sender)


@quietly
def user_deleted(sender: Any, instance: Any, using: str | None = None, **about: Any) -> None:
    subjects.forget()
    _after_commit("user_deleted", instance.pk, {"tenant": tenant_of(instance)}, using, sender)


@quietly
def rights_changed(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str | None = None,
    **about: Any,
) -> None:  # fmt: skip
    """Groups or permissions of users, from either side."""
    if action not in ACTIONS or (pk_set is not None and not pk_set):
        return
    what, others = f"{sender._meta.model_name}", sorted(map(str, pk_set or ()))
    users = others if reverse else [str(instance.pk)]
    details: dict[str, Any] = {
        "what": what,
        "change": ACTIONS[action],
        "which": [str(instance.pk)] if reverse else others[:10],
    }
    if reverse and not 0 < len(users) <= MANY:
        users, details = [""], {**details, "users": len(users)}
    for user_id in users:
        told: About = {"tenant": None if reverse else tenant_of(instance), "details": details}
        _after_commit(named.AUTHZ_CHANGE, user_id or None, told, using, type(instance))


@quietly
def group_changed(
    sender: Any, instance: Any, action: str, pk_set: set[Any] | None, using: str | None = None, **about: Any
) -> None:
    """Permissions of a group: of nobody in particular."""
    if action in ACTIONS and (pk_set is None or pk_set):
        which = sorted(map(str, pk_set or ()))[:10]
        details = {"what": "group_permissions", "change": ACTIONS[action], "group": str(instance.pk), "which": which}
        _after_commit(named.AUTHZ_CHANGE, None, {"details": details}, using, type(instance))


def connect() -> None:
    """Listen to the project's user model, and to Django's groups."""
    from django.contrib.auth.models import Group

    user = get_user_model()
    pre_save.connect(user_saving, sender=user, dispatch_uid=f"{PLACE}.saving")
    post_save.connect(user_saved, sender=user, dispatch_uid=f"{PLACE}.saved")
    post_delete.connect(user_deleted, sender=user, dispatch_uid=f"{PLACE}.deleted")
    for field in ("groups", "user_permissions"):
        if hasattr(user, field):
            through = getattr(user, field).through
            m2m_changed.connect(rights_changed, sender=through, dispatch_uid=f"{PLACE}.{field}")
    m2m_changed.connect(group_changed, sender=Group.permissions.through, dispatch_uid=f"{PLACE}.group")
