"""The audit trail in Django's admin: trails in Redis by user or tenant, and the rows of the sink ``database``.

Who may: ``bergizi_redis.view_audittrail``, ``bergizi_redis.view_auditevent``; nobody may change anything. Whose:
events of the tenants that ``SESSION_ADMIN_TENANTS`` gives for the request; who looks after some tenants sees no event
of another, nor one without a tenant. Round trips of a page: 1 to verify the trail, and 1 for each 100 events that are
read for it. Redis down: 503, as for every page with a session.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _

from bergizi_redis.admin_pages import LookOnly, TypedSearch
from bergizi_redis.admin_scope import scope_of
from bergizi_redis.conf import config
from bergizi_redis.exceptions import TenantError
from bergizi_redis.keys import validated_tenant
from bergizi_redis.models import AuditEvent, AuditTrail
from bergizi_redis.security.audit import Entry, Verdict
from bergizi_redis.security.examining import examined, page, trail_of
from bergizi_redis.security.steps import run
from bergizi_redis.security.vocabulary import LEVELS

PAGE = 50
SHOWN_PROBLEMS = 5
ID = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")
Scope = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Search(TypedSearch):
    LIST: ClassVar[str] = "admin:bergizi_redis_audittrail_changelist"

    user: str = ""
    tenant: str = ""
    event: str = ""

    def tenant_in(self, scope: Scope) -> str | None:
        """The tenant that is meant, within the scope; None where none is. Raises ``TenantError`` for one outside."""
        if self.tenant:
            tenant = validated_tenant(self.tenant)
            if scope is not None and tenant not in scope:
                raise TenantError(self.tenant)
            return tenant
        return scope[0] if scope is not None and len(scope) == 1 else None


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of a trail; ``entries`` None where the search must be narrowed, ``before`` "" on the last page."""

    entries: list[Entry] | None = None
    before: str = ""
    verdict: Verdict | None = None

    @classmethod
    def of(cls, search: Search, scope: Scope, before: str) -> "Shown":
        try:
            tenant = search.tenant_in(scope)
        except TenantError:
            return cls([])
        user = id_of(search.user) if search.user else None
        if user is None and tenant is None:
            return cls([] if scope is not None and not scope else None)
        until = before if ID.fullmatch(before) else ""
        entries, left = run(
            page(user, tenant=tenant, before=until, size=PAGE, event=search.event, tenants=scope)  # newest first
        )
        return cls(entries, left, run(examined(trail_of(user, tenant))) if entries else None)

    @property
    def problems(self) -> list[Any]:
        return [] if self.verdict is None else list(self.verdict.problems[:SHOWN_PROBLEMS])


def id_of(text: str) -> str:
    """The id of the user who signs in by this name, else the text, which is an id then."""
    model: Any = get_user_model()
    found = model._default_manager.filter(**{model.USERNAME_FIELD: text}).values_list("pk", flat=True).first()
    return text if found is None else str(found)


@admin.register(AuditTrail)
class AuditTrailAdmin(LookOnly):
    """One page; there is no table behind it."""

    def get_urls(self) -> list[Any]:
        return [path("", self.admin_site.admin_view(self.changelist_view), name="bergizi_redis_audittrail_changelist")]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("bergizi_redis.view_audittrail")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """The search and what it found, a page at a time, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        search, scope, before = Search.of(request.GET), scope_of(request), request.GET.get("before", "")[:40]
        shown = Shown.of(search, scope, before)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Audit trail"), "opts": self.opts, "search": search, "scope": scope, "shown": shown,
            "events": sorted(LEVELS), "address": search.address, "turned": bool(before),
            "next": f"{search.turning}before={shown.before}" if shown.before else "", **(extra_context or {}),
        }  # fmt: skip
        return TemplateResponse(request, "admin/bergizi_redis/audittrail/change_list.html", context)


@admin.register(AuditEvent)
class AuditEventAdmin(LookOnly):
    """The rows that the sink ``database`` wrote; in the admin's index where that sink is chosen."""

    list_display = ("at", "event", "outcome", "user", "tenant", "actor", "network", "reason")
    list_filter = ("event", "outcome")
    search_fields = ("=user", "=actor", "network__startswith")
    ordering = ("-at", "-pk")
    list_per_page = PAGE
    show_full_result_count = False
    actions = None

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return super().get_model_perms(request) if "database" in config.AUDIT_SINKS else {}

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        rows: QuerySet[AuditEvent] = super().get_queryset(request)
        scope = scope_of(request)
        return rows if scope is None else rows.filter(tenant__in=scope)
