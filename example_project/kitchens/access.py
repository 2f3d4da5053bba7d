"""Who may see a page: only somebody who is signed in at a kitchen, and then only that kitchen's rows."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.mixins import AccessMixin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from django.views.generic import ListView

from bergizi_redis.cache.queries import cache_query
from kitchens.models import KitchenOwned

View = Callable[..., HttpResponse]


def require_kitchen(request: HttpRequest) -> None:
    """``PermissionDenied`` for the network's own staff, who belong to no kitchen."""
    if request.user.sppg_id is None:
        raise PermissionDenied(_("You belong to no kitchen. The network's own staff works in the admin."))


def kitchen_page(view: View) -> View:
    """Decorator: sign in first; 403 without a kitchen."""

    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        require_kitchen(request)
        return view(request, *args, **kwargs)

    return page


class KitchenList(AccessMixin, ListView):
    """A page with rows of the signed-in kitchen: ``model`` names what, ``related`` what to load along."""

    model: type[KitchenOwned]
    related: tuple[str, ...] = ()
    prefetched: tuple[str, ...] = ()
    paginate_by = 50

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Sign in first; 403 without a kitchen."""
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        require_kitchen(request)
        return super().dispatch(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Any]:
        """Only rows of the kitchen in force, from the cache until somebody writes one of the tables."""
        return cache_query(self.model.here.select_related(*self.related).prefetch_related(*self.prefetched))
