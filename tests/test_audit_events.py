"""What is recorded by itself where ``AUDIT`` is on: log-ins, locks, sessions, passwords and rights; and it harms none.

Guards that were taken out and seen red: the refusal that Django reports once more as a failure, the count of what
comes again, the savepoint of the sink, the nonce of what is replayed.
"""

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.views import LoginView, LogoutView
from django.db import DatabaseError, transaction
from django.http import HttpRequest
from django.test import Client
from django.urls import path

from bergizi_redis import keys
from bergizi_redis.auditkeys import chain, trail, unknown_trail, user_trail
from bergizi_redis.models import AuditEvent
from bergizi_redis.security import audit, auditing, lockout, sinks, subjects
from bergizi_redis.security.courier import COURIER
from bergizi_redis.security.postponed import POSTPONED, Postponed
from bergizi_redis.security.recording import drafted
from bergizi_redis.security.trails import HEADS
from bergizi_redis.sessions import service as sessions
from tests.servers import PrivateServer

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]

RIGHT, WRONG = "correct horse", "battery staple"
Captured = Callable[..., AbstractContextManager[list[Any]]]

urlpatterns = [
    path("login/", LoginView.as_view(template_name="bergizi_redis/locked.html", next_page="/")),
    path("logout/", LogoutView.as_view(next_page="/")),
]


@pytest.fixture(autouse=True)
def audited(settings: Any) -> Iterator[None]:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT": True, "LOCKOUT_ATTEMPTS": 3}
    HEADS.clear()
    settings.SECRET_KEY = uuid.uuid4().hex  # what other tests have counted in this process is of other accounts
    subjects.forget()
    auditing._refused.set(None)
    yield
    POSTPONED.__init__()  # type: ignore[misc]


@pytest.fixture
def budi(settings: Any) -> User:
    return User.objects.create_user("budi", "budi@gizi.id", RIGHT)


def told(user: Any = None, tenant: str | None = None) -> list[tuple[str, str]]:
    found = audit.events(getattr(user, "pk", user), tenant=tenant)
    assert audit.verify(getattr(user, "pk", user), tenant=tenant)
    return [(entry.event, entry.reason) for entry in found]


def post(password: str, name: str = "budi", client: Client | None = None) -> Any:
    data = {"username": name, "password": password}
    return (client or Client()).post("/login/", data, headers={"User-Agent": "curl/8", "X-Request-ID": "r-7"})


def test_a_log_in_and_a_log_out_with_where_they_came_from(budi: User) -> None:
    client = Client()
    post(WRONG, client=client)
    assert post(RIGHT, client=client).status_code == 302
    client.post("/logout/")
    failed, success, created, ended = audit.events(budi.pk)
    assert [failed.event, success.event, created.event, ended.event] == [
        "authn_login_fail", "authn_login_success", "session_created", "session_expired",
    ]  # fmt: skip
    assert (failed.outcome, failed.network, failed.agent, failed.request_id) == (
        "failure", "127.0.0.1", "curl/8", "r-7",
    )  # fmt: skip
    assert (ended.reason, len(created.details["sid"])) == ("logout", 32)


def test_no_secret_stands_in_any_key_or_value_after_a_log_in(budi: User, raw: Any, prefix: str) -> None:
    client = Client()
    post(WRONG, client=client)
    post(RIGHT, client=client)
    session_key = client.cookies["sessionid"].value
    text = "".join(
        f"{name} {raw.xrange(name) if raw.type(name) == b'stream' else raw.hgetall(name)}"
        for name in raw.scan_iter(match=f"{prefix}*security:audit*")
    )
    assert "authn_login_success" in text
    for secret in (RIGHT, WRONG, session_key, "budi@gizi.id", '"password"'):
        assert secret not in text


def test_attempts_while_locked_are_one_event_with_a_count(budi: User) -> None:
    for _ in range(3):
        post(WRONG)
    for _ in range(20):
        assert post(RIGHT).status_code == 429
    found = audit.events(budi.pk)
    assert [(entry.event, entry.outcome, entry.times) for entry in found] == [
        ("authn_login_fail", "failure", 0), ("authn_login_fail", "failure", 0), ("authn_login_lock", "failure", 0),
        ("authn_login_fail", "failure", 0), ("authn_login_fail", "denied", 19),
    ]  # fmt: skip
    assert audit.verify(budi.pk)
    assert lockout.unlock_account("budi")
    assert told(budi)[-1] == ("authn_login_unlock", "administrator")


@pytest.mark.parametrize("way", ["blocking", "awaiting"])
def test_so_they_are_without_a_request(budi: User, way: str) -> None:
    for _ in range(3 + 20):
        if way == "blocking":
            authenticate(username="budi", password=WRONG)
        else:
            async_to_sync(aauthenticate)(username="budi", password=WRONG)
    found = audit.events(budi.pk)
    assert "authn_login_lock" in {entry.event for entry in found}
    assert len(found) <= 4
    assert sum(entry.times + 1 for entry in found) >= 3 + 20


