"""What docling-parse found on a page, as lines of text and tables, turned so that the text is upright.

Words and shapes are read from its decoder, which has no public name: as Python objects the words of 500
pages take longer than all the rest, and the shapes of a map take gigabytes. Where the decoder is not to be
had, lines have no words and pages no rules: tables and raised marks are then found less well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from shared.providers.conversion.lines import (
    Line,
    Table,
    cleaned,
    turned_back,
    turned_box,
    upright,
    with_words,
)
from shared.providers.conversion.rules import Rule, rules_of
from shared.providers.conversion.tables import need_words, with_tables

_MOST_SHAPES = 4000  # more are a drawing


def marks_of(result: Any, cells: Iterable[Any]) -> tuple[float, list[Line | Table]]:
    """Height of the page; lines and tables. `cells`: the lines as docling-parse gives them."""
    decoder = getattr(result, "_page_decoder", None)
    width, height = result.page_width, result.page_height
    turn, lines = upright(width, height, [line for cell in cells if (line := _line(cell.rect, cell))])
    if decoder is None:
        return width if turn else height, with_tables(lines, ())
    rules = [Rule(*turned_box(rule, turn, width, height)) for rule in _rules(decoder.get_page_shapes())]
    if need_words(lines, rules):
        words = (word for cell in _all(decoder.get_word_cells()) if (word := _line(cell, cell)))
        lines = with_words(lines, (turned_back(word, turn, width, height) for word in words))
    # Only the lines are kept: the words of 5,000 pages would take gigabytes.
    found = [
        replace(item, words=()) if isinstance(item, Line) else item for item in with_tables(lines, rules)
    ]
    return width if turn else height, found


def _all(container: Any) -> Iterator[Any]:
    return (container[index] for index in range(len(container)))


def _line(box: Any, cell: Any) -> Line | None:
    """None without text. `box`: four corners, the first two along the foot of the text."""
    text = cleaned(cell.text)
    if not text:
        return None
    x0, y0, x1, y1, x2, y2 = box.r_x0, box.r_y0, box.r_x1, box.r_y1, box.r_x2, box.r_y2
    left, right, bottom, top = min(x0, x1, x2), max(x0, x1, x2), min(y0, y1, y2), max(y0, y1, y2)
    turn = 0 if abs(x1 - x0) >= abs(y1 - y0) else 90 if y1 > y0 else 270
    return Line(text, left, bottom, right, top, cell.font_name, turn=turn)


def _rules(shapes: Any) -> Iterator[Rule]:
    if len(shapes) > _MOST_SHAPES:
        return
    for shape in _all(shapes):
        xs, ys, ends = shape.get_x(), shape.get_y(), shape.get_i()
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            if end - start > 1:
                yield from rules_of(list(zip(xs[start:end], ys[start:end], strict=True)))
