"""What a benchmark found: one line for each thing that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Figure = float | int | str | None


@dataclass(frozen=True)
class Report:
    """`rows`: name of what was measured -> figures, in the order of `columns`. None: does not apply."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Figure]]

    def text(self) -> str:
        lines = [["", *self.columns], *([name, *map(shown, row)] for name, row in self.rows.items())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join([self.title, "", *(_line(line, widths) for line in lines)])

    def figures(self) -> dict[str, dict[str, Figure]]:
        return {
            name: dict(zip(self.columns, map(_rounded, row), strict=True)) for name, row in self.rows.items()
        }


def shown(figure: Figure) -> str:
    if figure is None:
        return "-"
    return f"{figure:.3f}" if isinstance(figure, float) else str(figure)


def _rounded(figure: Figure) -> Figure:
    return round(figure, 4) if isinstance(figure, float) else figure


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if index else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
