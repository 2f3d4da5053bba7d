"""Links by which an owner unlocks the account: signed, good for ``UNLOCK_LINK_SECONDS``, and for one lock, once.

A link names the user and the account's tag, and carries a secret of which Redis keeps a digest, with the generation of
the lock: a later lock is not opened, of two clicks at once one opens it, and who reads Redis can make no link. Whoever
can read the owner's mail may use it, as with a link to reset the password; it opens the lock and signs nobody in.

Round trips: 1 to make one, 3 to use it. Redis down: ``RedisUnavailable``.
"""

import hashlib
import secrets
from typing import Any

from django.core import signing

from bergizi_redis import lockoutkeys
from bergizi_redis.conf import config
from bergizi_redis.security import counting, telling
from bergizi_redis.security.account import Account, in_ms
from bergizi_redis.security.local import limiter
from bergizi_redis.security.lockout import unavailable_as_such
from bergizi_redis.security.replay import ledger
from bergizi_redis.security.resolvers import matching_user, names_of, resolved, user_of_key
from bergizi_redis.security.steps import Call, RunScript, Steps

SALT = "bergizi_redis.security.links"
PAUSE_MS = in_ms(120)  # between two links for one lock: who asks again and again fills nobody's mailbox


def make(identifier: object, tenant: str | None = None, scope: str = "password") -> Steps[tuple[Any, str] | None]:
    """(the user, the token of a link), or None: no such account, not locked, or a link was made just now.

    Asks the same whether the account exists or not: who looks on from outside learns nothing by the time it takes.
    """
    account = yield from resolved(Account.of(identifier, tenant, scope))
    user = yield Call(matching_user, (account.identifier,))
    secret = secrets.token_urlsafe(24)
    noted = [account.counters[1], lockoutkeys.unlock_link(account.tag)]
    with unavailable_as_such():
        arguments: list[str | int] = [_digest(secret), in_ms(config.UNLOCK_LINK_SECONDS), PAUSE_MS]
        is_noted = yield RunScript("lockout_link", noted, arguments)
    token = signing.dumps([account.tenant, scope, account.tag, str(getattr(user, "pk", "")), secret], salt=SALT)
    return (user, token) if is_noted and user is not None else None


def is_whole(token: str) -> bool:
    """Whether it is one of ours and young enough; it may be used up all the same. No round trip."""
    return _read(token) is not None


def redeem(token: str) -> Steps[bool]:
    """Open the lock; False where the link is forged, too old, used, or of an earlier lock."""
    if (row := _read(token)) is None:
        return False
    tenant, scope, tag, key, secret = row
    account = yield from _account(tenant, scope, tag, key)
    if account is None:
        return False
    kept = [*account.counters, account.record, lockoutkeys.origins(tag), lockoutkeys.unlock_link(tag)]
    with unavailable_as_such():
        opened = yield RunScript("lockout_redeem", kept, [_digest(secret)])
    if opened:
        limiter.settle(account.local, "")
        ledger.forgive(account)
        yield from counting.open_devices(account)
        yield from counting.unlist(account)
        yield telling.unlocked(account, "link")
    return bool(opened)


def _account(tenant: str, scope: str, tag: str, key: str) -> Steps[Account | None]:
    """The account of the user that has this tag, by whichever name it was locked."""
    user = yield Call(user_of_key, (key,))
    for name in names_of(user) if user is not None else ():
        account = yield from resolved(Account.of(name, tenant, scope))
        if account.tag == tag:
            return account
    return None


def _read(token: str) -> list[str] | None:
    try:
        row = signing.loads(token, salt=SALT, max_age=config.UNLOCK_LINK_SECONDS)
    except signing.BadSignature:
        return None
    return row if isinstance(row, list) and len(row) == 5 else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
