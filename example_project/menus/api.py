"""Menus as JSON, for programs that are signed in with a session.

Errors have one form: ``{"error": {"code": …, "message": …, "fields": {…}}}``. A menu of another kitchen is not found.
Unsafe methods need the CSRF token in ``X-CSRFToken``.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import transaction
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url
from django.utils.translation import gettext as _

from kitchens.measure import measured
from menus.forms import MenuForm
from menus.models import Menu
from menus.reading import menu_rows, row_of

Endpoint = Callable[..., HttpResponse]
KINDS: dict[str, type] = {"name": str, "day": str, "status": str, "portions": int, "dishes": list}


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields or {}

    def response(self) -> JsonResponse:
        """The error as JSON."""
        error = {"code": self.code, "message": self.message, "fields": self.fields}
        return JsonResponse({"error": error}, status=self.status)


def endpoint(*methods: str) -> Callable[[Endpoint], Endpoint]:
    """Decorator: 401 without a sign-in, 403 without a kitchen, 405 for other methods, and errors as JSON."""

    def decorate(view: Endpoint) -> Endpoint:
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method not in methods:
                response = ApiError(405, "method_not_allowed", _("This address takes other methods.")).response()
                response.headers["Allow"] = ", ".join(methods)
                return response
            try:
                check_access(request)
                return view(request, *args, **kwargs)
            except ApiError as error:
                return error.response()

        return answer

    return decorate


def check_access(request: HttpRequest) -> None:
    """Whether this request may read, or change, its kitchen's menus."""
    if not request.user.is_authenticated:
        raise ApiError(401, "not_signed_in", _("Sign in first."))
    if request.user.sppg_id is None:
        raise ApiError(403, "no_kitchen", _("You belong to no kitchen."))
    if request.method not in {"GET", "HEAD"} and not request.user.may_plan_menus:
        raise ApiError(403, "not_allowed", _("Only the head of the kitchen and the nutritionists change menus."))


def body_of(request: HttpRequest) -> dict[str, Any]:
    """The request's JSON object."""
    if request.content_type != "application/json":
        raise ApiError(415, "not_json", _("Send the body as application/json."))
    try:
        body = json.loads(request.body)
    except ValueError:
        raise ApiError(400, "bad_json", _("The body is not JSON.")) from None
    if not isinstance(body, dict):
        raise ApiError(400, "bad_json", _("The body must be an object."))
    wrong = {name: problem for name, value in body.items() if (problem := problem_of(name, value))}
    if wrong:
        raise ApiError(422, "invalid", _("Some fields are not valid."), wrong)
    return body


def problem_of(name: str, value: Any) -> list[dict[str, str]]:
    """What is wrong with the kind of a field's value: forms are made for text, and JSON holds more."""
    if name not in KINDS:
        return [{"code": "unknown", "message": _("There is no such field.")}]
    kind = KINDS[name]
    # True is an int for Python.
    if not isinstance(value, kind) or isinstance(value, bool):
        return [{"code": "kind", "message": _("This field takes another kind of value.")}]
    if isinstance(value, list) and not all(type(item) is int for item in value):
        return [{"code": "kind", "message": _("This field takes a list of numbers.")}]
    return []


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the name of its key that API users expect."""
    return {"id": row["pk"], **{key: value for key, value in row.items() if key != "pk"}}


def find_menu(pk: int) -> Menu:
    """A menu of the kitchen in force."""
    try:
        return Menu.here.prefetch_related("dishes").get(pk=pk)
    except Menu.DoesNotExist:
        raise ApiError(404, "not_found", _("There is no such menu.")) from None


def save(data: dict[str, Any], menu: Menu | None = None) -> Menu:
    """Validate as the page does, and save the row with its dishes in one transaction."""
    form = MenuForm(data, instance=menu)
    if not form.is_valid():
        raise ApiError(422, "invalid", _("Some fields are not valid."), form.errors.get_json_data())
    with transaction.atomic():
        return find_menu(form.save().pk)


@endpoint("GET", "HEAD", "POST")
def menus(request: HttpRequest) -> HttpResponse:
    """``GET``: the kitchen's menus, ``?status=active`` for some. ``POST``: plan one, 201."""
    if request.method == "POST":
        menu = save({"status": Menu.Status.DRAFT, **body_of(request)})
        response = JsonResponse(as_json(row_of(menu)), status=201)
        response.headers["Location"] = resolve_url("api-menu", menu.pk)
        return response
    status = request.GET.get("status", "")
    if status and status not in Menu.Status.values:
        raise ApiError(400, "bad_status", _("The status is one of: %s.") % ", ".join(Menu.Status.values))
    with measured() as reading:
        rows = menu_rows(status)
    response = JsonResponse({"count": len(rows), "menus": [as_json(row) for row in rows]})
    response.headers["X-Source"] = "cache" if reading.from_cache else "database"
    return response


@endpoint("GET", "HEAD", "PATCH")
def menu(request: HttpRequest, pk: int) -> HttpResponse:
    """``GET``: one menu. ``PATCH``: change the fields that are sent."""
    found = find_menu(pk)
    if request.method == "PATCH":
        before = model_to_dict(found, fields=MenuForm.Meta.fields)
        before["dishes"] = [dish.pk for dish in before["dishes"]]
        found = save(before | body_of(request), found)
    return JsonResponse(as_json(row_of(found)))
