"""What is counted: an account in a scope of a tenant, the limits in force, and one paid debit. Needs no Redis."""

import re
import secrets
from dataclasses import dataclass, field, replace

from bergizi_redis import keys, lockoutkeys
from bergizi_redis.addresses import network_of, valid_ip
from bergizi_redis.conf import config
from bergizi_redis.security.identifiers import account_tag, canonical_identifier, masked_identifier
from bergizi_redis.security.status import LockStatus, whole_seconds
from bergizi_redis.tenancy import find_tenant_of_account

NOT_LOCKED = -2  # PTTL of a key that is not there
UNTIL_UNLOCKED = -1  # PTTL of a key that has none
SCOPE_PATTERN = re.compile(r"[a-z0-9_-]{1,32}")


def new_generation() -> str:
    return secrets.token_hex(8)


def in_ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@dataclass(frozen=True, slots=True)
class Limits:
    """``attempts`` before the lock closes; how long it stays and how long failures are remembered, in ms.

    ``locks``: how long the second, the third … stay, the last of them from then on. ``cap``: failures in a row after
    which only an unlock opens it, 0 for none; ``memory_ms``: how long both are remembered.
    """

    attempts: int
    lock_ms: int
    window_ms: int
    locks: tuple[int, ...] = ()
    cap: int = 0
    memory_ms: int = 1

    @classmethod
    def in_force(cls) -> "Limits":
        first, *others = (in_ms(seconds) for seconds in config.LOCKOUT_SCHEDULE or [config.LOCKOUT_SECONDS])
        memory = max(in_ms(config.LOCKOUT_MEMORY), first, *others)
        window = in_ms(config.LOCKOUT_WINDOW)
        return cls(config.LOCKOUT_ATTEMPTS, first, window, tuple(others), config.LOCKOUT_CAP, memory)

    @property
    def schedule(self) -> tuple[int, ...]:
        """ARGV of the scripts: how many locks, and the length of each."""
        return 1 + len(self.locks), self.lock_ms, *self.locks

    def status(self, failures: int, pttl: int) -> LockStatus:
        """The answer for a count and a PTTL as Redis gives them: -2 no lock, -1 one that only an unlock opens.

        The latter has no time to name, and names that of the first lock: from outside it looks like any other.
        """
        if pttl != NOT_LOCKED:
            capped = pttl == UNTIL_UNLOCKED
            left = self.lock_ms if capped else max(pttl, 1)
            return LockStatus(True, whole_seconds(left), self.attempts, 0, capped)
        return LockStatus(False, 0, failures, max(0, self.attempts - failures))


@dataclass(frozen=True, slots=True)
class Account:
    """``identifier`` is canonical; ``tenant`` is ``keys.SHARED`` ("@") where there is none."""

    tenant: str
    scope: str
    tag: str
    identifier: str = field(repr=False)  # a person's name does not belong in logs
    device: str = ""  # of a trusted one, which is counted by itself

    @classmethod
    def of(cls, identifier: object, tenant: str | None, scope: str) -> "Account":
        """``tenant`` None: the one in force, else the shared scope. ``TenantError``; ``ValueError`` for a bad scope."""
        if not SCOPE_PATTERN.fullmatch(scope):
            raise ValueError(f"{scope[:80]!r} is not a scope: use 1 to 32 of 'a-z', '0-9', '_' and '-', such as 'otp'.")
        owner = tenant_or_shared(tenant)
        canonical = canonical_identifier(identifier)
        return cls(owner, scope, account_tag(owner, scope, canonical), canonical)

    def seen_from(self, ip: str | None) -> "Account":
        """Itself; of the empty name one for each address (IPv6 /64), so that who leaves the name out locks out nobody
        else who does. No identifier holds the NUL that tells their tags from those of names."""
        if self.identifier or (address := valid_ip(ip)) is None:
            return self
        return replace(self, tag=account_tag(self.tenant, self.scope, f"\0{network_of(address, 32, 64)}"))

    @property
    def masked(self) -> str:
        return masked_identifier(self.identifier)

    @property
    def counters(self) -> tuple[str, str]:
        """Attempts and lock, of the device where it is one; everything of an account shares a slot."""
        if self.device:
            return lockoutkeys.attempts(self.tag, self.device), lockoutkeys.lockout(self.tag, self.device)
        return keys.attempts(self.tag), keys.lockout(self.tag)

    @property
    def record(self) -> str:
        return lockoutkeys.device_record(self.tag, self.device) if self.device else lockoutkeys.record(self.tag)

    @property
    def local(self) -> str:
        """What this process counts it under."""
        return f"{self.tag}:{self.device}" if self.device else self.tag

    @property
    def member(self) -> str:
        """This account in the zset of locked accounts."""
        return f"{self.tag}:{self.scope}:{self.masked}"


def tenant_or_shared(tenant: str | None) -> str:
    """None: the tenant in force, unless it is only the visitor's (``tenant_from_user``) or the host's: who is signed in
    at another tenant, or makes a host name up, would have a count of their own for every account."""
    if tenant is None:
        tenant = find_tenant_of_account()
    return keys.SHARED if tenant in (None, keys.SHARED) else keys.validated_tenant(tenant)


def locked_accounts_key(tenant: str) -> str:
    return keys.locked_accounts(None if tenant == keys.SHARED else tenant)


@dataclass(frozen=True, slots=True)
class Alert:
    """What an attempt brought to light, see ``signals.spray_detected``."""

    kind: str
    count: int
    limit: int
    network: str | None = None


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
    reason: str = "account"  # why it was refused, as ``signals.login_refused`` says
    level: int = 0  # locks since the last success
    row: int = 0  # failures in a row, this one among them
    attempt: str = ""  # its name in the logs of its networks
    alerts: tuple[Alert, ...] = ()
