"""Curves as pictures: SVG by matplotlib, which only `make bench` installs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (7, 3.5)


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
        """The same bytes for the same values."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context({"svg.hashsalt": self.title}):
            figure, file = Figure(INCHES, layout="constrained"), io.StringIO()
            self._draw(figure.subplots())
            figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()

    def _draw(self, axes: Axes) -> None:
        for index, line in enumerate(self.lines):
            # The first ones are the widest: those that lie upon one another are seen all the same.
            width = 2 * (len(self.lines) - index)
            axes.plot(*zip(*line.points, strict=True), "o-", label=line.name, linewidth=width)
        ticks = sorted({x for line in self.lines for x, _ in line.points})
        axes.set(title=self.title, xlabel=self.x, ylabel=self.y, xscale="log")
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
