"""How values look on the pages."""

from typing import Any

from django import template

register = template.Library()


@register.filter
def label(value: str, labels: dict[str, str]) -> str:
    """The translated label of a stored choice."""
    return labels.get(value, value)


@register.filter
def share(part: float, whole: float) -> float:
    """``part`` in percent of ``whole``; 0 when there is no whole."""
    return float(part) / float(whole) * 100 if whole else 0.0


@register.inclusion_tag("kitchens/strip.html")
def source_strip(reading: Any) -> dict[str, Any]:
    """The strip that tells where a page's data came from."""
    return {"reading": reading}


@register.inclusion_tag("menus/energy_bar.html")
def energy_bar(nutrition: dict[str, float]) -> dict[str, Any]:
    """Where the energy comes from: protein and carbohydrate 4 kcal/g, fat 9 kcal/g (Atwater factors)."""
    parts = [
        ("protein", float(nutrition["protein_g"]) * 4),
        ("fat", float(nutrition["fat_g"]) * 9),
        ("carbohydrate", float(nutrition["carbohydrate_g"]) * 4),
    ]
    whole = sum(kcal for _, kcal in parts) or 1.0
    bars, x = [], 0.0
    for name, kcal in parts:
        width = kcal / whole * 100
        # str(), because the template would write 12,5 in Indonesian, which SVG does not read.
        bars.append({"name": name, "x": str(round(x, 2)), "width": str(round(width, 2)), "percent": round(width)})
        x += width
    return {"bars": bars}
