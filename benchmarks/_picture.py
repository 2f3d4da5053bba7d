"""Draws the results as one SVG: bars for what a hit, a query and an invalidation cost, lines for what grows.

A card of its own with its own background, light or dark as the reader's system asks; plain text, no script.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

WIDTH, PANEL, GAP, LEFT, ROW = 1180, 560, 30, 205, 25
STYLE = """
svg { color-scheme: light dark; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
.card { fill: #ffffff; stroke: #d8dee4; } text { fill: #1f2328; } .dim { fill: #59636e; }
.head { font-size: 15px; font-weight: 600; } .grid { stroke: #d8dee4; }
.ours { fill: #0e7c66; } .other { fill: #b4bcc6; } .mine { font-weight: 600; }
.o0 { color: #b4690e; } .o1 { color: #6e7781; } .o2 { color: #8250df; } .o3 { color: #bf3989; }
.m0 { color: #0e7c66; } .m1 { color: #2da44e; } .m2 { color: #0969da; } text.line { fill: currentColor; }
polyline { fill: none; stroke: currentColor; stroke-width: 2.5; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117; stroke: #3d444d; } text { fill: #f0f6fc; } .dim { fill: #9198a1; }
.grid { stroke: #3d444d; } .ours { fill: #2fbf9b; } .other { fill: #59636e; }
.o0 { color: #e0924a; } .o1 { color: #9198a1; } .o2 { color: #ab7df8; } .o3 { color: #e275ad; }
.m0 { color: #2fbf9b; } .m1 { color: #7ee787; } .m2 { color: #58a6ff; } }
"""


@dataclass(slots=True)
class Canvas:
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, kind: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 2):.1f}" height="15" rx="3" class="{kind}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{told}" class="{kind}"/>')

    def rule(self, x1: float, x2: float, y: float) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')


def is_ours(name: str) -> bool:
    return name.startswith("bergizi_redis") or name == "one tag"


def told(value: float, unit: str) -> str:
    """Three digits and a unit that people read: 2.5 µs, 190 ms."""
    if unit == "µs" and value >= 1000:
        value, unit = value / 1000, "ms"
    return f"{value:,.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def bars(canvas: Canvas, x: float, y: float, title: str, note: str, rows: Mapping[str, float], log: bool) -> float:
    """Horizontal bars in the order of their length; returns where the panel ends."""
    canvas.text(x, y, title, "head")
    canvas.text(x, y + 19, note, "dim")
    y += 30
    most, least = max(rows.values()), min(rows.values())
    scale: Callable[[float], float] = lambda value: value / most  # noqa: E731
    if log:
        low = math.log10(least) - 0.5
        scale = lambda value: (math.log10(value) - low) / (math.log10(most) - low)  # noqa: E731
    for name, value in sorted(rows.items(), key=lambda row: row[1]):
        canvas.text(x + LEFT - 8, y + 12, name, "mine" if is_ours(name) else "", "end")
        length = scale(value) * (PANEL - LEFT - 75)
        canvas.bar(x + LEFT, y, length, "ours" if is_ours(name) else "other")
        canvas.text(x + LEFT + length + 6, y + 12, told(value, "µs"), "dim")
        y += ROW
    return y


def curves(
    canvas: Canvas, x: float, y: float, title: str, note: str, heads: Sequence[str], rows: Mapping[str, Sequence[float]]
) -> float:
    """Lines over named places, on a logarithmic scale, with their names at the right end."""
    canvas.text(x, y, title, "head")
    canvas.text(x, y + 19, note, "dim")
    top, height, left, right = y + 40, 200.0, x + 60, x + PANEL - 190
    values = [value for row in rows.values() for value in row]
    low, high = math.floor(math.log10(min(values)) * 2) / 2, math.ceil(math.log10(max(values)) * 2) / 2

    def at(value: float) -> float:
        return top + height * (high - math.log10(value)) / max(high - low, 0.5)

    for mark in range(math.ceil(low), math.floor(high) + 1):
        canvas.rule(left, right, at(10**mark))
        canvas.text(left - 8, at(10**mark) + 4, f"{10**mark:,}" if mark >= 0 else f"{10**mark:g}", "dim", "end")
    step = (right - left) / max(1, len(heads) - 1)
    for place, head in enumerate(heads):
        canvas.text(left + place * step, top + height + 20, head, "dim", "middle")
    last, seen = -math.inf, {"m": 0, "o": 0}
    for name, row in sorted(rows.items(), key=lambda item: -item[1][-1]):
        whose = "m" if is_ours(name) else "o"
        kind = f"{whose}{seen[whose] % (3 if whose == 'm' else 4)}"
        seen[whose] += 1
        canvas.line([(left + place * step, at(value)) for place, value in enumerate(row)], kind)
        last = max(at(row[-1]) + 4, last + 15)  # names do not cover one another
        canvas.text(right + 8, last, name, f"line {kind}" + (" mine" if whose == "m" else ""))
    return top + height + 30


def drawn(found: Sequence[Mapping[str, Any]], about: str) -> str:
    """The picture of what a run has recorded; what was not run is left out."""
    tables = {result["table"]: result for result in found if "table" in result}
    canvas, places = Canvas(), [46.0, 46.0]

    def panel(side: int, title: str, note: str, name: str, log: bool = False) -> None:
        table = tables.get(name)
        if table is None:
            return
        x = GAP + side * (PANEL + GAP / 2)
        if "heads" in table:
            ended = curves(canvas, x, places[side], title, note, table["heads"], table["rows"])
        else:
            ended = bars(canvas, x, places[side], title, note, table["rows"], log)
        places[side] = ended + 28

    panel(0, "A cache hit", "100 bytes, one thread; shorter is better", "A hit of 100 bytes")
    panel(1, "A cached query", "20 of 20,000 rows", "A query that finds 20 of 20,000 rows")
    panel(1, "Voiding 100,000 entries", "logarithmic scale", "Voiding 100,000 entries", log=True)
    panel(
        0,
        "Reading through the cache",
        "µs a read by hit ratio in %; computing takes 1 ms",
        "Read, computing takes 1 ms",
    )
    panel(1, "Hits a second", "by number of threads in one process", "Hits by threads")
    height = max(places) + 14
    canvas.text(GAP, height - 16, about, "dim")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" role="img">'
        f"<title>Benchmarks of bergizi_redis beside its peers</title><style>{STYLE}</style>"
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="10" class="card"/>'
        + "\n".join(canvas.parts)
        + "</svg>\n"
    )