def test_a_refusal_by_guard_login_alone_is_recorded_too(budi: User) -> None:
    for _ in range(5):
        try:
            with lockout.guard_login("budi", ip="10.1.2.3"):
                pass
        except lockout.AccountLocked:
            pass
    assert told(budi) == [("authn_login_lock", "maxretries"), ("authn_login_fail", "account")]
    assert audit.events(budi.pk)[-1].network == "10.1.2.3"


def test_ten_thousand_names_that_nobody_has_are_a_few_events(
    raw: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "UNKNOWN_MS", 3_600_000)  # on a busy machine a minute may end in the midst of them
    for number in range(120):
        authenticate(username=f"made-up-{number}", password=WRONG)
    found = audit.events()
    assert [entry.event for entry in found] in (
        ["authn_login_fail", "malicious_many_failures", "authn_login_fail"], ["authn_login_fail"],
    )  # fmt: skip
    assert sum(entry.times + 1 for entry in found if entry.event == "authn_login_fail") == 120
    assert {name.decode() for name in raw.scan_iter(match=f"{prefix}*security:audit*")} == {
        trail(unknown_trail(None)), chain(unknown_trail(None)),
    }  # fmt: skip


def test_the_right_password_after_failures(settings: Any, budi: User) -> None:
    from bergizi_redis import signals

    signals.success_after_failures.send(
        object, identifier="budi", tenant="@", scope="password", failures=7, user=budi, ip="10.0.0.1", request=None
    )
    signals.spray_detected.send(
        object, kind="distributed", tenant="@", scope="password", network=None, identifier="budi", count=9, limit=5
    )
    signals.spray_detected.send(
        object, kind="spray", tenant="sppg-1", scope="otp", network="10.0.0.0/24", identifier=None, count=9, limit=5
    )
    assert told(budi) == [("authn_login_successafterfail", ""), ("malicious_distributed_guessing", "")]
    assert told(tenant="sppg-1") == [("malicious_password_spray", "")]


def test_sessions_that_begin_and_are_ended_by_others() -> None:
    one = sessions.create_session("user-9", "sppg-1", "CHEF", "SPPG_USER", "c@sppg.id", "Chef", [])
    sessions.revoke(one.sid, actor="admin", reason="phone was lost")
    found = audit.events("user-9")
    assert [(entry.event, entry.reason, entry.actor) for entry in found] == [
        ("session_created", "", None), ("session_expired", "revoked", None),
        ("authz_admin", "phone was lost", "admin"),
    ]  # fmt: skip
    assert not [entry for entry in found if one.key in str(entry)]


