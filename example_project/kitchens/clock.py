"""Indonesia has three time zones: pages show the time of the signed-in kitchen."""

import zoneinfo
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone


def kitchen_clock(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: activate the kitchen's time zone for the request. Place it behind the tenant's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        kitchen = getattr(request.user, "sppg", None)
        if kitchen is None:
            return get_response(request)
        with timezone.override(zoneinfo.ZoneInfo(kitchen.time_zone)):
            return get_response(request)

    return middleware
