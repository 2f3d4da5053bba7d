"""What is counted: an account in a scope of a tenant, the limits in force, and one paid debit. Needs no Redis."""

import re
import secrets
from dataclasses import dataclass, field

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.security.identifiers import account_tag, canonical_identifier, masked_identifier
from bergizi_redis.security.status import LockStatus, whole_seconds
from bergizi_redis.tenancy import find_tenant

NOT_LOCKED = -2  # PTTL of a key that is not there
SCOPE_PATTERN = re.compile(r"[a-z0-9_-]{1,32}")


def new_generation() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Limits:
    """``attempts`` before the lock closes; how long it stays and how long failures are remembered, in ms."""

    attempts: int
    lock_ms: int
    window_ms: int

    @classmethod
    def in_force(cls) -> "Limits":
        lock, window = config.LOCKOUT_SECONDS, config.LOCKOUT_WINDOW
        return cls(config.LOCKOUT_ATTEMPTS, max(1, round(lock * 1000)), max(1, round(window * 1000)))

    def status(self, failures: int, pttl: int) -> LockStatus:
        """The answer for a count and a PTTL as Redis gives them: -2 no lock, -1 a lock that somebody made endless."""
        if pttl != NOT_LOCKED:
            left = self.lock_ms if pttl == -1 else max(pttl, 1)
            return LockStatus(True, whole_seconds(left), self.attempts, 0)
        return LockStatus(False, 0, failures, max(0, self.attempts - failures))


@dataclass(frozen=True, slots=True)
class Account:
    """``identifier`` is canonical; ``tenant`` is ``keys.SHARED`` ("@") where there is none."""

    tenant: str
    scope: str
    tag: str
    identifier: str = field(repr=False)  # a person's name does not belong in logs

    @classmethod
    def of(cls, identifier: object, tenant: str | None, scope: str) -> "Account":
        """``tenant`` None: the one in force, else the shared scope. ``TenantError``; ``ValueError`` for a bad scope."""
        if not SCOPE_PATTERN.fullmatch(scope):
            raise ValueError(f"{scope[:80]!r} is not a scope: use 1 to 32 of 'a-z', '0-9', '_' and '-', such as 'otp'.")
        owner = tenant_or_shared(tenant)
        canonical = canonical_identifier(identifier)
        return cls(owner, scope, account_tag(owner, scope, canonical), canonical)

    @property
    def masked(self) -> str:
        return masked_identifier(self.identifier)

    @property
    def counters(self) -> tuple[str, str]:
        """KEYS of the lockout scripts; one slot."""
        return keys.attempts(self.tag), keys.lockout(self.tag)

    @property
    def member(self) -> str:
        """This account in the zset of locked accounts."""
        return f"{self.tag}:{self.scope}:{self.masked}"


def tenant_or_shared(tenant: str | None) -> str:
    tenant = find_tenant() if tenant is None else tenant
    return keys.SHARED if tenant in (None, keys.SHARED) else keys.validated_tenant(tenant)


def locked_accounts_key(tenant: str) -> str:
    return keys.locked_accounts(None if tenant == keys.SHARED else tenant)


@dataclass(frozen=True, slots=True)
class Debit:
    """One password check, paid for or refused. ``now_ms`` is the server's clock; ``local``: counted in this process.

    ``generation`` names the round, from its first debit until a success, a lock or the window ends it: a success
    refunds its own round, whichever attempt of it closed the lock, and no other.
    """

    allowed: bool
    status: LockStatus
    closed: bool
    generation: str
    now_ms: int = 0
    local: bool = False
