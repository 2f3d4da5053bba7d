"""Permissions in the session: asked without SQL, made anew once when they change, in whatever order.

Taken out, these turned tests red: the comparison in ``session_load.lua``; the refusal in ``session_permit.lua``; the
number that a log-in's snapshot notes; what a user object remembers, forgotten; ``@pbar`` not carried to a new key; the
wait for the COMMIT.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpRequest
from django.test import AsyncClient, Client

from bergizi_redis import keys
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.sessions import permissions
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.permissions import ahas_session_permission, has_session_permission
from tests.servers import PrivateServer
from tests.spoken import WAYS, Spoken

pytestmark = pytest.mark.django_db(transaction=True)
Commands = Callable[[], AbstractContextManager[list[str]]]
VIEW, CHANGE = "auth.view_user", "auth.change_user"


@pytest.fixture
def user() -> User:
    cook = User.objects.create_user("cook", password="x")
    cook.user_permissions.add(permission(VIEW))
    return cook


def permission(label: str) -> Permission:
    app, codename = label.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def logged_in(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.session.session_key)


def may(key: str, label: str, way: str = "blocking") -> bool:
    if way == "awaiting":
        return asyncio.run(sessions.avalidate_session(key, label)) is not None
    return sessions.validate_session(key, label) is not None


def request_of(key: str, user: User) -> HttpRequest:
    request = HttpRequest()
    request.session = SessionStore(key)
    request.user = user
    return request


# Asked without SQL


@pytest.mark.parametrize("way", WAYS)
def test_a_log_in_notes_permissions_that_are_asked_without_sql(
    user: User, way: str, django_assert_num_queries: Any, commands: Commands
) -> None:
    key = logged_in(user)
    with commands() as log, django_assert_num_queries(0):
        assert may(key, VIEW, way)
        assert not may(key, CHANGE, way)
        assert has_session_permission(request_of(key, user), VIEW)
        assert not has_session_permission(request_of(key, user), CHANGE)
        assert asyncio.run(ahas_session_permission(request_of(key, user), VIEW))
        assert not asyncio.run(ahas_session_permission(request_of(key, user), CHANGE))
    assert len(log) == 6  # a load each


def test_permissions_of_groups_count_too(user: User) -> None:
    group = Group.objects.create(name="cooks")
    group.permissions.add(permission(CHANGE))
    user.groups.add(group)
    info = sessions.validate_session(logged_in(User.objects.get(pk=user.pk)), CHANGE)
    assert info is not None
    assert info.permissions == (CHANGE, VIEW)


def test_a_superuser_may_everything_and_costs_no_list(raw: "redis.Redis") -> None:
    key = logged_in(User.objects.create_superuser("boss"))
    assert may(key, "any.thing")
    assert raw.hget(keys.session(sid_of(key)), "@perm") == b"true"


def test_the_session_of_the_same_user_asks_as_django_does_until_it_is_noted(user: User) -> None:
    visitor = SessionStore()
    visitor.create()
    assert has_session_permission(request_of(str(visitor.session_key), user), VIEW)
    assert not asyncio.run(ahas_session_permission(request_of(str(visitor.session_key), user), CHANGE))
    request = HttpRequest()
    assert has_session_permission(request, VIEW) is False


def test_an_asynchronous_log_in_notes_them_too(user: User) -> None:
    async def log_in() -> str:
        client = AsyncClient()
        await client.aforce_login(user)
        return str((await client.asession()).session_key)

    assert may(asyncio.run(log_in()), VIEW)


# Made anew


def given(user: User, group: Group) -> None:
    user.user_permissions.add(permission(CHANGE))


def given_from_the_other_side(user: User, group: Group) -> None:
    permission(CHANGE).user_set.add(user)


def joined(user: User, group: Group) -> None:
    group.permissions.add(permission(CHANGE))
    sessions.validate_session(None)
    user.groups.add(group)


def joined_from_the_other_side(user: User, group: Group) -> None:
    group.permissions.add(permission(CHANGE))
    group.user_set.add(user)


def group_given(user: User, group: Group) -> None:
    user.groups.add(group)
    group.permissions.add(permission(CHANGE))


def promoted(user: User, group: Group) -> None:
    user.is_superuser = True
    user.save()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "change", [given, given_from_the_other_side, joined, joined_from_the_other_side, group_given, promoted]
)
def test_what_is_granted_is_there_at_the_next_request_by_one_look(
    user: User, change: Callable[[User, Group], None], way: str, django_assert_max_num_queries: Any, commands: Commands
) -> None:
    group = Group.objects.create(name="cooks")
    key = logged_in(user)
    assert not may(key, CHANGE)
    change(User.objects.get(pk=user.pk), group)
    with django_assert_max_num_queries(3), commands() as log:  # the user, and permissions of user and groups
        assert may(key, CHANGE, way)
    assert len(log) == 2
    with django_assert_max_num_queries(0), commands() as log:
        assert may(key, CHANGE, way)
    assert len(log) == 1


def taken(user: User) -> None:
    user.user_permissions.clear()


def deleted(user: User) -> None:
    permission(VIEW).delete()


def renamed(user: User) -> None:
    known = permission(VIEW)
    known.codename = "look_at_user"
    known.save()


def deactivated(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def gone(user: User) -> None:
    user.is_active = False
    user.save()
    user.delete()


@pytest.mark.parametrize("change", [taken, deleted, renamed, deactivated, gone])
def test_what_is_taken_is_gone_at_the_next_request(user: User, change: Callable[[User], None]) -> None:
    key = logged_in(user)
    request = request_of(key, user)
    assert may(key, VIEW)
    change(User.objects.get(pk=user.pk))
    assert not has_session_permission(request_of(key, user), VIEW)
    assert not may(key, VIEW)
    assert not asyncio.run(ahas_session_permission(request, VIEW))


def test_a_group_that_is_deleted_takes_its_permissions_along(user: User) -> None:
    group = Group.objects.create(name="cooks")
    group.permissions.add(permission(CHANGE))
    user.groups.add(group)
    key = logged_in(User.objects.get(pk=user.pk))
    assert may(key, CHANGE)
    group.delete()
    assert not may(key, CHANGE)
    assert may(key, VIEW)


def test_others_keep_their_snapshots_when_one_user_changes(user: User, django_assert_num_queries: Any) -> None:
    other = User.objects.create_user("other")
    key = logged_in(other)
    given(user, Group())
    with django_assert_num_queries(0):
        assert not may(key, CHANGE)


def test_many_users_at_once_are_one_barrier(user: User, raw: "redis.Redis") -> None:
    group = Group.objects.create(name="cooks")
    cooks = User.objects.bulk_create([User(username=f"cook{number}") for number in range(30)])
    raw.delete(keys.revoked("00"))
    group.user_set.add(*cooks)
    assert set(raw.hkeys(keys.revoked("00"))) == {b"p*", b"@top", b"@swept"}


def test_a_log_in_is_no_change(user: User, raw: "redis.Redis") -> None:
    raw.delete(keys.revoked("00"))
    logged_in(user)
    User.objects.create_user("new")
    assert not raw.exists(keys.revoked("00"))


# Interleavings


def test_a_change_while_the_snapshot_is_made_anew_makes_it_old_again(user: User, monkeypatch: Any) -> None:
    key = logged_in(user)
    sessions.permissions_changed(user.pk)
    anew = permissions._anew

    def slow(record: Any) -> str | None:
        text = anew(record)
        monkeypatch.setattr(permissions, "_anew", anew)
        User.objects.get(pk=user.pk).user_permissions.clear()
        return text

    monkeypatch.setattr(permissions, "_anew", slow)
    assert may(key, VIEW)  # asked before the change was
    assert not may(key, VIEW)


def test_a_slow_look_does_not_overwrite_a_later_one(
    user: User, monkeypatch: Any, django_assert_num_queries: Any
) -> None:
    key = logged_in(user)
    sessions.permissions_changed(user.pk)
    anew = permissions._anew

    def slow(record: Any) -> str | None:
        text = anew(record)
        monkeypatch.setattr(permissions, "_anew", anew)
        User.objects.get(pk=user.pk).user_permissions.clear()
        assert not may(key, VIEW)
        return text

    monkeypatch.setattr(permissions, "_anew", slow)
    may(key, VIEW)
    with django_assert_num_queries(0):
        assert not may(key, VIEW)


def test_a_change_between_log_in_and_save_is_not_lost(user: User) -> None:
    session = SessionStore()
    session.create()
    session["_auth_user_id"] = str(user.pk)
    session.note_login(tenant=None, ip=None, client=None, permissions=permissions.snapshot(user))
    User.objects.get(pk=user.pk).user_permissions.clear()
    session.save()
    assert not may(str(session.session_key), VIEW)


def test_what_a_user_object_remembers_is_not_taken_for_new(user: User) -> None:
    user.get_all_permissions()
    User.objects.get(pk=user.pk).user_permissions.clear()
    key = logged_in(user)
    assert not may(key, VIEW)


def test_a_new_key_does_not_carry_an_old_snapshot_past_a_change(user: User, raw: "redis.Redis") -> None:
    """Another shard's numbers mean nothing here: the old one's are an hour ahead."""
    key = logged_in(user)
    shard = keys.revoked(sid_of(key)[:2])
    sessions.permissions_changed(user.pk)
    raw.hset(shard, "@top", int(raw.hget(shard, "@top") or 0) + 3_600_000)
    assert may(key, VIEW)
    session = SessionStore(key)
    session["x"] = 1
    User.objects.get(pk=user.pk).user_permissions.clear()
    session.cycle_key()
    assert not may(str(session.session_key), VIEW)


def test_what_is_rolled_back_is_not_told(user: User, raw: "redis.Redis") -> None:
    from django.db import transaction

    raw.delete(keys.revoked("00"))
    with transaction.atomic():
        user.user_permissions.clear()
        transaction.set_rollback(True)
    assert not raw.exists(keys.revoked("00"))


# Other sources


def of_roles(user_id: str) -> list[str]:
    return ROLES[user_id]


ROLES: dict[str, list[str]] = {}


def test_a_projects_own_source_is_asked_for_sessions_of_the_service_too(settings: Any, user: User) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PERMISSIONS": f"{__name__}.of_roles"}
    ROLES.update({"user123": ["B"], str(user.pk): ["C"]})
    made = sessions.create_session("user123", "sppg-1", "COOK", "SPPG_USER", "a@b.id", "A", ["A"])
    key = logged_in(user)
    assert may(made.key, "A")
    assert may(key, "C")
    ROLES["user123"] = ["B"]
    sessions.permissions_changed("user123")
    assert not may(made.key, "A")
    assert may(made.key, "B")


@pytest.mark.parametrize("way", WAYS)
def test_without_a_source_what_was_given_stays(settings: Any, user: User, way: str) -> None:
    made = sessions.create_session("user123", "sppg-1", "COOK", "SPPG_USER", "a@b.id", "A", ["A"])
    Spoken(sessions, way).permissions_changed()
    assert may(made.key, "A", way)
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PERMISSIONS": ""}
    assert may(made.key, "A", way)
    assert not may(logged_in(user), VIEW)


def test_a_source_that_is_not_there_is_named(settings: Any, user: User) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_PERMISSIONS": "no.such"}
    with pytest.raises(ConfigurationError, match="SESSION_PERMISSIONS"):
        logged_in(user)


def test_a_change_during_an_outage_is_committed_and_logged(
    server: PrivateServer, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    user.user_permissions.clear()
    assert user.user_permissions.count() == 0
    assert "permissions_changed()" in caplog.text
