"""What a benchmark found: figures, some of which have a goal, and tables of what they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, le, lt
from typing import Any

Value = float | int | str | None
_RULES = {"at least": ge, "at most": le, "below": lt}


@dataclass(frozen=True)
class Goal:
    """`rule`: at least, at most, below."""

    rule: str
    bound: float

    def met(self, value: Value) -> bool:
        return not isinstance(value, str | None) and bool(_RULES[self.rule](value, self.bound))

    def __str__(self) -> str:
        return f"{self.rule} {self.bound:g}"


def at_least(bound: float) -> Goal:
    return Goal("at least", bound)


def at_most(bound: float) -> Goal:
    return Goal("at most", bound)


def below(bound: float) -> Goal:
    return Goal("below", bound)


@dataclass(frozen=True)
class Figure:
    """`name` has the unit, where there is one. None: it does not apply."""

    name: str
    value: Value
    goal: Goal | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return "" if self.goal is None else "met" if self.goal.met(self.value) else "missed"

    def data(self) -> dict[str, Any]:
        goal = str(self.goal) if self.goal else None
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "goal": goal,
            "verdict": self.verdict or None,
            "note": self.note,
        }

    def cells(self) -> list[str]:
        return [shown(self.value), str(self.goal or ""), self.verdict, self.note]


@dataclass(frozen=True)
class Table:
    """`rows`: name of what was measured -> values, in the order of `columns`. None: does not apply."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Value]]

    def text(self) -> str:
        rows = {name: [*map(shown, row)] for name, row in self.rows.items()}
        columns = enumerate(zip(*self.rows.values(), strict=True), 1)
        texts = [place for place, values in columns if all(isinstance(value, str) for value in values)]
        return _aligned(self.title, self.columns, rows, left=texts)

    def data(self) -> dict[str, dict[str, Value]]:
        return {
            name: dict(zip(self.columns, map(_rounded, row), strict=True)) for name, row in self.rows.items()
        }


@dataclass(frozen=True)
class Report:
    title: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()

    def text(self) -> str:
        return "\n\n".join(self._parts())

    def _parts(self) -> Iterator[str]:
        if self.figures:
            rows = {figure.name: figure.cells() for figure in self.figures}
            yield _aligned(self.title, ("", "goal", "", "note"), rows, left=(2, 3, 4))
        yield from (table.text() for table in self.tables)

    def data(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "figures": [figure.data() for figure in self.figures],
            "tables": {table.title: table.data() for table in self.tables},
        }


def shown(value: Value) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _rounded(value: Value) -> Value:
    return round(value, 4) if isinstance(value, float) else value


def _aligned(
    title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], left: Sequence[int] = ()
) -> str:
    """`left`: columns that begin at their left edge, beside the first."""
    lines = [["", *columns], *([name, *row] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join([title, "", *(_line(line, widths, {0, *left}) for line in lines)])


def _line(cells: Sequence[str], widths: Sequence[int], left: set[int]) -> str:
    padded = (
        cell.ljust(width) if index in left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
