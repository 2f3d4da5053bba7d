"""Warmers of the suite: ``warm_cache`` finds them here, as it does in any installed app."""

from collections.abc import Iterator

from bergizi_redis.cache.warming import warmer
from bergizi_redis.connections import Role, client
from bergizi_redis.keys import prefixed, tenant_key
from bergizi_redis.tenancy import current_tenant, find_tenant


def every_kitchen() -> Iterator[str]:
    yield from ("sppg-jakarta-001", "sppg-bandung-002", "sppg-jakarta-001")


@warmer("suite.menus")
def warm_menus(tenant: str) -> None:
    assert tenant == current_tenant()
    client().set(tenant_key(tenant, "menus"), "warm", ex=60)


@warmer("suite.shared", per_tenant=False)
async def warm_shared() -> None:
    assert find_tenant() is None


@warmer("suite.failing")
def warm_failing(tenant: str) -> None:
    if tenant == "sppg-bandung-002":
        raise ValueError(f"no rice at {tenant}")


@warmer("suite.held")
def warm_held(tenant: str) -> None:
    """Says that it began, and waits to be let go: a known point for a test."""
    blocking = client(role=Role.BLOCKING)
    blocking.rpush(prefixed("begun"), tenant)
    assert blocking.blpop([prefixed("go")], timeout=60)
