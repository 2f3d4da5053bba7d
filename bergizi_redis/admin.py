"""Sessions in Django's admin: find them by user, tenant or address, and end one, all of a user, or all others.

Who may: ``bergizi_redis.view_session`` to look, ``bergizi_redis.end_session`` to end. Whose: those of the tenants that
``SESSION_ADMIN_TENANTS`` gives for the request; another tenant's session is not found. Sessions go by their public
id; the key of a cookie is nowhere. Who ended what and why is in the admin's log and in ``sessions_revoked``.
Round trips: those of the service. Redis down: 503, as for every page with a session.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from bergizi_redis import audit_admin, lockout_admin
from bergizi_redis.addresses import valid_ip
from bergizi_redis.admin_pages import LookOnly, TypedSearch
from bergizi_redis.admin_scope import own_tenant, scope_of
from bergizi_redis.exceptions import TenantError
from bergizi_redis.keys import SHARED, validated_tenant
from bergizi_redis.models import Session
from bergizi_redis.sessions import index
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.asking import ask
from bergizi_redis.sessions.client import noted_ip
from bergizi_redis.sessions.identity import is_sid
from bergizi_redis.sessions.info import SessionInfo, info_of
from bergizi_redis.sessions.paging import first_of_all

__all__ = ["SessionAdmin", "audit_admin", "lockout_admin", "own_tenant"]  # the other pages register themselves

PAGE = 50
LOOKED_THROUGH = 10_000  # sessions, for an address at whatever tenant


@dataclass(frozen=True, slots=True)
class Search(TypedSearch):
    LIST: ClassVar[str] = "admin:bergizi_redis_session_changelist"

    user: str = ""
    tenant: str = ""
    ip: str = ""

    def sessions(self, scope: tuple[str, ...] | None) -> list[SessionInfo] | None:
        """Within the scope; None where it must be narrowed first."""
        if self.user:
            found = [info for user in ids_of(self.user) for info in sessions.sessions_for_user(user)]
        elif tenants := self._tenants(scope):
            found = [info for tenant in tenants for info in sessions.sessions_for_tenant(tenant)]
        elif scope is None and not self.tenant:
            return None
        else:
            found = []
        return [info for info in found if self._fits(info) and (scope is None or info.tenant in scope)]

    def is_of_all(self, scope: tuple[str, ...] | None) -> bool:
        """Whether an address is looked for, and nothing says where."""
        return scope is None and self.ip != "" and not (self.user or self.tenant)

    def everywhere(self) -> tuple[list[SessionInfo], bool]:
        looked, is_all = first_of_all(LOOKED_THROUGH)
        return [info for info in looked if self._fits(info)], is_all

    def listing(self, scope: tuple[str, ...] | None) -> str | None:
        """The one tenant whose sessions are asked for whole, and so can be read a page at a time."""
        tenants = [] if self.user or self.ip else self._tenants(scope)
        return tenants[0] if len(tenants) == 1 else None

    def _tenants(self, scope: tuple[str, ...] | None) -> list[str]:
        if self.tenant == SHARED and scope is None:
            return [SHARED]
        try:
            named = [validated_tenant(self.tenant)] if self.tenant else list(scope or ())
        except TenantError:  # nobody's
            return []
        return [tenant for tenant in named if scope is None or tenant in scope]

    def _fits(self, info: SessionInfo) -> bool:
        kept = info.ip or ""
        is_whole = valid_ip(self.ip) is not None and not self.ip.endswith(":")
        begins = kept == self.ip if is_whole else kept.startswith(self.ip)
        # As it was typed, or as SESSION_CLIENT_PRIVACY has kept it.
        is_from = not self.ip or begins or (kept != "" and kept == noted_ip(self.ip))
        return self.tenant in ("", info.tenant or SHARED) and is_from


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of what was found, None where the search must be narrowed; ``next`` is the query of the next page."""

    infos: Sequence[SessionInfo] | None
    total: int
    next: str
    is_all: bool = True  # or the first that were looked through


def shown_of(search: Search, scope: tuple[str, ...] | None, given: Any) -> Shown:
    """A tenant's sessions by keyset, 2 round trips a page however many there are; what was searched for, by number."""
    if (tenant := search.listing(scope)) is not None:
        try:
            page = sessions.page_for_tenant(tenant, given.get("after") or None, PAGE)
        except ValueError:  # no cursor of ours: from the beginning
            page = sessions.page_for_tenant(tenant, None, PAGE)
        return Shown(page.sessions, page.total, f"after={page.cursor}" if page.cursor else "")
    found, is_all = search.everywhere() if search.is_of_all(scope) else (search.sessions(scope), True)
    numbered = Paginator(found or [], PAGE).get_page(given.get("page"))
    infos = None if found is None else list(numbered.object_list)
    return Shown(infos, len(found or []), f"page={numbered.next_page_number()}" if numbered.has_next() else "", is_all)


