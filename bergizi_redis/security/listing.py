"""The locked accounts, for who looks after them: of which tenants there are any, and unlocking one from its row.

A row names its account by the keyed digest under which it is counted, and shows a masked identifier. Round trips: 1
for the tenants, 2 for a tenant's accounts, 4 to unlock a row. Raises ``RedisUnavailable`` when Redis is down; what is
locked stays locked. Async twins begin with ``a``.
"""

from bergizi_redis import lockoutkeys
from bergizi_redis.keys import SHARED
from bergizi_redis.security import counting, telling
from bergizi_redis.security.account import Account, locked_accounts_key, tenant_or_shared
from bergizi_redis.security.gates import text
from bergizi_redis.security.lockout import alocked_accounts, locked_accounts, unavailable_as_such
from bergizi_redis.security.status import LockedAccount
from bergizi_redis.security.steps import Pipeline, Steps, arun, run

Rows = dict[str, list[LockedAccount]]


def locked_tenants() -> list[str]:
    """Tenants with accounts that may be locked, sorted; ``"@"`` stands for those without a tenant."""
    return run(_tenants())


async def alocked_tenants() -> list[str]:
    return await arun(_tenants())


def _tenants() -> Steps[list[str]]:
    with unavailable_as_such():
        (members,) = yield Pipeline([("zrange", lockoutkeys.locking(), 0, -1)])
    return sorted(text(member) for member in members)


def everywhere() -> Rows:
    """The locked accounts of each tenant that has any. Two round trips a tenant."""
    found = {tenant: locked_accounts(tenant) for tenant in locked_tenants()}
    return {tenant: rows for tenant, rows in found.items() if rows}


async def aeverywhere() -> Rows:
    found = {tenant: await alocked_accounts(tenant) for tenant in await alocked_tenants()}
    return {tenant: rows for tenant, rows in found.items() if rows}


def unlock_listed(tag: str, *, tenant: str | None = None) -> bool:
    """Unlock the account of the row with this ``tag``; False where the tenant's list has none, or it was open."""
    return run(_unlock(tag, tenant_or_shared(tenant)))


async def aunlock_listed(tag: str, *, tenant: str | None = None) -> bool:
    return await arun(_unlock(tag, tenant_or_shared(tenant)))


def _unlock(tag: str, tenant: str) -> Steps[bool]:
    key = locked_accounts_key(tenant)
    with unavailable_as_such():
        (members,) = yield Pipeline([("zrange", key, 0, -1)])
        listed = {row[0]: (member, row) for member, row in zip(members, counting.rows_of(members), strict=True)}
        if tag not in listed:
            return False
        member, (_, scope, masked) = listed[tag]
        account = Account(tenant, scope, tag, masked)
        opened: bool = yield from counting.open_lock(account)
        yield Pipeline([("zrem", key, member)])  # the masked name has no member of its own
    if opened:
        yield telling.unlocked(account, "administrator")
    return opened


def shown_tenant(tenant: str) -> str:
    """For a page or a table."""
    return "–" if tenant == SHARED else tenant
