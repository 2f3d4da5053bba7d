"""Signing in and out, and who else is signed in."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.forms import SignInForm
from accounts.models import User
from bergizi_redis.security import lockout
from bergizi_redis.sessions import service as sessions
from bergizi_redis.tenancy import current_tenant, use_tenant
from kitchens.access import kitchen_page


@never_cache
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Kitchen, user name, password. After too many wrong passwords: 429, and how long to wait."""
    if request.method != "POST":
        return render(request, "accounts/sign_in.html", {"form": SignInForm(initial=request.GET.dict())})
    form = SignInForm(request.POST)
    if not form.is_valid():
        return sign_in_page(request, form, 422)
    # The kitchen is part of who is asking: "budi" of one kitchen can not lock "budi" of another.
    with use_tenant(form.cleaned_data["kitchen"]):
        user = authenticate(request, username=form.login, password=form.cleaned_data["password"])
        if user is not None:
            try:
                login(request, user)
            except sessions.SessionLimitReached as refusal:  # with SESSION_LIMIT_POLICY "deny"
                form.add_error(None, str(refusal))
                return sign_in_page(request, form, 403)
            return redirect(next_page(request, form.cleaned_data["next"]))
        status = lockout.is_account_locked(form.login)
    form.add_error(None, _("The user name or the password is wrong."))
    lock = {
        "locked": status.locked,
        "retry_after": status.retry_after,
        "remaining": status.remaining,
        "pips": [True] * status.failures + [False] * status.remaining,
    }
    response = sign_in_page(request, form, 429 if status.locked else 401, lock=lock)
    if status.locked:
        response.headers["Retry-After"] = str(max(1, int(status.retry_after)))
    return response


def sign_in_page(request: HttpRequest, form: SignInForm, status: int, **context: Any) -> HttpResponse:
    """The form again, with what went wrong."""
    return render(request, "accounts/sign_in.html", {"form": form, **context}, status=status)


def next_page(request: HttpRequest, wanted: str) -> str:
    """Where the visitor wanted to go, if that is on this site."""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return resolve_url("home")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this session."""
    logout(request)
    return redirect("home")


@kitchen_page
def people(request: HttpRequest) -> HttpResponse:
    """Who is signed in at this kitchen: device, since when, last seen."""
    found = sessions.sessions_for_tenant(current_tenant())
    users = {str(user.pk): user for user in User.objects.filter(sppg_id=current_tenant())}
    rows = [
        {"session": info, "user": users.get(str(info.user_id)), "may_end": may_end(request, info.user_id)}
        for info in found
    ]
    return render(request, "accounts/people.html", {"rows": rows, "own": request.session.sid})


def may_end(request: HttpRequest, user_id: str) -> bool:
    """One's own sessions; those of others only as the head of the kitchen."""
    return bool(request.user.may_end_sessions) or str(user_id) == str(request.user.pk)


@require_POST
@kitchen_page
def end_session(request: HttpRequest, public_id: str) -> HttpResponse:
    """Sign somebody of this kitchen out. Another kitchen's session is not found."""
    found = {info.public_id: info for info in sessions.sessions_for_tenant(current_tenant())}
    info = found.get(public_id)
    if info is None:
        raise Http404
    if not may_end(request, info.user_id):
        raise PermissionDenied(_("Only the head of the kitchen signs others out."))
    sessions.revoke(public_id, tenant=current_tenant())
    messages.success(request, _("That session has ended."))
    return redirect("people")


@kitchen_page
def devices(request: HttpRequest) -> HttpResponse:
    """Where one is signed in oneself: device, address as far as it is kept, since when, last seen."""
    own = request.session.sid
    found = sessions.sessions_for_user(request.user.pk)
    rows = sorted(found, key=lambda info: info.public_id != own)  # this device first
    return render(request, "accounts/devices.html", {"rows": rows, "own": own})


@require_POST
@kitchen_page
def end_device(request: HttpRequest, public_id: str) -> HttpResponse:
    """Sign out of one of one's own devices. Somebody else's session is not found."""
    if public_id not in {info.public_id for info in sessions.sessions_for_user(request.user.pk)}:
        raise Http404
    if public_id == request.session.sid:
        return sign_out(request)
    sessions.revoke(public_id)
    messages.success(request, _("That device is signed out."))
    return redirect("devices")


@require_POST
@kitchen_page
def end_others(request: HttpRequest) -> HttpResponse:
    """Sign out of every device but this one."""
    ended = sessions.revoke_user(request.user.pk, keep=request.session.session_key)
    text = ngettext("%(n)d other device is signed out.", "%(n)d other devices are signed out.", ended)
    messages.success(request, text % {"n": ended})
    return redirect("devices")
