"""Every address of the example."""

from django.contrib import admin
from django.urls import include, path

from accounts import views as accounts
from distribution.views import DeliveryList
from hrd.views import StaffList
from inventory.views import StockList
from kitchens import views as kitchens
from menus import api
from menus import views as menus
from procurement.views import OrderList
from production.views import BatchList

urlpatterns = [
    path("", kitchens.home, name="home"),
    path("try/", kitchens.what_to_try, name="try"),
    path("sign-in/", accounts.sign_in, name="sign-in"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
    path("devices/", accounts.devices, name="devices"),
    path("devices/end-others/", accounts.end_others, name="end-others"),
    path("devices/<str:public_id>/end/", accounts.end_device, name="end-device"),
    path("people/", accounts.people, name="people"),
    path("people/<str:public_id>/end/", accounts.end_session, name="end-session"),
    path("menus/", menus.menu_list, name="menus"),
    path("menus/new/", menus.edit_menu, name="menu-new"),
    path("menus/<int:pk>/", menus.menu_detail, name="menu"),
    path("menus/<int:pk>/edit/", menus.edit_menu, name="menu-edit"),
    path("procurement/", OrderList.as_view(), name="procurement"),
    path("production/", BatchList.as_view(), name="production"),
    path("inventory/", StockList.as_view(), name="inventory"),
    path("distribution/", DeliveryList.as_view(), name="distribution"),
    path("staff/", StaffList.as_view(), name="staff"),
    path("api/menus/", api.menus, name="api-menus"),
    path("api/menus/<int:pk>/", api.menu, name="api-menu"),
    path("language/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]
