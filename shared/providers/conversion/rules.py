"""Ruling lines, and the grids and stacks that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

_TOUCH = 3.0  # points within which two lines meet, or are one
_SHORTEST = 8.0
_MOST = 2000  # more are a drawing


class Rule(NamedTuple):
    """A straight line as a thin box, in points from the bottom left."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def level(self) -> bool:
        return self.right - self.left > self.top - self.bottom


class Span(NamedTuple):
    """A line in one direction: where it stands in the other one, its start and its end."""

    at: float
    start: float
    end: float


@dataclass(frozen=True)
class Grid:
    """Lines that meet. `edges` from left to right, `levels` from top to bottom."""

    horizontals: tuple[Span, ...]
    verticals: tuple[Span, ...]

    @property
    def edges(self) -> list[float]:
        return _distinct(span.at for span in self.verticals)

    @property
    def levels(self) -> list[float]:
        return _distinct(span.at for span in self.horizontals)[::-1]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, bottom, right, top"""
        return (
            min(span.start for span in self.horizontals),
            min(span.at for span in self.horizontals),
            max(span.end for span in self.horizontals),
            max(span.at for span in self.horizontals),
        )

    def divides(self, edge: float, level: float) -> bool:
        """Whether a vertical line at `edge` passes the height `level`."""
        return any(_crosses(span, edge, level) for span in self.verticals)

    def underlines(self, level: float, place: float) -> bool:
        """Whether a horizontal line at `level` passes the place `place`."""
        return any(_crosses(span, level, place) for span in self.horizontals)


def _crosses(span: Span, at: float, place: float) -> bool:
    return abs(span.at - at) <= _TOUCH and span.start - _TOUCH <= place <= span.end + _TOUCH


def _distinct(places: Iterable[float]) -> list[float]:
    """Sorted; those nearer than _TOUCH to the one before them are the same."""
    kept: list[float] = []
    for place in sorted(places):
        if not kept or place - kept[-1] > _TOUCH:
            kept.append(place)
    return kept


def grids(rules: Sequence[Rule]) -> list[Grid]:
    """Every set of lines that meet, and every stack of horizontal lines of equal length that meet none."""
    if len(rules) > _MOST:
        return []
    horizontals = _merged(Span(rule.bottom, rule.left, rule.right) for rule in rules if rule.level)
    verticals = _merged(Span(rule.left, rule.bottom, rule.top) for rule in rules if not rule.level)
    met = list(_components(horizontals, verticals))
    used = {span for grid in met for span in grid.horizontals if grid.verticals}
    return [grid for grid in met if grid.verticals] + list(_stacks([h for h in horizontals if h not in used]))


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Pieces of one line put together; what is still short is no rule."""
    found: list[Span] = []
    for span in _levelled(spans):
        last = found[-1] if found else None
        if last and last.at == span.at and span.start <= last.end + _TOUCH:
            found[-1] = Span(last.at, last.start, max(last.end, span.end))
        else:
            found.append(span)
    return [span for span in found if span.end - span.start >= _SHORTEST]


def _levelled(spans: Iterable[Span]) -> list[Span]:
    """Lines that stand within _TOUCH of one another stand at one place, sorted by it and by their start."""
    levelled: list[Span] = []
    for span in sorted(spans):
        at = levelled[-1].at if levelled and span.at - levelled[-1].at <= _TOUCH else span.at
        levelled.append(span._replace(at=at))
    return sorted(levelled)


def _components(horizontals: Sequence[Span], verticals: Sequence[Span]) -> Iterator[Grid]:
    rest = list(horizontals)
    free = list(verticals)
    while free:
        ups, levels, waiting = {free[0]}, set[Span](), [free.pop(0)]
        while waiting:
            up = waiting.pop()
            new = [level for level in rest if _meet(level, up)]
            rest = [level for level in rest if not _meet(level, up)]
            levels.update(new)
            joined = [other for other in free if any(_meet(level, other) for level in new)]
            free = [other for other in free if other not in joined]
            ups.update(joined)
            waiting += joined
        if levels:
            yield Grid(tuple(sorted(levels)), tuple(sorted(ups)))


def _meet(level: Span, up: Span) -> bool:
    return (
        level.start - _TOUCH <= up.at <= level.end + _TOUCH
        and up.start - _TOUCH <= level.at <= up.end + _TOUCH
    )


def _stacks(horizontals: Sequence[Span]) -> Iterator[Grid]:
    """At least three lines with common ends, one below the other."""
    alike: dict[tuple[int, int], list[Span]] = {}
    for span in horizontals:
        alike.setdefault((round(span.start / _TOUCH), round(span.end / _TOUCH)), []).append(span)
    for stack in alike.values():
        if len(stack) >= 3:
            yield Grid(tuple(stack), ())


def rules_of(points: Sequence[tuple[float, float]]) -> Iterator[Rule]:
    """The level and upright lines of a path; a thin box is one line."""
    lefts, heights = [x for x, _ in points], [y for _, y in points]
    box = Rule(min(lefts), min(heights), max(lefts), max(heights))
    if min(box.right - box.left, box.top - box.bottom) <= _TOUCH:
        yield box
        return
    for (x0, y0), (x1, y1) in pairwise(points):
        if abs(x0 - x1) < 0.5 or abs(y0 - y1) < 0.5:
            yield Rule(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
