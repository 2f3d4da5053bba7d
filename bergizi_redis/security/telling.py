"""The signals of the lockout as steps, with the arguments that ``signals`` names."""

from typing import Any

from bergizi_redis import signals
from bergizi_redis.security.account import Account, Alert, Debit
from bergizi_redis.security.status import AccountLocked
from bergizi_redis.security.steps import Send


def _of(account: Account) -> dict[str, Any]:
    return {"sender": Account, "tenant": account.tenant, "scope": account.scope, "identifier": account.identifier}


def refused(account: Account, refusal: AccountLocked, ip: str | None, request: Any) -> Send:
    about = {"reason": refusal.reason, "retry_after": refusal.retry_after, "ip": ip, "request": request}
    return Send(signals.login_refused, **_of(account), **about)


def locked(account: Account, paid: Debit, ip: str | None) -> Send:
    status = paid.status
    about = {"failures": status.failures, "retry_after": status.retry_after, "capped": status.capped}
    return Send(
        signals.account_locked, **_of(account), **about, level=paid.level, device=paid.reason == "device", ip=ip
    )


def unlocked(account: Account, by: str) -> Send:
    return Send(signals.account_unlocked, **_of(account), by=by)


def spray(account: Account, alert: Alert) -> Send:
    about = _of(account) | {"identifier": account.identifier if alert.kind == "distributed" else None}
    numbers = {"count": alert.count, "limit": alert.limit}
    return Send(signals.spray_detected, **about, kind=alert.kind, network=alert.network, **numbers)


def success(account: Account, failures: int, user: object, ip: str | None, request: Any) -> Send:
    about = {"failures": failures, "user": user, "ip": ip, "request": request}
    return Send(signals.success_after_failures, **_of(account), **about)
