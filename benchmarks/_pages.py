"""The two pages that every engine serves: one reads the session, one writes it. The user, who is SQL, is not asked."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.session['language']} {len(request.session['cart'])}")


def write(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse("ok")


async def aread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{await request.session.aget('language')} {len(await request.session.aget('cart'))}")


async def awrite(request: HttpRequest) -> HttpResponse:
    await request.session.aset("visits", await request.session.aget("visits", 0) + 1)
    return HttpResponse("ok")


urlpatterns = [path("read", read), path("write", write), path("aread", aread), path("awrite", awrite)]
