"""Which tenant (a kitchen, SPPG) this code runs for.

``use_tenant("sppg-jakarta-001")`` sets it for a block or a function, ``TenantMiddleware`` for a request, and
``current_tenant()`` answers. It lives in a ``ContextVar``: tasks of asyncio inherit it, a new thread does not, and
then ``current_tenant()`` raises ``TenantRequired`` rather than guess. Costs no round trip; needs no Redis.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase

from bergizi_redis.conf import config, import_setting
from bergizi_redis.exceptions import TenantRequired
from bergizi_redis.keys import validated_tenant

__all__ = [
    "TenantMiddleware", "TenantRequired", "current_tenant", "find_tenant", "tenant_from_header", "tenant_from_host",
    "tenant_from_user", "use_tenant",
]  # fmt: skip

Resolver = Callable[[HttpRequest], str | None]

_tenant: ContextVar[str | None] = ContextVar("bergizi_redis_tenant", default=None)


def current_tenant() -> str:
    """The tenant in force; ``TenantRequired`` where there is none."""
    tenant = _tenant.get()
    if tenant is None:
        raise TenantRequired(
            "No tenant is known here. Wrap the call in `with use_tenant('…'):`, or add "
            "'bergizi_redis.tenancy.TenantMiddleware' to MIDDLEWARE. A new thread does not inherit the tenant: "
            "run it through contextvars.copy_context()."
        )
    return tenant


def find_tenant() -> str | None:
    """The tenant in force, or None: for code that serves both kinds of request."""
    return _tenant.get()


@contextmanager
def use_tenant(tenant: str | None) -> Iterator[str | None]:
    """Run the block, or the decorated function, for ``tenant``; None takes the tenant away. ``TenantError`` if invalid."""
    token = _tenant.set(None if tenant is None else validated_tenant(tenant))
    try:
        yield tenant
    finally:
        _tenant.reset(token)


def tenant_from_user(request: HttpRequest) -> str | None:
    """``request.user.tenant`` (``TENANT_USER_ATTRIBUTE``), which may be a method; None when nobody is signed in."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    value = getattr(user, config.TENANT_USER_ATTRIBUTE, None)
    return value() if callable(value) else value


def tenant_from_header(request: HttpRequest) -> str | None:
    """The header ``TENANT_HEADER``, believed only when the peer is one of ``TRUSTED_PROXIES``."""
    if not is_trusted_proxy(request.META.get("REMOTE_ADDR", "")):
        return None
    return request.headers.get(config.TENANT_HEADER) or None


def tenant_from_host(request: HttpRequest) -> str | None:
    """``sppg-1`` of ``sppg-1.example.org`` with ``TENANT_DOMAIN = "example.org"``; Django has checked the host."""
    parent = f".{config.TENANT_DOMAIN.lstrip('.').lower()}"
    host = request.get_host().rsplit(":", 1)[0].lower()
    label = host.removesuffix(parent)
    return label if parent != "." and label != host and "." not in label else None


def is_trusted_proxy(address: str) -> bool:
    """Whether the address lies in one of ``TRUSTED_PROXIES`` (CIDRs)."""
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return any(peer in ipaddress.ip_network(network, strict=False) for network in config.TRUSTED_PROXIES)


def resolve_tenant(request: HttpRequest) -> str | None:
    """Ask the resolver, or each of a list of them until one answers."""
    paths = config.TENANT_RESOLVER
    for path in [paths] if isinstance(paths, str) else paths:
        resolver: Resolver = import_setting("TENANT_RESOLVER", path)
        if tenant := resolver(request):
            return validated_tenant(tenant)
    return None


class TenantMiddleware:
    """Sets the tenant of each request; place it behind ``AuthenticationMiddleware``. Sync and async.

    ``request.tenant`` is the tenant id or None. The request's user is loaded by the resolver, once.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self.__acall__(request)
        tenant = resolve_tenant(request)
        request.tenant = tenant  # type: ignore[attr-defined]
        with use_tenant(tenant):
            return self.get_response(request)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        if hasattr(request, "auser"):  # loads the user natively, where the session store is asynchronous
            request.user = await request.auser()
        # Resolvers may ask the database, so they run in a thread.
        tenant = await sync_to_async(resolve_tenant)(request)
        request.tenant = tenant  # type: ignore[attr-defined]
        with use_tenant(tenant):
            return await self.get_response(request)  # type: ignore[misc]
