"""Curves as pictures: SVG, written by hand, so that no library has to be installed for three lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 60, 48
STEPS = 5
COLOURS = ("#1b6ca8", "#c8553d", "#2f855a", "#8a5fb0")
_STYLE = "font-family: sans-serif; font-size: 12px; fill: #333"


@dataclass(frozen=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """`x` and `y` say what the axes count. The one to the right is logarithmic: 10, 1,000, 10,000."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]

    def svg(self) -> str:
        return "\n".join(self._elements()) + "\n"

    def _elements(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'width="{WIDTH}" height="{HEIGHT}" style="{_STYLE}">'
        )
        yield f"<title>{escape(self.title)}</title>"
        yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        yield _text(LEFT, TOP - 38, self.title, weight="bold")
        yield from self._grid()
        for index, line in enumerate(self.lines):
            yield from self._line(line, index)
        yield "</svg>"

    def _grid(self) -> Iterator[str]:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        for step in range(STEPS + 1):
            value = self._top * step / STEPS
            y = self._y(value)
            yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
            yield _text(LEFT - 6, y + 4, f"{value:g}", anchor="end")
        for x in self._xs:
            yield f'<path d="M{self._x(x):.1f} {bottom}v5" stroke="#999"/>'
            yield _text(self._x(x), bottom + 18, f"{x:,g}", anchor="middle")
        yield _text((LEFT + right) / 2, HEIGHT - 10, self.x, anchor="middle")
        yield _text(14, TOP - 14, self.y)

    def _line(self, line: Line, index: int) -> Iterator[str]:
        """The first ones are the widest: those that lie upon one another are seen all the same."""
        colour, at, width = (
            COLOURS[index % len(COLOURS)],
            TOP + 16 * index,
            2 + 2 * (len(self.lines) - index - 1),
        )
        places = [(self._x(x), self._y(y)) for x, y in line.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width / 2 + 2:g}" fill="{colour}"/>'
        right = WIDTH - RIGHT + 12
        yield f'<path d="M{right} {at}h14" stroke="{colour}" stroke-width="2"/>'
        yield _text(right + 18, at + 4, line.name)

    @property
    def _xs(self) -> list[float]:
        return sorted({x for line in self.lines for x, _ in line.points})

    @property
    def _top(self) -> float:
        """A round number over all values."""
        highest = max((y for line in self.lines for _, y in line.points), default=0) or 1
        unit = 10 ** int(log10(highest)) if highest >= 1 else 0.1
        return next(n * unit for n in (1, 2, 2.5, 5, 10) if n * unit >= highest)

    def _x(self, x: float) -> float:
        first, last = log10(self._xs[0]), log10(self._xs[-1])
        share = (log10(x) - first) / (last - first) if last > first else 0.5
        return LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24)

    def _y(self, y: float) -> float:
        return HEIGHT - BOTTOM - y / self._top * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f"<text {attributes}>{escape(text)}</text>"
