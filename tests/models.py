"""Models of the tests' own: dishes of kitchens, with a proxy, a child table and a subclass that comes late."""

from django.db import models


class Dish(models.Model):
    tenant = models.CharField(max_length=64, default="sppg-a")
    name = models.CharField(max_length=64)

    class Meta:
        app_label = "tests"

    def __str__(self) -> str:
        return self.name


class Special(Dish):
    class Meta:
        app_label = "tests"
        proxy = True


class Packed(Dish):
    weight = models.IntegerField(default=0)

    class Meta:
        app_label = "tests"
