"""Pieces of text with their boxes, and the rows that they make on a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise

_BOLD = re.compile(r"bold|black|heavy|demi", re.IGNORECASE)
_MARKER = re.compile(r"\W{1,2}|\(?\w{1,3}[.)]")
_CELL_GAP = 1.0  # in heights; words of one line are closer
_NEAR = 50  # lines
_LIGATURE = re.compile("[\ufb00-\ufb06]")
_HYPHENATED = re.compile(r"[^\W\d_]-$")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class Line:
    """A run of text as the file has it. The box is in points, the origin at the bottom left.

    `words`: with boxes of their own, while they are looked at. `spaces`: the narrowest and the widest between
    them, in points. `turn`: degrees against the clock."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    font: str = ""
    words: tuple[Line, ...] = ()
    spaces: tuple[float, float] | None = None
    turn: int = 0

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def turned(self) -> bool:
        """By 90 degrees: its height is the length of its text."""
        return self.turn in {90, 270} or (len(self.text) > 3 and self.height > 1.5 * (self.right - self.left))

    @property
    def bold(self) -> bool:
        return bool(_BOLD.search(self.font))


@dataclass(frozen=True)
class Table:
    """`text`: Markdown."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True)
class Row:
    """Everything on one level that follows in the file. More than one cell: far apart, as in tables."""

    page: int
    cells: tuple[Line, ...]
    table: str = ""
    """Markdown, when the row stands for a whole table."""
    note: bool = False
    """Whether it is part of a footnote."""

    @cached_property
    def text(self) -> str:
        return self.table or " ".join(cell.text for cell in self.cells)

    @cached_property
    def _main(self) -> Line:
        return max(self.cells, key=lambda cell: len(cell.text))

    @cached_property
    def size(self) -> float:
        return self._main.right - self._main.left if self._main.turned else self._main.height

    @cached_property
    def bold(self) -> bool:
        return self._main.bold

    @cached_property
    def left(self) -> float:
        return min(cell.left for cell in self.cells)

    @cached_property
    def right(self) -> float:
        return max(cell.right for cell in self.cells)

    @cached_property
    def bottom(self) -> float:
        return self._main.bottom

    @cached_property
    def top(self) -> float:
        return self._main.top

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def evenly_spaced(self) -> bool:
        """Whether its words are known, and about as far from one another everywhere."""
        cells = sorted(self.cells, key=lambda cell: cell.left)
        gaps = [other.left - one.right for one, other in pairwise(cells)]
        gaps += [space for cell in cells for space in cell.spaces or ()]
        known = all(cell.spaces or " " not in cell.text for cell in cells)
        return known and bool(gaps) and 0 < max(gaps) < 1.5 * min(gaps)

    def flush_with(self, other: Row) -> bool:
        """Whether both begin and end at the same places, one close above the other."""
        gap = max(self.bottom - other.top, other.bottom - self.top)
        near = -0.5 * self.size < gap < 0.8 * self.size
        return near and abs(self.left - other.left) < 3 and abs(self.right - other.right) < 3

    def overlap(self, other: Row) -> float:
        """Width in points that both cover."""
        return min(self.right, other.right) - max(self.left, other.left)


def rows_of(page: int, lines: Iterable[Line]) -> list[Row]:
    rows = list(_rows(page, lines))
    return [_spread_out(rows, index) for index in range(len(rows))]


def _spread_out(rows: Sequence[Row], index: int) -> Row:
    """A justified line is one cell: all its spaces are alike, and it is as wide as a line beside it."""
    row = rows[index]
    beside = (rows[at] for at in (index - 1, index + 1) if 0 <= at < len(rows))
    if len(row.cells) == 1 or not row.evenly_spaced or not any(map(row.flush_with, beside)):
        return row
    return replace(row, cells=(reduce(_joined, row.cells),))


def _rows(page: int, lines: Iterable[Line]) -> Iterator[Row]:
    cells: list[Line] = []
    for line in lines:
        if cells and not _on_one_level(cells[-1], line):
            yield Row(page, tuple(cells))
            cells = []
        if cells and _adjoin(cells[-1], line):
            cells[-1] = _joined(cells[-1], line)
        else:
            cells.append(line)
    if cells:
        yield Row(page, tuple(cells))


def _on_one_level(one: Line, other: Line) -> bool:
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared > 0.5 * min(one.height, other.height)


def _adjoin(one: Line, other: Line) -> bool:
    gap = max(other.left - one.right, one.left - other.right)
    limit = 3.0 if _MARKER.fullmatch(one.text) else _CELL_GAP
    return gap < limit * max(one.height, other.height)


def _joined(one: Line, other: Line) -> Line:
    main = one if len(one.text) >= len(other.text) else other
    glued = abs(other.left - one.right) < 0.1 * main.height or abs(one.left - other.right) < 0.1 * main.height
    space = "" if glued and not other.text[:1].isalnum() else " "
    return Line(
        text=one.text + space + other.text,
        left=min(one.left, other.left),
        bottom=main.bottom,
        right=max(one.right, other.right),
        top=main.top,
        font=one.font if _MARKER.fullmatch(one.text) else main.font,
        turn=main.turn,
    )


def cleaned(text: str) -> str:
    """One line, single spaces, ligatures as letters. Nothing else is normalised: 10² is not 102."""
    text = _LIGATURE.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)
    return " ".join(text.split())


def with_words(lines: Iterable[Line], words: Iterable[Line]) -> list[Line]:
    """The lines with the words that stand in them, and with the boxes of most of their letters.

    A raised mark makes the box of its line higher than its letters are."""
    lines = list(lines)
    words_of: list[list[Line]] = [[] for _ in lines]
    at = 0
    for word in words:
        at = _place(lines, word, at)
        if at < len(lines) and _holds(lines[at], word):
            words_of[at].append(word)
    return [_fitted(line, found) for line, found in zip(lines, words_of, strict=True)]


def _place(lines: Sequence[Line], word: Line, at: int) -> int:
    """The line that holds the word. Both are in the file's order, so it is seldom searched for."""
    around = range(max(0, at - _NEAR), min(len(lines), at + _NEAR))
    return next((i for i in (at, at + 1, *around) if i < len(lines) and _holds(lines[i], word)), at)


