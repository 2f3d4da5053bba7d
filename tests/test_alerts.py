"""Alerts: told once by whoever comes first, to signal, log, webhook and mail, and told again when it is over.

Guards that were taken out and seen red: ``ZSCORE`` before opening (twice told), ``ZREM`` before closing (ended twice),
the limit, the redirect, the one line of a mail's subject.
"""

import hashlib
import hmac
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command

from bergizi_redis import auditkeys, keys, signals
from bergizi_redis.conf import config
from bergizi_redis.security import alerts, audit, delivery, lockout, subjects
from bergizi_redis.security.alerts import Alert, end_alert, end_due_alerts, raise_alert
from bergizi_redis.security.courier import COURIER, Courier
from bergizi_redis.security.delivery import SIGNATURE
from tests.servers import PrivateServer

SPRAY = Alert(alerts.SPRAY, "10.0.0.0/24", "sppg-1", {"count": 30})


@pytest.fixture(autouse=True)
def alerting(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ALERTS": True, "LOCKOUT_ATTEMPTS": 2}
    settings.SECRET_KEY = uuid.uuid4().hex  # what other tests have counted in this process is of other accounts
    subjects.forget()
    monkeypatch.setattr(delivery, "PATIENCE", 60.0)  # who is posted to is a thread of this process, which may stop
    yield
    COURIER.join()


@pytest.fixture
def heard() -> Iterator[list[Alert]]:
    found: list[Alert] = []

    def hear(sender: Any, alert: Alert, **about: Any) -> None:
        found.append(alert)

    signals.security_alert.connect(hear)
    yield found
    signals.security_alert.disconnect(hear)


def quiet_passes(raw: Any, alert: Alert = SPRAY) -> None:
    raw.zadd(auditkeys.alerts("open"), {alert.ident: 1})


def test_an_alert_is_told_once_until_it_is_over_and_then_once_more(
    raw: Any, heard: list[Alert], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bergizi_redis.security")
    assert raise_alert(SPRAY)
    assert not raise_alert(SPRAY)
    assert end_due_alerts() == 0
    quiet_passes(raw)
    assert end_due_alerts() == 1
    assert end_due_alerts() == 0
    assert [(alert.kind, alert.subject, alert.tenant, alert.is_over) for alert in heard] == [
        ("spray", "10.0.0.0/24", "sppg-1", False), ("spray", "10.0.0.0/24", "sppg-1", True),
    ]  # fmt: skip
    assert [record.levelno for record in caplog.records if getattr(record, "action", "") == "alert"] == [
        logging.ERROR, logging.INFO,
    ]  # fmt: skip
    assert raise_alert(SPRAY)
    assert [end_alert(SPRAY.kind, SPRAY.subject, SPRAY.tenant) for _ in range(2)] == [True, False]


def test_another_attack_puts_the_end_off(raw: Any) -> None:
    raise_alert(SPRAY)
    quiet_passes(raw)
    raise_alert(SPRAY)
    assert end_due_alerts() == 0
    assert raw.zscore(auditkeys.alerts("open"), SPRAY.ident) > raw.time()[0] * 1000


def test_of_many_at_once_one_opens_and_one_ends(raw: Any, heard: list[Alert]) -> None:
    def at_once(work: Any) -> None:
        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    at_once(lambda: raise_alert(SPRAY))
    quiet_passes(raw)
    at_once(end_due_alerts)
    assert [alert.is_over for alert in heard] == [False, True]


def test_a_limit_for_each_kind_and_tenant(
    settings: Any, raw: Any, heard: list[Alert], caplog: pytest.LogCaptureFixture
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ALERT_LIMIT": 3}
    for number in range(5):
        raise_alert(Alert(alerts.LOCKED, str(number), "sppg-1"))
    raise_alert(Alert(alerts.LOCKED, "1", "sppg-2"))
    assert len(heard) == 4
    assert len([record for record in caplog.records if getattr(record, "action", "") == "alert_limited"]) == 2
    raw.hset(auditkeys.alerts("counts"), f"{alerts.LOCKED}:sppg-1", "1 3")  # its window is over
    assert raise_alert(Alert(alerts.LOCKED, "9", "sppg-1"))


def test_off_nothing_is_told_or_kept(settings: Any, raw: Any, heard: list[Alert], prefix: str) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ALERTS": False}
    assert not raise_alert(SPRAY)
    assert not end_alert(SPRAY.kind, SPRAY.subject, SPRAY.tenant)
    assert heard == []
    assert list(raw.scan_iter(match=f"{prefix}*alerts*")) == []


def test_nonsense_among_the_alerts_is_logged(raw: Any, caplog: pytest.LogCaptureFixture) -> None:
    raw.zadd(auditkeys.alerts("open"), {"x": 1, "y": 1})
    raw.hset(auditkeys.alerts("texts"), "x", "[" * 50)
    assert end_due_alerts() == 2
    assert len([record for record in caplog.records if getattr(record, "action", "") == "alert_unreadable"]) == 2


def test_redis_down_is_logged_and_raises_nothing(server: PrivateServer, caplog: pytest.LogCaptureFixture) -> None:
    server.kill()
    assert not raise_alert(SPRAY)
    assert end_due_alerts() == 0
    assert "10.0.0.0/24" in caplog.text


# What raises them


@pytest.mark.django_db
def test_a_lock_of_a_user_is_told_and_so_is_its_end(heard: list[Alert]) -> None:
    budi = User.objects.create_user("budi", password="right")
    for _ in range(4):
        authenticate(username="budi", password="wrong")
    lockout.unlock_account("budi")
    assert [(alert.kind, alert.subject, alert.is_over) for alert in heard if alert.kind == "locked"] == [
        ("locked", str(budi.pk), False), ("locked", str(budi.pk), True),
    ]  # fmt: skip
    assert "budi" not in json.dumps([alert.told for alert in heard])


@pytest.mark.django_db
def test_locks_of_names_that_nobody_has_are_one_alert(heard: list[Alert]) -> None:
    for name in ("made", "up", "names"):
        for _ in range(2):
            authenticate(username=name, password="wrong")
    assert [alert.subject for alert in heard if alert.kind == "locked"] == [""]


@pytest.mark.django_db
def test_sprays_and_successes_after_failures_are_told(heard: list[Alert]) -> None:
    budi = User.objects.create_user("budi", password="right")
    about = {"tenant": "sppg-1", "scope": "password"}
    told = {**about, "count": 30, "limit": 20}
    signals.spray_detected.send(object, **told, kind="spray", network="10.0.0.0/24", identifier=None)
    signals.spray_detected.send(object, **told, kind="distributed", network=None, identifier="budi")
    signals.spray_detected.send(object, **told, kind="failures", network=None, identifier=None)
    signals.success_after_failures.send(
        object, **about, identifier="budi", failures=9, user=budi, ip=None, request=None
    )
    assert [(alert.kind, alert.subject) for alert in heard] == [
        ("spray", "10.0.0.0/24"), ("distributed", str(budi.pk)), ("failures", ""),
        ("success_after_failures", str(budi.pk)),
    ]  # fmt: skip


def test_a_broken_chain_is_told_by_the_command_and_ends_when_it_verifies(raw: Any, heard: list[Alert]) -> None:
    audit.record("authz_admin", "budi")
    chain = auditkeys.chain(auditkeys.user_trail("budi"))
    for seq in (7, 1):
        raw.hset(chain, "seq", seq)
        try:
            call_command("redis_audit", "verify", "budi", verbosity=0)
        except SystemExit as error:
            assert error.code == 1  # noqa: PT017 – which of the two ends so is not the point
    assert [(alert.kind, alert.is_over) for alert in heard] == [("chain_broken", False), ("chain_broken", True)]
    assert keys.audit("budi") not in str(heard)


# Where they go


class Posted(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.posted.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(302 if self.path == "/moved" else 500 if self.path == "/ill" else 204)
        if self.path == "/moved":
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 – what a redirect would become

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def receiver() -> Iterator[tuple[str, list[Any]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Posted)
    server.posted = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.posted  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


def test_a_webhook_gets_json_that_is_signed(settings: Any) -> None:
    with receiver() as (url, posted):
        settings.BERGIZI_REDIS = {
            **settings.BERGIZI_REDIS, "ALERT_WEBHOOKS": [f"{url}/hook"], "ALERT_WEBHOOK_KEY": "shared",
        }  # fmt: skip
        raise_alert(SPRAY)
        COURIER.join()
    ((path, headers, body),) = posted
    assert path == "/hook"
    assert json.loads(body)["kind"] == "spray"
    stamp, _, digest = headers[SIGNATURE].partition(",v1=")
    signed = stamp.removeprefix("t=").encode() + b"." + body
    assert hmac.compare_digest(digest, hmac.digest(b"shared", signed, hashlib.sha256).hex())


def test_a_webhook_that_fails_or_redirects_is_logged_and_not_followed(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as (url, posted):
        hooks = [f"{url}/moved", f"{url}/ill", f"{url}/hook", "http://127.0.0.1:9/closed"]
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ALERT_WEBHOOKS": hooks}
        raise_alert(SPRAY)
        COURIER.join()
    assert [path for path, _, _ in posted] == ["/moved", "/ill", "/hook"]
    assert [headers.get(SIGNATURE) for _, headers, _ in posted] == [None] * 3
    failed = [record for record in caplog.records if getattr(record, "action", "") == "courier_failed"]
    assert len(failed) == 3


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://", "//host/path", 7])
def test_only_http_addresses_are_webhooks(url: Any) -> None:
    setting = next(item for item in config if item.name == "ALERT_WEBHOOKS")
    assert setting.problem([url])
    assert setting.problem(["https://alerts.example.org/hook"]) is None


def test_a_mail_has_a_subject_of_one_line(settings: Any) -> None:
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}  # Django 6.1
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "ALERT_EMAILS": ["ops@example.org"]}
    raise_alert(Alert(alerts.LOCKED, "budi\r\nBcc: all@example.org", "sppg-1", {"failures": 5}))
    COURIER.join()
    (sent,) = mail.outbox
    assert sent.to == ["ops@example.org"]
    assert sent.subject.isprintable()
    assert sent.subject.startswith("[locked] An account was locked: budi\\u000d\\u000aBcc")
    assert "'failures': 5" in sent.body
    assert len(sent.body.splitlines()) == 7


def test_what_waits_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    held, begun = threading.Event(), threading.Event()
    courier = Courier(most=2)

    def hold() -> None:
        begun.set()
        held.wait(60)

    courier.send(hold, "held")
    assert begun.wait(60)
    assert [courier.send(int, "more") for _ in range(3)] == [True, True, False]
    assert courier.dropped == 1
    held.set()
    courier.join()
    assert [courier.send_once(held.wait, "once") for _ in range(1)] == [True]
    courier.join()
