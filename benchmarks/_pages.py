"""The two pages that every engine serves: one reads the session, one writes it. The user, who is SQL, is not asked."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

BACKEND = "django.contrib.auth.backends.ModelBackend"
DATA = {"language": "id", "cart": [{"menu": 17, "portions": 120}, {"menu": 23, "portions": 80}], "visits": 0}


def sign_in(request: HttpRequest) -> HttpResponse:
    """Before anything is measured."""
    from django.contrib.auth import login
    from django.contrib.auth.models import User

    login(request, User.objects.create(username=request.GET["name"]), backend=BACKEND)
    request.session.update(DATA)
    return HttpResponse("in")


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


urlpatterns = [
    path("sign-in", sign_in),
    path("read", read),
    path("write", write),
    path("aread", aread),
    path("awrite", awrite),
]
