"""Dishes with their ingredients and nutrition, and the menus made of them."""

from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import KitchenOwned


class Nutrition(models.Model):
    """Nutrition of one portion."""

    energy_kcal = models.DecimalField(_("Energy (kcal)"), max_digits=6, decimal_places=1, default=Decimal(0))
    protein_g = models.DecimalField(_("Protein (g)"), max_digits=5, decimal_places=1, default=Decimal(0))
    fat_g = models.DecimalField(_("Fat (g)"), max_digits=5, decimal_places=1, default=Decimal(0))
    carbohydrate_g = models.DecimalField(_("Carbohydrate (g)"), max_digits=5, decimal_places=1, default=Decimal(0))
    fibre_g = models.DecimalField(_("Fibre (g)"), max_digits=5, decimal_places=1, default=Decimal(0))

    class Meta:
        abstract = True


NUTRIENTS = {
    "energy_kcal": _("Energy (kcal)"),
    "protein_g": _("Protein (g)"),
    "fat_g": _("Fat (g)"),
    "carbohydrate_g": _("Carbohydrate (g)"),
    "fibre_g": _("Fibre (g)"),
}


class Dish(KitchenOwned, Nutrition):
    """Something that is cooked. Its nutrition is per portion."""

    class Course(models.TextChoices):
        """Its place on the plate."""

        STAPLE = "staple", _("Staple")
        MAIN = "main", _("Animal protein")
        PLANT = "plant", _("Plant protein")
        VEGETABLE = "vegetable", _("Vegetable")
        FRUIT = "fruit", _("Fruit")

    name = models.CharField(_("name"), max_length=80)
    course = models.CharField(_("course"), max_length=10, choices=Course)

    class Meta:
        verbose_name = _("dish")
        verbose_name_plural = _("dishes")
        ordering = ["course", "name"]
        constraints = [models.UniqueConstraint(fields=["sppg", "name"], name="one_dish_name_per_kitchen")]

    def __str__(self) -> str:
        return self.name


class Ingredient(KitchenOwned):
    """How much of a food goes into one portion of a dish."""

    dish = models.ForeignKey(Dish, models.CASCADE, related_name="ingredients", verbose_name=_("dish"))
    food = models.CharField(_("food"), max_length=60)
    tkpi_code = models.CharField(_("TKPI code"), max_length=8, blank=True)
    grams = models.DecimalField(_("grams"), max_digits=6, decimal_places=1)

    class Meta:
        verbose_name = _("ingredient")
        verbose_name_plural = _("ingredients")
        ordering = ["dish", "-grams"]

    def __str__(self) -> str:
        return f"{self.food} {self.grams} g"


class Menu(KitchenOwned):
    """What a kitchen cooks on a day."""

    class Status(models.TextChoices):
        """How far the plan is."""

        DRAFT = "draft", _("Draft")
        ACTIVE = "active", _("Active")
        DONE = "done", _("Done")

    name = models.CharField(_("name"), max_length=80)
    day = models.DateField(_("day"))
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.DRAFT)
    portions = models.PositiveIntegerField(
        _("portions"), validators=[MinValueValidator(1), MaxValueValidator(10_000)], default=1
    )
    dishes = models.ManyToManyField(Dish, related_name="menus", verbose_name=_("dishes"))
    changed = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("menu")
        verbose_name_plural = _("menus")
        ordering = ["day", "name"]
        indexes = [models.Index(fields=["sppg", "day"])]

    def __str__(self) -> str:
        return self.name
