"""Lines of text with their boxes become paragraphs, headings, lists and tables: by geometry, without models.

The order of the file is kept. It reads two-column pages rightly, and every reordering that was tried ruined
right-to-left pages or tables.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from shared.documents import Block
from shared.providers.conversion.furniture import without_furniture
from shared.providers.conversion.lines import Line, Row, Table, joined_text, rows_of
from shared.providers.conversion.notes import starts_note, with_notes
from shared.providers.conversion.tables import with_tables

_HEADING_SIZE = 1.18
_SAME_SIZE = 1.18  # a superscript makes the box of its line this much higher
_HEADING_LINES = 3
_HEADING_CHARACTERS = 160
_LEVELS = 6

_BULLET = re.compile(r"[•▪◦‣●○∙·■□➢✓*\u2013-]\s+(?=\S)")
_SIGN = re.compile(r"[^\d\s]|[A-Za-z]{1,3}\d{2,}")
_NUMBER = re.compile(r"\(?(\d{1,3}|[a-z])[.)]\s+\S")
_LEADERS = re.compile(r"(\s?[.·…]){4,}\s*")
_SENTENCE_END = tuple(".!?:;\u3002\uff01\uff1f\u300d\u061f")


@dataclass(frozen=True)
class _Scale:
    """What is usual in this document. `gap`: points between two lines of a paragraph. `bullets`: by font."""

    body: float
    gap: float
    bold_body: bool
    bullets: Mapping[str, str]


def blocks_of(
    pages: Mapping[int, tuple[float, Sequence[Line | Table]]], searched: Container[int] = ()
) -> Iterator[Block]:
    """`pages`: page number -> (height of the page, its lines in the file's order, and tables among them).

    `searched`: pages whose tables were found already."""
    rows = [
        row
        for page, items in without_furniture(pages).items()
        for row in _rows(page, items if page in searched else with_tables(items, ()))
    ]
    if not rows:
        return
    scale = _scale(rows)
    groups = list(_noted(_groups(with_notes(rows, scale.body), scale)))
    levels = _levels([group for group in groups if _is_heading(group, scale)], scale)
    for group in groups:
        yield _block(group, scale, levels)


def _rows(page: int, items: Sequence[Line | Table]) -> Iterator[Row]:
    for is_table, run in groupby(items, key=lambda item: isinstance(item, Table)):
        if is_table:
            yield from (_table_row(page, item) for item in run if isinstance(item, Table))
        else:
            yield from rows_of(page, [item for item in run if isinstance(item, Line)])


def _table_row(page: int, table: Table) -> Row:
    return Row(page, (Line("", table.left, table.bottom, table.right, table.top),), table.text)


def _scale(rows: Sequence[Row]) -> _Scale:
    sizes: Counter[float] = Counter()
    bold = 0
    text = [row for row in rows if not row.table] or rows
    for row in text:
        sizes[round(row.size * 2) / 2] += len(row.text)
        bold += len(row.text) if row.bold else 0
    body = sizes.most_common(1)[0][0] or 1.0
    gaps = [upper.bottom - lower.top for upper, lower in pairwise(text) if _stacked(upper, lower, body)]
    usual = statistics.quantiles(gaps, n=4)[0] if len(gaps) > 3 else body * 0.3
    return _Scale(body, max(usual, 0.0), bold * 2 > sum(sizes.values()), _bullets(text))


def _bullets(rows: Iterable[Row]) -> dict[str, str]:
    """Fonts of signs that decode to a letter or a glyph's name: every row that begins in one begins alike."""
    begins: dict[str, Counter[str]] = {}
    for row in rows:
        begins.setdefault(row.cells[0].font, Counter())[row.text.split(" ", 1)[0]] += 1
    return {
        font: token
        for font, counts in begins.items()
        for token, count in counts.items()
        if len(counts) == 1 and count > 2 and _SIGN.fullmatch(token)
    }


def _stacked(upper: Row, lower: Row, body: float) -> bool:
    gap = upper.bottom - lower.top
    return upper.page == lower.page and -0.5 * body < gap < 1.5 * body and upper.overlap(lower) > 0


def _groups(rows: Iterable[Row], scale: _Scale) -> Iterator[list[Row]]:
    """Rows that are one paragraph, one heading or one table."""
    group: list[Row] = []
    for row in rows:
        if group and not _belongs(group, row, scale):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _belongs(group: Sequence[Row], row: Row, scale: _Scale) -> bool:
    last = group[-1]
    if last.page != row.page or last.table or row.table or last.note != row.note:
        return False
    return not starts_note(row, last) if row.note else _continues(group, row, scale)


def _continues(group: Sequence[Row], row: Row, scale: _Scale) -> bool:
    last = group[-1]
    if len(last.cells) > 1 or len(row.cells) > 1:
        return _continues_table(group, row)
    if not _stacked(last, row, max(last.size, row.size)) or _starts_item(row, scale):
        return False
    if last.bottom - row.top > max(scale.gap * 1.35 + 1, 0.55 * min(last.size, row.size)):
        return False
    if max(last.size, row.size) > _SAME_SIZE * min(last.size, row.size):
        return False
    return _same_weight(last, row) and not _paragraph_ends(last, row, len(group) == 1)


def _continues_table(group: Sequence[Row], row: Row) -> bool:
    last = group[-1]
    near = last.bottom - row.top < 2.5 * max(last.size, row.size) and row.top < last.top
    return len(last.cells) > 1 and len(row.cells) > 1 and near


def _same_weight(last: Row, row: Row) -> bool:
    """A paragraph may begin in bold: then its first line is as long as the others."""
    return last.bold == row.bold or (last.bold and last.right >= row.right - 2 * row.size)


def _paragraph_ends(last: Row, row: Row, first: bool) -> bool:
    if not last.text.endswith(_SENTENCE_END):
        return False
    word = row.width * len(row.text.split(" ", 1)[0]) / len(row.text)
    # The next word would have had room, or a long one nearly so.
    short = last.right + min(word + 0.5 * row.size, 0.2 * row.width) < row.right
    indented = not first and 0.8 * row.size < row.left - last.left < 4 * row.size
    return short or indented


def _starts_item(row: Row, scale: _Scale) -> bool:
    return bool(_bullet(row, scale) or _NUMBER.match(row.text))


def _bullet(row: Row, scale: _Scale) -> int:
    """Length of the bullet with its space, 0 without. Symbol fonts have bullets that decode to anything."""
    found = _BULLET.match(row.text)
    if found:
        return found.end()
    token = scale.bullets.get(row.cells[0].font)
    if token and row.text.startswith(f"{token} "):
        return len(token) + 1
    symbol = any(name in row.cells[0].font.lower() for name in ("symbol", "dingbat"))
    return 2 if symbol and row.text[1:2] == " " else 0


def _noted(groups: Iterable[list[Row]]) -> Iterator[list[Row]]:
    """Each page's notes behind its text, and behind what of that goes on on the next page."""
    text, notes = _divided(groups)
    for group in _joined_over_breaks(text):
        while notes and notes[0][0].page < group[0].page:
            yield notes.pop(0)
        yield group
    yield from notes


def _divided(groups: Iterable[list[Row]]) -> tuple[list[list[Row]], list[list[Row]]]:
    text: list[list[Row]] = []
    notes: list[list[Row]] = []
    for group in groups:
        (notes if group[0].note else text).append(group)
    return text, notes


def _joined_over_breaks(groups: Iterable[list[Row]]) -> Iterator[list[Row]]:
    """Puts paragraphs together that a page or column break cut within a sentence, also around a table."""
    held: list[Row] | None = None
    tables: list[list[Row]] = []
    for group in groups:
        if held and group[0].table and not held[-1].text.endswith(_SENTENCE_END):
            tables.append(group)
        elif held and _cut(held, group[0]):
            held += group
        else:
            yield from _those(held, tables)
            held, tables = group, []
    yield from _those(held, tables)


def _those(held: list[Row] | None, tables: Iterable[list[Row]]) -> Iterator[list[Row]]:
    if held:
        yield held
    yield from tables


def _cut(before: Sequence[Row], row: Row) -> bool:
    last = before[-1]
    moved = last.page != row.page or row.bottom > last.top
    alike = last.bold == row.bold and abs(last.size - row.size) < 0.1 * row.size
    single = len(last.cells) == len(row.cells) == 1 and not (last.table or row.table)
    prose = max(line.width for line in before[-2:]) > 12 * last.size
    return (
        moved
        and alike
        and single
        and prose
        and row.text[:1].islower()
        and not last.text.endswith(_SENTENCE_END)
    )


def _is_heading(group: Sequence[Row], scale: _Scale) -> bool:
    if len(group) > _HEADING_LINES or group[0].table or group[0].note or not _is_one_run(group):
        return False
    first, text = group[0], _text(group)
    if len(text) > _HEADING_CHARACTERS or text.endswith(("-", ",", ";")) or not any(map(str.isalpha, text)):
        return False
    if _bullet(first, scale) or any(cell.turned for row in group for cell in row.cells):
        return False
    if min(row.size for row in group) >= _HEADING_SIZE * scale.body:
        return True
    bold = all(row.bold for row in group) and not scale.bold_body
    return bold and first.size > 0.9 * scale.body and not text.endswith((".", ":")) and len(text) < 120


def _is_one_run(group: Sequence[Row]) -> bool:
    """No table. A number that stands apart from its heading is still part of it."""
    if len(group) == 1 and len(group[0].cells) == 2:
        return any(len(cell.text) <= 3 for cell in group[0].cells)
    return all(len(row.cells) == 1 for row in group)


def _levels(headings: Iterable[Sequence[Row]], scale: _Scale) -> dict[float, int]:
    """Size -> level: the largest is 1; sizes within 6 % of one another are one level."""
    levels: dict[float, int] = {}
    largest, level = 0.0, 0
    for size in sorted({_heading_size(heading, scale) for heading in headings}, reverse=True):
        if not levels or size < largest * 0.94:
            largest, level = size, min(level + 1, _LEVELS)
        levels[size] = level
    return levels


def _heading_size(group: Sequence[Row], scale: _Scale) -> float:
    return round(max(scale.body, min(row.size for row in group)), 1)


def _block(group: Sequence[Row], scale: _Scale, levels: Mapping[float, int]) -> Block:
    page, text = group[0].page, _text(group)
    if group[0].table:
        return Block(kind="table", text=text, page=page)
    if _is_heading(group, scale):
        return Block(kind="heading", text=text, level=levels[_heading_size(group, scale)], page=page)
    if group[0].note:
        return Block(kind="text", text=text, page=page)
    bullet = _bullet(group[0], scale)
    if bullet:
        return Block(kind="list_item", text=text[bullet:], page=page)
    kind = "list_item" if _NUMBER.match(text) else "text"
    return Block.model_validate({"kind": kind, "text": text, "page": page})


def _text(group: Sequence[Row]) -> str:
    """Running text; what looks like a table and is none keeps its rows."""
    if group[0].table:
        return group[0].table
    if len(group) > 1 and len(group[0].cells) > 1:
        return "\n".join(row.text for row in group)
    text = joined_text([row.text for row in group])
    return _LEADERS.sub(" ", text).strip() or text
