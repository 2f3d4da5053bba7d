"""The home page of a kitchen, and what to try in the demonstration."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.forms import SignInForm
from distribution.models import Delivery
from kitchens.access import require_kitchen
from kitchens.command_line import manage_command
from kitchens.measure import measured
from kitchens.overview import overview
from production.models import Batch


def home(request: HttpRequest) -> HttpResponse:
    """The kitchen's day; for a visitor, the front page with the sign-in form."""
    if not request.user.is_authenticated:
        return render(request, "accounts/sign_in.html", {"form": SignInForm(initial=request.GET.dict())})
    require_kitchen(request)
    today = timezone.localdate()
    with measured() as reading:
        day = overview(today)
    delivered = sum(d["portions"] for d in day["deliveries"] if d["status"] == Delivery.Status.DELIVERED)
    planned = sum(m["portions"] for m in day["menus"])
    context = {
        "today": today,
        "day": day,
        "reading": reading,
        "planned": planned,
        "delivered": delivered,
        "batch_labels": dict(Batch.Status.choices),
        "delivery_labels": dict(Delivery.Status.choices),
    }
    return render(request, "kitchens/home.html", context)


def what_to_try(request: HttpRequest) -> HttpResponse:
    """A tour of what the package does here."""
    return render(request, "kitchens/try.html", {"manage": manage_command()})
