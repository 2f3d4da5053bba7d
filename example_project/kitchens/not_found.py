"""The site's own "not found" page, with DEBUG on as well, where Django's would show a visitor the URLconf."""

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render


class NotFoundPage:
    """Middleware: a view's ``Http404`` becomes ``404.html``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Only ``Http404``; everything else is Django's."""
        return render(request, "404.html", status=404) if isinstance(exception, Http404) else None
