"""Models of the tests' own: dishes of kitchens, with a proxy, a child table and a subclass that comes late; recipes."""

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from bergizi_redis.cache.queries import CachedQuerySet


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


class Kitchen(models.Model):
    id = models.SlugField(primary_key=True)
    name = models.CharField(max_length=64)

    class Meta:
        app_label = "tests"

    def __str__(self) -> str:
        return self.name


class Remark(models.Model):
    text = models.CharField(max_length=64)
    # Tables of apps without migrations are made first, before that of content types.
    kind = models.ForeignKey(ContentType, models.CASCADE, db_constraint=False)
    row = models.PositiveIntegerField()
    about = GenericForeignKey("kind", "row")

    class Meta:
        app_label = "tests"

    def __str__(self) -> str:
        return self.text


class Recipe(models.Model):
    kitchen = models.ForeignKey(Kitchen, models.CASCADE, related_name="recipes")
    name = models.CharField(max_length=64)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    changed = models.DateTimeField(null=True)
    dishes = models.ManyToManyField(Dish, related_name="recipes")
    remarks = GenericRelation(Remark, "row", "kind")

    plain = models.Manager()
    objects = CachedQuerySet.as_manager()

    class Meta:
        app_label = "tests"
        ordering = ["pk"]
        default_manager_name = "objects"

    def __str__(self) -> str:
        return self.name


class Step(models.Model):
    recipe = models.ForeignKey(Recipe, models.CASCADE, related_name="steps")
    text = models.CharField(max_length=64)

    class Meta:
        app_label = "tests"
        ordering = ["recipe__name", "pk"]

    def __str__(self) -> str:
        return self.text
