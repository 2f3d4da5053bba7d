"""What the system checks say of rate limits; nothing, where all is well."""

from typing import Any

import pytest

from bergizi_redis import checklist
from bergizi_redis.limitchecks import MIDDLEWARE, check_limits
from bergizi_redis.wiring import kept

USER = "django.contrib.auth.middleware.AuthenticationMiddleware"
TENANT = "bergizi_redis.tenancy.TenantMiddleware"
GOOD = {"path": "/api/", "key": "user_or_ip", "rate": "100/m"}


def found(
    settings: Any, *entries: Any, middleware: tuple[str, ...] = (USER, TENANT, MIDDLEWARE)
) -> list[tuple[str, str]]:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "RATELIMITS": entries}
    settings.MIDDLEWARE = list(middleware)
    return [(str(message.id).removeprefix("bergizi_redis."), message.msg) for message in check_limits()]


def key(group: str, request: Any) -> str:
    return "x"


def test_limits_that_can_be_used_are_silent(settings: Any) -> None:
    path = f"{__name__}.key"
    others: list[dict[str, Any]] = [
        {"key": path}, {"key": key, "rate": lambda group, request: "1/m"}, {"rate": path}, {"rate": None}, {"rate": 0},
        {"key": "header:x.y"}, {"key": "tenant", "deny": ["192.0.2.0/24"]},
    ]  # fmt: skip
    assert found(settings, GOOD, *({**GOOD, **other} for other in others)) == []
    assert found(settings, middleware=(MIDDLEWARE, USER, TENANT)) == []
    assert found(settings, middleware=()) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"rate": "5/month"}, "'5/month' is not a rate"), ({"key": "ipp"}, "'user_or_ip'"), ({"key": ""}, "needs a key"),
     ({"key": "no.such.key"}, "No module named"), ({"rate": "tests.no_such"}, "no_such"),
     ({"rate": "1000000/d"}, "too large"), ({"algorithm": "exakt"}, "choose one of"),
     ({"allow": ["nowhere"]}, "'nowhere'")],
)  # fmt: skip
def test_an_entry_that_cannot_be_used_is_an_error(settings: Any, wrong: dict[str, Any], why: str) -> None:
    ((number, message),) = found(settings, GOOD, {**GOOD, **wrong})
    assert number == checklist.WRONG_LIMIT.number
    assert "entry 2" in message
    assert why in message


def test_limits_without_their_middleware(settings: Any) -> None:
    ((number, message),) = found(settings, GOOD, middleware=(USER,))
    assert number == checklist.UNUSED_LIMITS.number
    assert MIDDLEWARE in message


@pytest.mark.parametrize(("counts", "needed"), [("user", USER), ("user_or_ip", USER), ("tenant", TENANT)])
def test_a_middleware_before_what_it_counts(settings: Any, counts: str, needed: str) -> None:
    entry = {**GOOD, "key": counts}
    ((number, message),) = found(settings, entry, middleware=(MIDDLEWARE, USER, TENANT))
    assert number == checklist.EARLY_LIMITS.number
    assert needed in message
    assert found(settings, {**GOOD, "key": "ip"}, middleware=(MIDDLEWARE, USER, TENANT)) == []


def test_what_limits_count_must_not_get_lost(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert "BERGIZI_REDIS['SECURITY_ALIAS']" not in kept()
    found(settings, GOOD)
    assert kept()["BERGIZI_REDIS['SECURITY_ALIAS']"] == "default"
