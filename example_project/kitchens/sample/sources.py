"""What the data files in ``kitchens/data`` say, and nutrition computed from it."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "data"
NUTRIENTS = ("energy_kcal", "protein_g", "fat_g", "carbohydrate_g", "fibre_g")


@dataclass(frozen=True, slots=True)
class Food:
    """A food of TKPI 2017, per 100 g of edible weight."""

    code: str
    name: str
    unit: str
    per_100_g: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A dish: grams of each food for one portion."""

    name: str
    course: str
    parts: tuple[tuple[Food, float], ...]

    def nutrition(self) -> dict[str, float]:
        """One portion, rounded to 0.1."""
        return {
            field: round(sum(grams / 100 * food.per_100_g[i] for food, grams in self.parts), 1)
            for i, field in enumerate(NUTRIENTS)
        }


@dataclass(frozen=True, slots=True)
class Region:
    """A regency (Kabupaten) or city (Kota)."""

    slug: str
    regency: str
    province: str
    time_zone: str

    @property
    def place(self) -> str:
        """The name without its kind: "Bandung" of "Kabupaten Bandung"."""
        return self.regency.split(" ", 1)[1]


def read(name: str) -> dict[str, Any]:
    """One of the data files."""
    content: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return content


@cache
def recipes() -> tuple[Recipe, ...]:
    """Every dish."""
    rows = read("foods.json")["foods"]
    foods = {code: Food(code, name, unit, tuple(values)) for code, name, unit, _, *values in rows}
    return tuple(
        Recipe(dish["name"], dish["course"], tuple((foods[code], grams) for code, grams in dish["recipe"]))
        for dish in read("dishes.json")["dishes"]
    )


@cache
def regions() -> tuple[Region, ...]:
    """Every region, in the order in which kitchens are opened."""
    return tuple(Region(*row) for row in read("regions.json")["regions"])


@cache
def local_plates() -> dict[str, list[str]]:
    """A plate typical of a region, by its slug."""
    plates: dict[str, list[str]] = read("regions.json")["local_plates"]
    return plates