def chosen(sids: list[str], scope: tuple[str, ...] | None) -> list[SessionInfo]:
    """The sessions with these public ids, as far as the scope goes: 1 round trip."""
    records = ask(index.records([sid for sid in dict.fromkeys(sids) if is_sid(sid)])) if sids else {}
    infos = (info_of(sid, record) for sid, record in records.items())
    return [info for info in infos if info and (scope is None or info.tenant in scope)]


def ids_of(text: str) -> list[str]:
    """User ids that the text may mean: an id, or the name that somebody signs in with."""
    model: Any = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: text}).first()
    return list(dict.fromkeys([text, *([str(user.pk)] if user else [])]))


def users_of(infos: Iterable[SessionInfo]) -> dict[str, Any]:
    """The users of the project, by id; one that ``create_session`` made up has none."""
    model: Any = get_user_model()
    known = set()
    for user_id in {info.user_id for info in infos}:
        try:
            known.add(model._meta.pk.to_python(user_id))
        except ValidationError:
            continue
    return {str(user.pk): user for user in model._default_manager.filter(pk__in=known)}


@admin.register(Session)
class SessionAdmin(LookOnly):
    """One page; there is no table behind it."""

    def get_urls(self) -> list[Any]:
        guarded = self.admin_site.admin_view
        return [
            path("", guarded(self.changelist_view), name="bergizi_redis_session_changelist"),
            path("end/", guarded(require_POST(self.end_view)), name="bergizi_redis_session_end"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("bergizi_redis.view_session")

    def has_end_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("bergizi_redis.end_session")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """The search and what it found, a page at a time."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        search, scope = Search.of(request.GET), scope_of(request)
        shown = shown_of(search, scope, request.GET)
        users = users_of(shown.infos or [])
        context = {
            **self.admin_site.each_context(request),
            "title": _("Sessions"), "opts": self.opts, "search": search, "scope": scope, "narrow": shown.infos is None,
            "shown": shown, "turned": "after" in request.GET or "page" in request.GET,
            "rows": [{"info": info, "user": users.get(info.user_id)} for info in shown.infos or []],
            "own": getattr(request.session, "sid", None), "may_end": self.has_end_permission(request),
            "address": search.address, "turning": search.turning,
            **(extra_context or {}),
        }  # fmt: skip
        return TemplateResponse(request, "admin/bergizi_redis/session/change_list.html", context)

    def end_view(self, request: HttpRequest) -> HttpResponse:
        """End the chosen ones, all of their users, or their users' others; say how many."""
        if not self.has_end_permission(request):
            raise PermissionDenied
        search, reason = Search.of(request.POST), request.POST.get("reason", "").strip()[:200]
        what, sids = request.POST.get("what", ""), request.POST.getlist("sid")[:PAGE]
        found = chosen(sids, scope_of(request))
        if not reason or what not in ("one", "all", "others"):
            messages.error(request, _("Nothing was ended: say why."))
        elif not found:
            messages.error(request, _("Nothing was ended: no such session was found."))
        else:
            ended = self._end(request, what, found, reason)
            text = ngettext("%(count)s session has ended.", "%(count)s sessions have ended.", ended)
            messages.success(request, text % {"count": ended})
        return redirect(search.address)

    def _end(self, request: HttpRequest, what: str, picked: list[SessionInfo], reason: str) -> int:
        """In the tenants of the scope alone."""
        scope, actor, ended = scope_of(request), str(request.user.pk), 0
        if what == "one":
            for info in picked:
                times = int(sessions.revoke(info.public_id, tenant=info.tenant, reason=reason, actor=actor))
                self._log(request, info, f"{what} ({times}): {reason}")
                ended += times
            return ended
        for info in {info.user_id: info for info in picked}.values():
            if what == "all":
                times = 0
                for tenant in [None] if scope is None else scope:
                    times += sessions.revoke_user(info.user_id, tenant=tenant, reason=reason, actor=actor)
            else:
                theirs = Search(user=info.user_id).sessions(scope) or []
                others = [other for other in theirs if other.user_id == info.user_id and other not in picked]
                times = 0
                for other in others:
                    times += sessions.revoke(other.public_id, tenant=other.tenant, reason=reason, actor=actor)
            self._log(request, info, f"{what} ({times}): {reason}")
            ended += times
        return ended

    def _log(self, request: HttpRequest, info: SessionInfo, message: str) -> None:
        LogEntry.objects.create(
            user_id=request.user.pk,
            content_type_id=ContentType.objects.get_for_model(Session).pk,
            object_id=info.public_id,
            object_repr=f"{info.name or info.user_id} · {info.tenant or '–'}"[:200],
            action_flag=DELETION,
            change_message=message,
        )
