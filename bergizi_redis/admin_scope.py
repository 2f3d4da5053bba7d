"""Whose data a request may look after in the admin. Asked of every page; needs no Redis."""

from collections.abc import Iterable

from django.http import HttpRequest

from bergizi_redis.conf import config, import_setting
from bergizi_redis.keys import validated_tenant
from bergizi_redis.tenancy import tenant_from_user


def own_tenant(request: HttpRequest) -> Iterable[str] | None:
    """The default of ``SESSION_ADMIN_TENANTS``: a superuser looks after all, others after their own tenant."""
    if request.user.is_superuser:
        return None
    tenant = tenant_from_user(request)
    return [tenant] if tenant else []


def scope_of(request: HttpRequest) -> tuple[str, ...] | None:
    """The tenants that this request may look after; None: all, and sessions without a tenant."""
    found = import_setting("SESSION_ADMIN_TENANTS", config.SESSION_ADMIN_TENANTS)(request)
    return None if found is None else tuple(validated_tenant(tenant) for tenant in found)
