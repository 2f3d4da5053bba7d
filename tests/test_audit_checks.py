"""System checks of the audit trail and of alerts: each finding, and none where all is well."""

from typing import Any

import pytest

from bergizi_redis.auditchecks import check_audit
from bergizi_redis.wiring import kept

WELL = {
    "AUDIT": True, "AUDIT_SINKS": ["logger", "database", "file", "builtins.print"], "AUDIT_FILE": "/var/log/audit",
    "AUDIT_KEY": ["x" * 32, "y" * 40], "ALERTS": True, "ALERT_WEBHOOKS": ["https://alerts.example.org/hook?k=s3"],
    "ALERT_WEBHOOK_KEY": "shared", "ALERT_EMAILS": ["ops@example.org"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected", "words"),
    [
        ({}, [], ""),
        ({"AUDIT_FILE": ""}, ["E050"], "AUDIT_FILE is empty"),
        ({"AUDIT_SINKS": ["no.such.sink"]}, ["E050"], "cannot be imported"),
        ({"AUDIT_SINKS": ["sys.maxsize"]}, ["E050"], "cannot be called"),
        ({"AUDIT_KEY": "short"}, ["W050"], "key 1: 5 characters"),
        ({"AUDIT_KEY": ["x" * 32, "y"]}, ["W050"], "key 2: 1 characters"),
        ({"ALERT_WEBHOOKS": ["http://alerts.example.org/hook"]}, ["W051"], "http://alerts.example.org."),
        ({"ALERT_WEBHOOKS": ["http://127.0.0.1:8000/hook"]}, [], ""),
        ({"ALERT_WEBHOOK_KEY": ""}, ["W051"], "ALERT_WEBHOOK_KEY'] is empty"),
        ({"ALERTS": False}, ["W052"], "ALERTS'] is False"),
        ({"ALERTS": False, "ALERT_WEBHOOKS": [], "ALERT_EMAILS": []}, [], ""),
    ],
)
def test_each_finding(settings: Any, changed: dict[str, Any], expected: list[str], words: str) -> None:
    settings.BERGIZI_REDIS = {**WELL, **changed}
    found = check_audit()
    assert [message.id.rpartition(".")[2] for message in found if message.id] == expected
    assert all(words in message.msg and message.hint for message in found)
    assert "s3" not in str(found)


def test_nothing_is_found_where_nothing_is_set(settings: Any) -> None:
    settings.BERGIZI_REDIS = {}
    assert check_audit() == []


def test_the_server_of_the_trail_is_one_that_must_not_lose_anything(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.BERGIZI_REDIS = {"AUDIT": True, "SECURITY_ALIAS": "default"}
    assert "BERGIZI_REDIS['SECURITY_ALIAS']" in kept()
    settings.BERGIZI_REDIS = {"AUDIT": False}
    assert "BERGIZI_REDIS['SECURITY_ALIAS']" not in kept()