def test_a_password_is_changed_by_its_owner_not_by_a_better_hash(
    settings: Any, budi: User, django_capture_on_commit_callbacks: Captured
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    with django_capture_on_commit_callbacks(execute=True):
        assert authenticate(username="budi", password=RIGHT) == budi
    assert told(budi) == []
    with django_capture_on_commit_callbacks(execute=True):
        budi.set_password("another one")
        budi.save()
    with django_capture_on_commit_callbacks(execute=True):
        budi.save()
    assert told(budi) == [("authn_password_change", "")]


def test_rights_that_change(budi: User, django_capture_on_commit_callbacks: Captured) -> None:
    group = Group.objects.create(name="cooks")
    permission = Permission.objects.first()
    assert permission is not None
    with django_capture_on_commit_callbacks(execute=True):
        budi.groups.add(group)
        group.user_set.remove(budi)
        group.permissions.add(permission)
        budi.is_staff = True
        budi.save()
        budi.save(update_fields=["last_login"])
    found = audit.events(budi.pk)
    assert [entry.event for entry in found] == ["authz_change"] * 3
    assert [entry.details.get("change") for entry in found] == ["added", "removed", None]
    assert found[2].details == {"is_staff": [False, True]}
    assert [entry.details["group"] for entry in audit.events()] == [str(group.pk)]


def test_a_rollback_records_nothing(budi: User, django_capture_on_commit_callbacks: Captured) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        try:
            with transaction.atomic():
                budi.set_password("another one")
                budi.save()
                raise ValueError
        except ValueError:
            pass
    assert told(budi) == []


def test_off_nothing_is_recorded_but_by_hand(settings: Any, budi: User) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT": False}
    post(WRONG)
    post(RIGHT)
    assert told(budi) == []
    audit.record("authz_admin", budi.pk)
    assert told(budi) == [("authz_admin", "")]


def test_what_cannot_be_recorded_is_logged_and_the_log_in_goes_on(
    budi: User, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    raw.set(keys.audit(budi.pk), "no stream")
    assert post(RIGHT).status_code == 302
    assert "audit_failed" in {getattr(record, "action", "") for record in caplog.records}


# Sinks


def sink_that_fails(entry: audit.Entry) -> None:
    raise RuntimeError(entry.event)


seen: list[audit.Entry] = []


def to_list(entry: audit.Entry) -> None:
    seen.append(entry)


def test_each_sink_gets_each_event_once_and_one_that_fails_harms_nobody(
    settings: Any, budi: User, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen.clear()
    file = tmp_path / "audit.jsonl"
    settings.BERGIZI_REDIS = {
        **settings.BERGIZI_REDIS, "AUDIT_FILE": str(file),
        "AUDIT_SINKS": ["no.such.sink", f"{__name__}.sink_that_fails", f"{__name__}.to_list", *sinks.NAMED],
    }  # fmt: skip
    before = sinks.FAILURES["no.such.sink"]
    with caplog.at_level(logging.INFO, "bergizi_redis.audit"):
        for _ in range(3):
            post(WRONG)
        for _ in range(4):
            post(RIGHT)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    rows = list(AuditEvent.objects.order_by("pk"))
    events = [entry.event for entry in audit.events(budi.pk)]
    assert [line["event"] for line in lines] == [row.event for row in rows] == events
    assert [record for record in caplog.records if record.name == "bergizi_redis.audit"]
    assert len([record for record in caplog.records if record.name == "bergizi_redis.audit"]) == len(events)
    assert [entry.event for entry in seen] == events
    assert sinks.FAILURES["no.such.sink"] == before + len(events)
    assert {row.user for row in rows} == {str(budi.pk)}
    assert rows[0].entry == audit.events(budi.pk)[0].id


def test_a_row_that_cannot_be_written_leaves_the_transaction_of_the_log_in_alone(
    settings: Any, budi: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_SINKS": ["database"]}
    create = AuditEvent.objects.create

    def failing(**fields: Any) -> Any:
        return create(**{**fields, "event": None})

    monkeypatch.setattr(AuditEvent.objects, "create", failing)
    with transaction.atomic():
        audit.record("authz_admin", budi.pk)
        assert User.objects.filter(pk=budi.pk).exists(), "the transaction is not broken"
    assert told(budi) == [("authz_admin", "")]
    assert issubclass(DatabaseError, Exception)


def test_a_line_of_the_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bergizi_redis.audit"):
        audit.record("authz_admin", "budi\r\nroot", reason="a\u2028b\x1b[2J")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "bergizi_redis.audit"]
    assert line.isprintable()


# Redis down


def test_during_an_outage_events_wait_in_the_process_and_are_written_when_it_is_over(
    server: PrivateServer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    audit.record("authz_admin", "budi", reason="before")
    server.kill()
    noted = audit.record("authz_admin", "budi", reason="meanwhile")
    assert noted.seq == 0
    assert "meanwhile" in caplog.text
    server.start()
    audit.record("authz_admin", "budi", reason="after")
    COURIER.join()
    found = audit.events("budi")
    assert [entry.reason for entry in found] == ["after", "meanwhile"]
    assert found[1].noted is not None
    assert found[1].noted <= found[1].at
    assert audit.verify("budi")
    assert not POSTPONED


def test_what_was_written_after_all_is_not_written_twice() -> None:
    """The answer was lost, not the event."""
    import dataclasses

    from bergizi_redis.security.steps import run
    from bergizi_redis.security.trails import appended

    draft = drafted("authz_admin", "budi", {"reason": "once"})
    run(appended(draft))
    POSTPONED.add(dataclasses.replace(draft, noted=1))
    assert audit.replay() == 1
    assert [entry.reason for entry in audit.events("budi")] == ["once"]


def test_a_full_buffer_keeps_what_was_there_first_and_counts_the_rest() -> None:
    buffer = Postponed(most=2)
    one, two, three = (drafted("authz_admin", name, {}) for name in ("a", "b", "c"))
    again = drafted("authn_login_fail", "b", {}, "attempt")
    assert [buffer.add(each) for each in (one, two, three)] == [True, True, False]
    assert (buffer.take(), buffer.take(), buffer.take(), buffer.dropped) == (one, two, None, 1)
    assert [buffer.add(again) for _ in range(5)] == [True] * 5
    assert len(buffer) == 1


def test_a_log_in_during_an_outage_is_not_broken_by_the_audit(server: PrivateServer, settings: Any, budi: User) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    server.kill()
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = "10.0.0.1"
    assert authenticate(request, username="budi", password=RIGHT) == budi
    assert authenticate(request, username="budi", password=WRONG) is None
    assert len(POSTPONED) == 1
    server.start()
    assert audit.replay() == 1
    assert [entry.event for entry in audit.events(budi.pk)] == ["authn_login_fail"]
    assert user_trail(budi.pk) in keys.audit(budi.pk)


def test_from_a_coroutine_sinks_that_may_block_have_a_thread(settings: Any) -> None:
    seen.clear()
    threads.clear()
    sinks_of_ours = [f"{__name__}.to_list", f"{__name__}.note_thread"]
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_SINKS": sinks_of_ours}

    async def write() -> int:
        await audit.arecord("authz_admin", "budi", reason="from a coroutine")
        return threading.get_ident()

    loop = asyncio.run(write())
    assert [entry.reason for entry in seen] == ["from a coroutine"]
    assert threads != [loop]


threads: list[int] = []


def note_thread(entry: audit.Entry) -> None:
    threads.append(threading.get_ident())
