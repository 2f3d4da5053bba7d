"""One attempt around one check: paid on the way in, refunded on the way out when it succeeded."""

import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from bergizi_redis.addresses import client_ip
from bergizi_redis.conf import config
from bergizi_redis.security import counters, counting, devices, telling
from bergizi_redis.security.account import Account, Debit
from bergizi_redis.security.floor import FLOOR, as_late_as_a_check
from bergizi_redis.security.gates import EpochPassed, Passage
from bergizi_redis.security.networks import networks_of
from bergizi_redis.security.outage import STAFF
from bergizi_redis.security.resolvers import resolved
from bergizi_redis.security.status import AccountLocked
from bergizi_redis.security.steps import Send, Steps, arun, run

logger = logging.getLogger("bergizi_redis.security")


class Refusals:
    """What the middleware hands down for one request, for log-ins that are not given it; and what comes back up:
    ``authenticate()`` swallows the error that says so."""

    def __init__(self, request: Any = None) -> None:
        self.request = request
        self.last: AccountLocked | None = None
        self.trusted: devices.Trusted | None = None


refusals: ContextVar[Refusals | None] = ContextVar("bergizi_redis_refusals", default=None)


def _note(request: Any, refusal: AccountLocked | None) -> None:
    if request is not None:
        request.login_refusal = refusal
    if (box := refusals.get()) is not None:
        box.last = refusal


class Attempt:
    """One attempt: ``with`` or ``async with`` it, once. ``remaining``: checks left after this one, should it fail."""

    def __init__(self, account: Account, ip: str | None = None, request: Any = None) -> None:
        self.account = account
        self.request = request
        self.user: object = None
        self.has_succeeded = False
        box = refusals.get()
        self._seen = request if request is not None or box is None else box.request
        self.ip = ip or (client_ip(self._seen) if hasattr(self._seen, "META") else None)
        self._passage = Passage(account)
        self._debit: Debit | None = None
        self._announced = False
        self._began = 0.0

    @property
    def remaining(self) -> int:
        return self._debit.status.remaining if self._debit else 0

    def succeeded(self, user: object = None) -> None:
        """The check was passed: leaving the block refunds the attempt and the failures before it."""
        self.user = user
        self.has_succeeded = True

    def __enter__(self) -> "Attempt":
        run(self.open())
        return self

    def __exit__(self, *_: object) -> None:
        run(self.close())

    async def __aenter__(self) -> "Attempt":
        await arun(self.open())
        return self

    async def __aexit__(self, *_: object) -> None:
        await arun(self.close())

    def open(self) -> Steps[None]:
        """Pay. Raises ``AccountLocked``, ``LockoutUnavailable``; ``RuntimeError`` when it was paid before."""
        if self._debit is not None:
            raise RuntimeError("This attempt was paid for already; call guard_login() again for the next.")
        self.account = (yield from resolved(self.account)).seen_from(self.ip)
        self._debit = paid = yield from self._pay()
        for alert in paid.alerts:
            yield telling.spray(self.account, alert)
        if paid.closed and not paid.allowed:
            yield from self._announce()
        if paid.allowed:
            counters.add("allowed")
            self._began = time.monotonic()
            return
        counters.add(f"refused.{paid.reason}")
        error = AccountLocked(paid.status.retry_after, paid.reason)
        _note(self.request, error)
        logger.warning("A log-in was refused", extra={**self._extra("login_refused"), "reason": paid.reason})
        yield telling.refused(self.account, error, self.ip, self._seen)
        if config.LOCKED_LOOKS_WRONG:
            yield from as_late_as_a_check()
        raise error

    def _pay(self) -> Steps[Debit]:
        """From a trusted device by its own counter, from anywhere else by the networks' and the account's."""
        purpose = STAFF if self.account.scope == "password" and _is_admins(self._seen) else self.account.scope
        if (device := (yield from devices.known(self._seen, self.account))) is not None:
            self._passage = Passage(replace(self.account, device=device.ident), epoch=device.epoch)
            try:
                return (yield from counting.debit(self._passage, purpose))
            except EpochPassed:
                pass
        self._passage = Passage(self.account, networks_of(self.ip, self.account.scope))
        return (yield from counting.debit(self._passage, purpose))

    def close(self) -> Steps[None]:
        """Settle. May be called again when a later backend accepts what an earlier one did not."""
        if self._debit is None:
            return
        if not self.has_succeeded:
            FLOOR.note(time.monotonic() - self._began)
            if self._debit.closed:
                yield from self._announce()
            return
        _note(self.request, None)
        counters.add("succeeded")
        opened, epoch = yield from counting.settle(self._passage, self._debit)
        if opened and (self._announced or not self._debit.closed):
            yield telling.unlocked(self.account, "success")
        if epoch is not None and (box := refusals.get()) is not None:
            box.trusted = devices.trusted(self._passage.account, epoch, self.user)
        yield from self._tell_of_failures()

    def _tell_of_failures(self) -> Iterator[Send]:
        limit, before = config.LOCKOUT_ALERTS.get("success", 0), self._debit.row - 1 if self._debit else 0
        if 0 < limit <= before:
            yield telling.success(self.account, before, self.user, self.ip, self._seen)

    def _announce(self) -> Steps[None]:
        if not self._announced and self._debit is not None:
            self._announced = True
            counters.add("locked")
            logger.warning("An account was locked", extra=self._extra("account_locked"))
            yield telling.locked(self.account, self._debit, self.ip)

    def _extra(self, action: str) -> dict[str, Any]:
        account = self.account
        return {
            "action": action,
            "account": account.masked,
            "tenant": account.tenant,
            "scope": account.scope,
            "ip": self.ip,
        }


def _is_admins(request: Any) -> bool:
    match = getattr(request, "resolver_match", None)
    return match is not None and "admin" in match.app_names
