"""One attempt around one check: paid on the way in, refunded on the way out when it succeeded."""

import logging
from contextvars import ContextVar
from typing import Any

from bergizi_redis import signals
from bergizi_redis.security import counting
from bergizi_redis.security.account import Account, Debit
from bergizi_redis.security.status import AccountLocked
from bergizi_redis.security.steps import Send, Steps, arun, run

logger = logging.getLogger("bergizi_redis.security")


class Refusals:
    """What the middleware hands down for one request: ``authenticate()`` swallows the error that says so."""

    def __init__(self) -> None:
        self.last: AccountLocked | None = None


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
        self.ip = ip
        self.request = request
        self.user: object = None
        self.has_succeeded = False
        self._debit: Debit | None = None
        self._announced = False

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
        self._debit = yield from counting.debit(self.account)
        if self._debit.closed and not self._debit.allowed:
            yield from self._announce()
        if self._debit.allowed:
            return
        error = AccountLocked(self._debit.status.retry_after)
        _note(self.request, error)
        logger.warning("A log-in was refused", extra=self._extra("login_refused"))
        yield Send(
            signals.login_refused,
            sender=Attempt,
            identifier=self.account.identifier,
            retry_after=error.retry_after,
            request=self.request,
        )
        raise error

    def close(self) -> Steps[None]:
        """Settle. May be called again when a later backend accepts what an earlier one did not."""
        if self._debit is None:
            return
        if not self.has_succeeded:
            if self._debit.closed:
                yield from self._announce()
            return
        _note(self.request, None)
        opened = yield from counting.settle(self.account, self._debit)
        if opened and (self._announced or not self._debit.closed):
            yield unlocked(self.account)

    def _announce(self) -> Steps[None]:
        if not self._announced:
            self._announced = True
            logger.warning("An account was locked", extra=self._extra("account_locked"))
            yield locked(self.account, self._debit.status.failures if self._debit else 0)

    def _extra(self, action: str) -> dict[str, Any]:
        account = self.account
        return {
            "action": action,
            "account": account.masked,
            "tenant": account.tenant,
            "scope": account.scope,
            "ip": self.ip,
        }


def locked(account: Account, failures: int) -> Send:
    return Send(
        signals.account_locked, sender=Attempt, identifier=account.identifier, tenant=account.tenant, failures=failures
    )


def unlocked(account: Account) -> Send:
    return Send(signals.account_unlocked, sender=Attempt, identifier=account.identifier, tenant=account.tenant)
