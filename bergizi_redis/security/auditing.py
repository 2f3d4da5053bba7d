"""What is recorded by itself where ``AUDIT`` is on: receivers of this package's signals and Django's.

| told by | event |
| --- | --- |
| ``user_logged_in``, ``user_login_failed`` | ``authn_login_success``, ``authn_login_fail`` |
| ``user_logged_out`` | ``session_expired`` |
| ``login_refused`` | ``authn_login_fail``, outcome ``denied``; counted on one event while nothing else happens |
| ``account_locked``, ``account_unlocked`` | ``authn_login_lock``, ``authn_login_unlock`` |
| ``success_after_failures`` | ``authn_login_successafterfail`` |
| ``spray_detected`` | ``malicious_password_spray``, ``malicious_distributed_guessing``, ``malicious_many_failures`` |
| ``session_started``, ``session_ended`` | ``session_created``, ``session_expired`` with the reason |
| ``sessions_revoked`` | ``authz_admin``, with actor and reason |
| ``session_client_changed``, ``session_tenant_mismatch`` | ``session_client_changed``, ``authz_fail`` |
| users that are saved: see ``userchanges`` | ``authn_password_change``, ``authz_change``, ``user_created`` |

Each is one event of the trail, and one round trip or two. No receiver raises: what cannot be recorded is logged, and
the log-in goes on.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any

from bergizi_redis import signals
from bergizi_redis.conf import config
from bergizi_redis.keyparts import SHARED
from bergizi_redis.security import vocabulary as named
from bergizi_redis.security.identifiers import canonical_identifier
from bergizi_redis.security.recording import About, drafted, recorded
from bergizi_redis.security.steps import run
from bergizi_redis.security.subjects import tenant_of, user_id_of

logger = logging.getLogger("bergizi_redis.security")

Receiver = Callable[..., None]

ATTEMPT = "attempt"  # what makes refused attempts one event
UNKNOWN = "unknown"  # and whatever those do who are no known users
UNKNOWN_MS = 60_000
PLACE = "bergizi_redis.security.auditing"

# Without a request: the refusal that ``authenticate()`` is about to report once more, as a failure.
_refused: ContextVar[str | None] = ContextVar("bergizi_redis_audit_refused", default=None)


def quietly(receiver: Receiver) -> Receiver:
    """Only where ``AUDIT`` is on, and without harm to who sent the signal."""

    @wraps(receiver)
    def guarded(sender: Any, **about: Any) -> None:
        try:
            if config.AUDIT:
                receiver(sender, **about)
        except Exception:
            logger.exception("An event was not recorded", extra={"action": "audit_failed", "by": receiver.__name__})

    return guarded


def note(event: str, user_id: object | None, about: About, same: str = "", same_ms: int = 0) -> None:
    """Record it. Who is unknown cannot fill a trail: what they do is one event a minute, and a count."""
    if user_id is None:
        run(recorded(drafted(event, None, about, UNKNOWN, UNKNOWN_MS)))
    else:
        run(recorded(drafted(event, user_id, about, same, same_ms)))


@quietly
def logged_in(sender: Any, request: Any, user: Any, **about: Any) -> None:
    note(named.LOGIN_SUCCESS, user.pk, {"request": request, "tenant": tenant_of(user)})


@quietly
def logged_out(sender: Any, request: Any, user: Any, **about: Any) -> None:
    if user is not None:
        note(named.SESSION_EXPIRED, user.pk, {"request": request, "tenant": tenant_of(user), "reason": "logout"})


@quietly
def login_failed(sender: Any, credentials: Any, request: Any = None, **about: Any) -> None:
    """Django sends it for refusals too, which are recorded already."""
    typed = next((str(value) for name, value in credentials.items() if name in _names() and value), "")
    if request is None:
        was_refused = _refused.get() == canonical_identifier(typed)
        _refused.set(None)
    else:
        was_refused = getattr(request, "login_refusal", None) is not None
    if not was_refused:
        # Without a request a refusal cannot always be told from a failure, so they are counted together.
        note(named.LOGIN_FAIL, user_id_of(typed), {"request": request, "reason": "wrong"}, "" if request else ATTEMPT)


def _names() -> set[str]:
    from django.contrib.auth import get_user_model

    model = get_user_model()
    return {"username", "email", model.USERNAME_FIELD, model.get_email_field_name()}


@quietly
def login_refused(
    sender: Any, identifier: str, tenant: str, scope: str, reason: str, ip: str | None, request: Any, **about: Any
) -> None:
    _refused.set(identifier if request is None else None)
    told: About = {
        "tenant": _tenant(tenant), "outcome": "denied", "reason": reason, "ip": ip, "request": request,
        "details": {"scope": scope},
    }  # fmt: skip
    note(named.LOGIN_FAIL, user_id_of(identifier, tenant), told, ATTEMPT)


@quietly
def account_locked(
    sender: Any, identifier: str, tenant: str, scope: str, failures: int, level: int, capped: bool, ip: str | None,
    **about: Any,
) -> None:  # fmt: skip
    details = {"scope": scope, "failures": failures, "level": level, "capped": capped}
    details |= {"device": True} if about.get("device") else {}
    told: About = {"tenant": _tenant(tenant), "reason": "maxretries", "ip": ip, "details": details}
    note(named.LOGIN_LOCK, user_id_of(identifier, tenant), told)


@quietly
def account_unlocked(sender: Any, identifier: str, tenant: str, scope: str, by: str, **about: Any) -> None:
    told: About = {"tenant": _tenant(tenant), "outcome": "success", "reason": by, "details": {"scope": scope}}
    note(named.LOGIN_UNLOCK, user_id_of(identifier, tenant), told)


@quietly
def succeeded_after_failures(
    sender: Any, identifier: str, tenant: str, scope: str, failures: int, user: Any, ip: str | None, request: Any,
    **about: Any,
) -> None:  # fmt: skip
    told: About = {
        "tenant": _tenant(tenant), "outcome": "success", "ip": ip, "request": request,
        "details": {"scope": scope, "failures": failures},
    }  # fmt: skip
    note(named.LOGIN_SUCCESS_AFTER_FAIL, getattr(user, "pk", None) or user_id_of(identifier, tenant), told)


KINDS = {"spray": named.SPRAY, "distributed": named.DISTRIBUTED, "failures": named.MANY_FAILURES}


@quietly
def spray_detected(
    sender: Any, kind: str, tenant: str, scope: str, network: str | None, identifier: str | None, count: int,
    limit: int, **about: Any,
) -> None:  # fmt: skip
    details = {"scope": scope, "count": count, "limit": limit, **({"from": network} if network else {})}
    whom = user_id_of(identifier, tenant) if identifier else None
    told: About = {"tenant": _tenant(tenant), "outcome": "failure", "details": details}
    run(recorded(drafted(KINDS[kind], whom, told)))  # rare, and never hidden in a count


@quietly
def session_started(sender: Any, sid: str, user_id: str, tenant: str | None, reason: str, **about: Any) -> None:
    if reason == "login":
        note(named.SESSION_CREATED, user_id, {"tenant": tenant, "details": {"sid": sid}})


@quietly
def session_ended(sender: Any, sid: str, user_id: str, tenant: str | None, reason: str, **about: Any) -> None:
    """A log-out is told by Django, with its request; another key for the same log-in is no end."""
    if user_id and reason not in ("logout", "cycled"):
        note(named.SESSION_EXPIRED, user_id, {"tenant": tenant, "reason": reason, "details": {"sid": sid}})


@quietly
def sessions_revoked(
    sender: Any, sid: str, user_id: str | None, tenant: str | None, actor: str, reason: str, ended: int, **about: Any
) -> None:
    details = {"what": "sessions revoked", "ended": ended, **({"sid": sid} if sid else {})}
    told: About = {"tenant": tenant, "actor": actor, "reason": reason, "details": details}
    run(recorded(drafted("authz_admin", user_id or None, told)))


@quietly
def client_changed(
    sender: Any, sid: str, user_id: str, tenant: str | None, before: str, after: str, policy: str, **about: Any
) -> None:
    details = {"sid": sid, "before": before, "after": after}
    told: About = {"tenant": tenant, "outcome": "unknown", "reason": policy, "details": details}
    note(named.CLIENT_CHANGED, user_id, told, "client", UNKNOWN_MS)  # who has the cookie could go to and fro


@quietly
def tenant_mismatched(sender: Any, sid: str, user_id: str, tenant: str | None, visited: Any, **about: Any) -> None:
    details = {"sid": sid, "visited": str(visited or "")}
    told: About = {"tenant": tenant, "outcome": "denied", "reason": "another tenant's session", "details": details}
    note(named.AUTHZ_FAIL, user_id, told, "tenant_mismatch")


def _tenant(tenant: str) -> str | None:
    return None if tenant == SHARED else tenant


def connect() -> None:
    """Listen; twice is once."""
    from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

    told = {
        user_logged_in: logged_in, user_logged_out: logged_out, user_login_failed: login_failed,
        signals.login_refused: login_refused, signals.account_locked: account_locked,
        signals.account_unlocked: account_unlocked, signals.success_after_failures: succeeded_after_failures,
        signals.spray_detected: spray_detected, signals.session_started: session_started,
        signals.session_ended: session_ended, signals.sessions_revoked: sessions_revoked,
        signals.session_client_changed: client_changed, signals.session_tenant_mismatch: tenant_mismatched,
    }  # fmt: skip
    for signal, receiver in told.items():
        signal.connect(receiver, dispatch_uid=f"{PLACE}.{receiver.__name__}")
