"""The kitchen's day at a glance: one cached value, so the home page costs one read of the cache."""

import datetime
from typing import Any

from django.utils import timezone

from bergizi_redis.cache.decorators import cached
from distribution.models import Delivery
from inventory.models import StockItem
from menus.models import Menu
from menus.reading import row_of
from production.models import Batch


@cached(timeout=300, tags=["menus", "stock", "batches", "deliveries"], per_tenant=True)
def overview(day: datetime.date) -> dict[str, Any]:
    """Today's menus, articles running low, batches and deliveries of the kitchen in force."""
    menus = Menu.here.filter(day=day).exclude(status=Menu.Status.DRAFT).prefetch_related("dishes")
    stock = list(StockItem.here.all())
    return {
        "menus": [row_of(menu) for menu in menus],
        "low": [
            {"article": item.article, "quantity": item.quantity, "minimum": item.minimum, "unit": item.unit}
            for item in stock
            if item.is_low
        ],
        "articles": len(stock),
        "batches": [
            {"code": batch.code, "menu": batch.menu.name, "portions": batch.portions, "status": batch.status}
            for batch in Batch.here.filter(menu__day=day).select_related("menu").order_by("started")
        ],
        "deliveries": [
            {"school": d.school.name, "leaves": d.leaves, "portions": d.portions, "status": d.status}
            for d in Delivery.here.select_related("school").order_by("leaves")
            if timezone.localdate(d.leaves) == day
        ],
    }
