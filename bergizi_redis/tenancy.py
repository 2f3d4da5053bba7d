"""Which tenant (a kitchen, SPPG) this code runs for.

``use_tenant("sppg-jakarta-001")`` sets it for a block or a function, ``TenantMiddleware`` for a request, and
``current_tenant()`` answers. It lives in a ``ContextVar``: tasks of asyncio inherit it, a new thread does not, and
then ``current_tenant()`` raises ``TenantRequired`` rather than guess. Nor does the body of a streaming response, which
is read after the middleware: wrap it in ``use_tenant``. Costs no round trip; needs no Redis.

A tenant id that cannot be one is the client's fault where a header or the host name gives it, and answered with 400;
of a user it is a fault of the project's data, and a ``TenantError`` that names the attribute.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, isgeneratorfunction
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseBase

from bergizi_redis.conf import config, import_setting
from bergizi_redis.exceptions import ConfigurationError, TenantError, TenantRequired
from bergizi_redis.keys import validated_tenant

__all__ = [
    "TenantMiddleware", "TenantRequired", "current_tenant", "find_tenant", "tenant_from_header", "tenant_from_host",
    "tenant_from_user", "use_tenant",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])
Resolver = Callable[[HttpRequest], str | None]

_tenant: ContextVar[str | None] = ContextVar("bergizi_redis_tenant", default=None)
_found_by: ContextVar[str] = ContextVar("bergizi_redis_tenant_found_by", default="")  # a resolver; "": named in code
OF_WHO_ASKS = frozenset(f"{__name__}.{name}" for name in ("tenant_from_user", "tenant_from_host"))


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


def find_tenant_of_account() -> str | None:
    """The same, for a name that was typed: None where the tenant is only that of who asks, or of the host that they
    named (``tenant_from_user``, ``tenant_from_host``), for neither says whose name it is."""
    return None if _found_by.get() in OF_WHO_ASKS else _tenant.get()


class use_tenant:  # noqa: N801 – read as a verb: with use_tenant("sppg-1"):
    """Run the block, or the decorated function, for ``tenant``; None takes it away. ``TenantError`` if invalid.

    Decorates functions and ``async`` functions, but no generators: between two steps their caller would run for it.
    """

    _found_by = ""

    def __init__(self, tenant: str | None) -> None:
        self.tenant = None if tenant is None else validated_tenant(tenant)
        self._before: list[tuple[str | None, str]] = []

    def __enter__(self) -> str | None:
        self._before.append((_tenant.get(), _found_by.get()))
        _tenant.set(self.tenant)
        _found_by.set(self._found_by)
        return self.tenant

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tenant, found_by = self._before.pop()
        _tenant.set(tenant)
        _found_by.set(found_by)

    def __call__(self, function: F) -> F:
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"use_tenant cannot decorate {function.__qualname__}, a generator: what runs between its steps would "
                "run for the tenant too. Write `with use_tenant('…'):` around the calls inside it."
            )

        @wraps(function)
        def held(*args: Any, **kwargs: Any) -> Any:
            with use_tenant(self.tenant):  # one of its own for each call: they may run at the same time
                return function(*args, **kwargs)

        @wraps(function)
        async def aheld(*args: Any, **kwargs: Any) -> Any:
            with use_tenant(self.tenant):
                return await function(*args, **kwargs)

        return aheld if iscoroutinefunction(function) else held  # type: ignore[return-value]


class _found(use_tenant):  # noqa: N801 – as its base
    def __init__(self, tenant: str | None, by: str) -> None:
        super().__init__(tenant)
        self._found_by = by


def tenant_from_user(request: HttpRequest) -> str | None:
    """``request.user.tenant`` (``TENANT_USER_ATTRIBUTE``), which may be a method; None when nobody is signed in.

    A number or a UUID, such as a foreign key's ``sppg_id``, is taken as text.
    """
    user = getattr(request, "user", None)
    return None if user is None or not user.is_authenticated else tenant_of_user(user)


def tenant_of_user(user: Any) -> str | None:
    """What ``tenant_from_user`` says of this user."""
    value = getattr(user, config.TENANT_USER_ATTRIBUTE, None)
    value = value() if callable(value) else value
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    try:
        return validated_tenant(value) if value else None
    except TenantError as error:
        raise TenantError(f"The user's {config.TENANT_USER_ATTRIBUTE!r} (TENANT_USER_ATTRIBUTE): {error}") from error


def tenant_from_header(request: HttpRequest) -> str | None:
    """The header ``TENANT_HEADER``, believed only when the peer is one of ``TRUSTED_PROXIES``; 400 if it is no id."""
    if not is_trusted_proxy(request.META.get("REMOTE_ADDR", "")):
        return None
    return _of_client(request.headers.get(config.TENANT_HEADER))


def tenant_from_host(request: HttpRequest) -> str | None:
    """``sppg-1`` of ``sppg-1.example.org`` with ``TENANT_DOMAIN = "example.org"``; Django has checked the host."""
    if not (domain := config.TENANT_DOMAIN.strip(".").lower()):
        raise ConfigurationError("tenant_from_host needs BERGIZI_REDIS['TENANT_DOMAIN'], such as 'example.org'.")
    host = request.get_host().rsplit(":", 1)[0].rstrip(".").lower()
    label = host.removesuffix(f".{domain}")
    return _of_client(label) if label != host and "." not in label else None


def _of_client(text: str | None) -> str | None:
    """What a client sent: an id, nothing, or a bad request."""
    try:
        return validated_tenant(text) if text else None
    except TenantError as error:
        raise BadRequest(str(error)) from error


def is_trusted_proxy(address: str) -> bool:
    """Whether the address lies in one of ``TRUSTED_PROXIES`` (CIDRs). With a number, every peer is a proxy."""
    networks: Any = config.TRUSTED_PROXIES
    if isinstance(networks, int):
        return networks > 0
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return any(peer in ipaddress.ip_network(network, strict=False) for network in networks)


def resolver_paths() -> list[str]:
    paths: Any = config.TENANT_RESOLVER
    return [paths] if isinstance(paths, str) else list(paths)


def resolve_tenant(request: HttpRequest) -> str | None:
    """Ask the resolver, or each of a list of them until one answers."""
    return _resolved(request)[0]


def _resolved(request: HttpRequest) -> tuple[str | None, str, Any]:
    """The tenant, the path of the resolver that found it, and the session that shall heed it: the one where the request
    names a tenant, and not its user."""
    for path in resolver_paths():
        resolver: Resolver = import_setting("TENANT_RESOLVER", path)
        if tenant := resolver(request):
            session = getattr(request, "session", None) if resolver is not tenant_from_user else None
            return validated_tenant(tenant), path, session if hasattr(session, "heed_tenant") else None
    return None, "", None


class TenantMiddleware:
    """Sets the tenant of each request; place it behind ``AuthenticationMiddleware``. Sync and async.

    ``request.tenant`` is the tenant id or None. The request's user is loaded by the resolver, once. A session engine
    may have ``heed_tenant(request, tenant)`` and ``aheed_tenant``, to refuse a session that is another tenant's.
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
        tenant, path, session = _resolved(request)
        request.tenant = tenant  # type: ignore[attr-defined]
        with _found(tenant, path):
            if session is not None:
                session.heed_tenant(request, tenant)
            return self.get_response(request)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        # Load the user natively, where the session store is asynchronous, but only for a resolver that asks for one.
        auser: Any = getattr(request, "auser", None)
        if auser and f"{__name__}.tenant_from_user" in resolver_paths():
            request.user = await auser()
        # Resolvers may ask the database, so they run in a thread.
        tenant, path, session = await sync_to_async(_resolved)(request)
        request.tenant = tenant  # type: ignore[attr-defined]
        with _found(tenant, path):
            if session is not None:
                await session.aheed_tenant(request, tenant)
            response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
            return response
