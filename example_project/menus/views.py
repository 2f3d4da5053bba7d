"""Pages about menus: the list with its source, one menu, and planning."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from kitchens.access import kitchen_page
from kitchens.measure import measured
from menus.forms import MenuForm
from menus.models import NUTRIENTS, Dish, Menu
from menus.reading import menu_card, menu_rows

# A day's need of a child of 7 to 9 years: AKG 2019, Peraturan Menteri Kesehatan RI No. 28 Tahun 2019.
DAILY_NEED = {"energy_kcal": 1650, "protein_g": 40, "fat_g": 55, "carbohydrate_g": 250, "fibre_g": 23}


@kitchen_page
def menu_list(request: HttpRequest) -> HttpResponse:
    """All menus of the kitchen, or those of one status, and where they were read from."""
    status = request.GET.get("status", "")
    if status not in Menu.Status.values:
        status = ""
    with measured() as reading:
        rows = menu_rows(status)
    context = {
        "rows": rows,
        "reading": reading,
        "status": status,
        "statuses": Menu.Status.choices,
        "labels": dict(Menu.Status.choices),
        "today": timezone.localdate(),
    }
    return render(request, "menus/list.html", context)


@kitchen_page
def menu_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One menu: its plate, its nutrition, and what to buy for all portions."""
    with measured() as reading:
        card = menu_card(pk)
    if card is None:
        raise Http404
    needs = [needed(field, card["nutrition"][field]) for field in NUTRIENTS]
    context = {
        "menu": card,
        "reading": reading,
        "needs": needs,
        "labels": dict(Menu.Status.choices),
        "courses": dict(Dish.Course.choices),
    }
    return render(request, "menus/detail.html", context)


def needed(field: str, value: float) -> dict[str, Any]:
    """A nutrient against the day's need; ``width`` is text, because SVG does not read a decimal comma."""
    need = DAILY_NEED[field]
    return {"label": NUTRIENTS[field], "value": value, "need": need, "width": str(min(100, round(value / need * 100)))}


@kitchen_page
def edit_menu(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Plan a new menu, or change one. 404 for another kitchen's menu, 403 for those who do not plan."""
    menu = None if pk is None else get_object_or_404(Menu.here, pk=pk)
    if not request.user.may_plan_menus:
        raise PermissionDenied(_("Only the head of the kitchen and the nutritionists change menus."))
    initial = {"day": timezone.localdate(), "portions": 100} if menu is None else None
    form = MenuForm(request.POST or None, instance=menu, initial=initial)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():  # the row and its dishes become visible, and the cache stale, in one moment
            saved = form.save()
        messages.success(request, _("“%(menu)s” is saved; the list below is already new.") % {"menu": saved.name})
        return redirect("menus")
    status = 422 if form.is_bound else 200
    return render(request, "menus/edit.html", {"form": form, "menu": menu}, status=status)