def _holds(line: Line, word: Line) -> bool:
    x, y = (word.left + word.right) / 2, (word.bottom + word.top) / 2
    return line.left <= x <= line.right and line.bottom <= y <= line.top


def _fitted(line: Line, words: Sequence[Line]) -> Line:
    if not words or line.turned:
        return line
    main = _most(words)
    return replace(line, bottom=main.bottom, top=main.top, words=tuple(words), spaces=_spaces(words))


def _spaces(words: Sequence[Line]) -> tuple[float, float] | None:
    ordered = sorted(words, key=lambda word: word.left)
    gaps = [other.left - one.right for one, other in pairwise(ordered)]
    return (min(gaps), max(gaps)) if gaps else None


def _most(words: Sequence[Line]) -> Line:
    """One of the words of the height that most letters have."""
    letters: dict[int, int] = {}
    for word in words:
        letters[round(word.height * 2)] = letters.get(round(word.height * 2), 0) + len(word.text)
    usual = max(letters, key=lambda height: letters[height])
    return next(word for word in words if round(word.height * 2) == usual)


def upright(width: float, height: float, lines: Sequence[Line]) -> tuple[int, list[Line]]:
    """The lines of a page that most text runs up or down on, as they are read; with the turn of the page."""
    letters = {turn: sum(len(line.text) for line in lines if line.turn == turn) for turn in (90, 270)}
    turn = max(letters, key=lambda turn: letters[turn])
    if letters[turn] * 2 <= sum(len(line.text) for line in lines):
        return 0, list(lines)
    return turn, [turned_back(line, turn, width, height) for line in lines]


def turned_back(line: Line, turn: int, width: float, height: float) -> Line:
    if not turn:
        return line
    left, bottom, right, top = turned_box((line.left, line.bottom, line.right, line.top), turn, width, height)
    words = tuple(turned_back(word, turn, width, height) for word in line.words)
    back = (line.turn - turn) % 360
    return replace(line, left=left, bottom=bottom, right=right, top=top, words=words, turn=back)


def turned_box(
    box: tuple[float, float, float, float], turn: int, width: float, height: float
) -> tuple[float, float, float, float]:
    """left, bottom, right, top on the page turned back by `turn` degrees; the sizes are those before it."""
    left, bottom, right, top = box
    if turn == 90:
        return bottom, width - right, top, width - left
    if turn == 270:
        return height - top, left, height - bottom, right
    return box


def joined_text(lines: Sequence[str]) -> str:
    """Lines as running text. A hyphen at a line's end goes when the word does go on."""
    return "".join(_parts(lines)) if lines else ""


def _parts(lines: Sequence[str]) -> Iterator[str]:
    for line, following in pairwise(lines):
        if line.endswith("\u00ad") or (_HYPHENATED.search(line[-2:]) and following[:1].islower()):
            yield line[:-1]
        else:
            yield line
            yield "" if _CJK.match(line[-1:]) and _CJK.match(following) else " "
    yield lines[-1]
