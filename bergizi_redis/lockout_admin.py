"""Locked accounts in Django's admin: who is locked, and unlocking them with a reason.

Who may: ``bergizi_redis.view_lockout`` to look, ``bergizi_redis.unlock_account`` to unlock. Whose: those of the
tenants that ``SESSION_ADMIN_TENANTS`` gives for the request; another tenant's row is not found. Names are masked, as
strangers make them up; who looks for a name finds its row. Who unlocked whom and why is in the admin's log.
Round trips: 2 a tenant to list, 4 for each that is unlocked. Redis down: 503, as for every page with a session.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from bergizi_redis.admin_pages import LookOnly, TypedSearch
from bergizi_redis.admin_scope import scope_of
from bergizi_redis.models import Lockout
from bergizi_redis.security import listing, lockout
from bergizi_redis.security.account import Account
from bergizi_redis.security.status import LockedAccount

PAGE = 50
Scope = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    owner: str  # the tenant; "@" without one
    account: LockedAccount

    @property
    def value(self) -> str:
        """Of the check box."""
        return f"{self.owner}:{self.account.tag}"

    @property
    def tenant(self) -> str:
        return listing.shown_tenant(self.owner)

    @property
    def opens(self) -> str:
        minutes = -(-self.account.retry_after // 60)
        return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}


@dataclass(frozen=True, slots=True)
class Search(TypedSearch):
    LIST: ClassVar[str] = "admin:bergizi_redis_lockout_changelist"

    name: str = ""
    tenant: str = ""

    def rows(self, scope: Scope) -> Iterator[Row]:
        """Of the tenants in the scope."""
        for owner in self._owners(scope):
            for account in lockout.locked_accounts(owner):
                if not self.name or account.tag == Account.of(self.name, owner, account.scope).tag:
                    yield Row(owner, account)

    def _owners(self, scope: Scope) -> list[str]:
        owners = listing.locked_tenants()
        return [owner for owner in owners if self.tenant in ("", owner) and (scope is None or owner in scope)]


@admin.register(Lockout)
class LockoutAdmin(LookOnly):
    """One page; there is no table behind it."""

    def get_urls(self) -> list[Any]:
        guarded = self.admin_site.admin_view
        return [
            path("", guarded(self.changelist_view), name="bergizi_redis_lockout_changelist"),
            path("unlock/", guarded(require_POST(self.unlock_view)), name="bergizi_redis_lockout_unlock"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("bergizi_redis.view_lockout")

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("bergizi_redis.unlock_account")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """The search and what it found, a page at a time."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        search, scope = Search.of(request.GET), scope_of(request)
        found = list(search.rows(scope))
        page = Paginator(found, PAGE).get_page(request.GET.get("page"))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Locked accounts"), "opts": self.opts, "search": search, "scope": scope, "total": len(found),
            "rows": page.object_list, "address": search.address,
            "next": f"{search.turning}page={page.next_page_number()}" if page.has_next() else "",
            "may_unlock": self.has_unlock_permission(request), **(extra_context or {}),
        }  # fmt: skip
        return TemplateResponse(request, "admin/bergizi_redis/lockout/change_list.html", context)

    def unlock_view(self, request: HttpRequest) -> HttpResponse:
        """Unlock the chosen ones; say how many were locked until now."""
        if not self.has_unlock_permission(request):
            raise PermissionDenied
        search, reason = Search.of(request.POST), request.POST.get("reason", "").strip()[:200]
        chosen = set(request.POST.getlist("row")[:PAGE])
        if not reason:
            messages.error(request, _("Nothing was unlocked: say why."))
            return redirect(search.address)
        opened = [row for row in search.rows(scope_of(request)) if row.value in chosen and self._unlock(row)]
        for row in opened:
            self._log(request, row, reason)
        if opened:
            text = ngettext("%(count)s account is unlocked.", "%(count)s accounts are unlocked.", len(opened))
            messages.success(request, text % {"count": len(opened)})
        else:
            messages.error(request, _("Nothing was unlocked: no such account is locked."))
        return redirect(search.address)

    def _unlock(self, row: Row) -> bool:
        return listing.unlock_listed(row.account.tag, tenant=row.owner)

    def _log(self, request: HttpRequest, row: Row, reason: str) -> None:
        LogEntry.objects.create(
            user_id=request.user.pk,
            content_type_id=ContentType.objects.get_for_model(Lockout).pk,
            object_id=row.account.tag,
            object_repr=f"{row.account.identifier} · {row.tenant} · {row.account.scope}"[:200],
            action_flag=CHANGE,
            change_message=f"unlocked: {reason}",
        )
