"""Lines, words and rules of a page become tables, or do not."""

from __future__ import annotations

import pytest

from shared.providers.conversion.lines import Line, Table, cleaned, upright, with_words
from shared.providers.conversion.rules import Rule, grids, rules_of
from shared.providers.conversion.tables import need_words, with_tables

SIZE = 10.0
ADVANCE = 5.0
SPACE = 2.5


def word(text: str, left: float, top: float, size: float = SIZE) -> Line:
    return Line(text, left, top - size, left + ADVANCE * len(text), top, "Times")


def line(text: str, left: float, top: float, gap: float = SPACE) -> Line:
    """`|`: `gap` points between two words, the end of a cell that the parser did not see."""
    words: list[Line] = []
    for part in text.split("|"):
        for piece in part.split():
            words.append(word(piece, left, top))
            left = words[-1].right + SPACE
        left += gap - SPACE
    plain = " ".join(one.text for one in words)
    return with_words([Line(plain, words[0].left, top - SIZE, words[-1].right, top, "Times")], words)[0]


def grid(edges: tuple[float, ...], levels: tuple[float, ...]) -> list[Rule]:
    return [
        *(Rule(edges[0], level, edges[-1], level) for level in levels),
        *(Rule(edge, levels[-1], edge, levels[0]) for edge in edges),
    ]


def tables(lines: list[Line], rules: list[Rule] | None = None) -> list[str]:
    return [item.text for item in with_tables(lines, rules or []) if isinstance(item, Table)]


# --- ruled


def test_cells_of_a_grid() -> None:
    """The parser took two cells for one piece of text, and one cell has two lines."""
    page = [
        line("Part|Use", 72, 600, gap=12), line("Seal", 72, 580), line("keeps the", 104, 580),
        line("water out", 104, 568), line("After", 72, 500),
    ]  # fmt: skip
    found = with_tables(page, grid((70, 100, 160), (605, 585, 550)))
    assert [item.text for item in found] == [
        "| Part | Use |\n| --- | --- |\n| Seal | keeps the water out |",
        "After",
    ]


def test_a_cell_that_spans_columns_counts_as_its_first() -> None:
    rules = [*(Rule(70, y, 190, y) for y in (620, 600, 580, 560)), Rule(70, 560, 70, 620)]
    rules += [Rule(130, 560, 130, 600), Rule(190, 560, 190, 620)]
    page = [line("Depths in metres", 100, 615), line("North", 72, 595), line("11", 140, 595)]
    page += [line("South", 72, 575), line("7", 140, 575)]
    assert tables(page, rules) == ["| Depths in metres |  |\n| --- | --- |\n| North | 11 |\n| South | 7 |"]


def test_level_lines_alone_make_rows() -> None:
    rules = [Rule(70, y, 200, y) for y in (605, 585, 550, 530)]
    page = [
        line("Part", 72, 600), line("Use", 120, 600), line("Seal", 72, 580), line("keeps the", 120, 580),
        line("water out", 120, 568), line("Oil", 72, 545), line("none", 120, 545),
    ]  # fmt: skip
    assert tables(page, rules) == [
        "| Part | Use |\n| --- | --- |\n| Seal | keeps the water out |\n| Oil | none |"
    ]


def test_lines_below_rows_alone_leave_the_first_row_above_them() -> None:
    page = [line("One line of text above it", 72, 640)]
    for row, (key, value) in enumerate((("a", "12"), ("b", "7"), ("c", "11"))):
        page += [line(key, 72, 615 - 20 * row), line(value, 120, 615 - 20 * row)]
    assert tables(page, [Rule(70, y, 200, y) for y in (600, 580, 560)]) == [
        "| a | 12 |\n| --- | --- |\n| b | 7 |\n| c | 11 |"
    ]


@pytest.mark.parametrize(
    "rules",
    [
        grid((60, 300), (620, 500)),
        grid((60, 110, 180, 240, 300), (620, 590, 570, 540, 520, 500)),
        [Rule(60, 500, 300, 500), Rule(60, 500, 60, 620)],
    ],
    ids=["frame", "a chart's lines", "axes"],
)
def test_lines_that_make_no_table(rules: list[Rule]) -> None:
    assert tables([line("One", 72, 600), line("label", 200, 560), line("or two", 72, 520)], rules) == []


def test_a_line_drawn_in_pieces_is_one_and_a_thin_box_is_a_line() -> None:
    pieces = [Rule(70, 600, 120, 600), Rule(119, 600.4, 190, 600.4), Rule(70, 560, 190, 560.5)]
    sides = [Rule(70, 560, 70.5, 600), Rule(190, 560, 190.5, 600)]
    (found,) = grids(pieces + sides)
    assert (found.edges, found.levels, found.box) == ([70, 190], [600, 560], (70, 560, 190, 600))
    assert list(rules_of([(1, 5), (9, 5), (9, 5.5), (1, 5.5), (1, 5)])) == [Rule(1, 5, 9, 5.5)]
    assert len(list(rules_of([(0, 0), (50, 0), (50, 30), (0, 30), (0, 0)]))) == 4


# --- aligned


def test_narrow_gaps_that_stand_in_columns() -> None:
    page = [
        line(text, 72, 600 - 13 * row, gap=7) for row, text in enumerate(["ab|cd|ef", "gh|ij|kl", "mn|op|qr"])
    ]
    assert tables(page) == ["| ab | cd | ef |\n| --- | --- | --- |\n| gh | ij | kl |\n| mn | op | qr |"]


def test_two_rows_with_narrow_gaps_are_too_few() -> None:
    assert tables([line("ab|cd", 72, 600, gap=7), line("ef|gh", 72, 587, gap=7)]) == []


def test_spaces_of_a_justified_paragraph_are_no_columns() -> None:
    page = [
        line("the|old|mill|was|rebuilt", 72, 600, gap=6), line("with|wheels|that|turn|it", 72, 587, gap=7),
        line("more|quietly|than|before", 72, 574, gap=8),
    ]  # fmt: skip
    assert tables(page) == []


def test_a_cell_may_have_several_lines() -> None:
    """Drawn cell by cell: the file goes down in a cell, and up again to the next one."""
    page = []
    for top, first, second in ((600, ["North", "quay"], ["cranes"]), (570, ["Mole"], ["lamps and", "ropes"])):
        page += [line(text, 72, top - 12 * index) for index, text in enumerate(first)]
        page += [line(text, 200, top - 12 * index) for index, text in enumerate(second)]
    assert tables(page) == ["| North quay | cranes |\n| --- | --- |\n| Mole | lamps and ropes |"]


def test_two_columns_of_prose_are_no_table() -> None:
    left = [line("the harbour master keeps a", 72, 600 - 12 * row) for row in range(20)]
    right = [line("ledger of every ship that", 320, 600 - 12 * row) for row in range(20)]
    assert tables(left + right) == []


def test_a_listing_in_letters_of_one_width_is_no_table() -> None:
    page = []
    for row in range(3):
        words = [Line("word", 72 + at * 30, 590 - 12 * row, 96 + at * 30, 600 - 12 * row) for at in range(4)]
        page += with_words([Line("word word word word", 72, 590 - 12 * row, 186, 600 - 12 * row)], words)
    assert tables(page) == []


@pytest.mark.parametrize(
    "marks", [("1.", "2.", "3."), ("[1]", "[2]", "[3]"), ("SM59",) * 3, ("r", "r", "r"), ("7", "8", "9")]
)
def test_marks_before_items_are_no_column(marks: tuple[str, ...]) -> None:
    page = []
    for row, mark in enumerate(marks):
        page += [line(mark, 72, 600 - 13 * row), line("something to do", 110, 600 - 13 * row)]
    assert tables(page) == []


def test_contents_are_no_table() -> None:
    entries = [("Arrival ........ 3", 600), ("Storage ........ 7", 587), ("Departure ...... 9", 574)]
    assert tables([line(text, 72, top, gap=12) for text, top in entries]) == []


def test_a_table_from_right_to_left() -> None:
    page = []
    for row, texts in enumerate((("שלום", "עולם"), ("נמל", "ספר"), ("ים", "חול"))):
        page += [line(text, left, 600 - 13 * row) for text, left in zip(texts, (72, 200), strict=True)]
    assert tables(page)[0].splitlines()[0] == "| עולם | שלום |"


# --- words


def test_a_raised_mark_does_not_make_its_line_higher() -> None:
    words = [word("storage", 72, 600), word("12", 108, 605, 7), word("ends", 122, 600)]
    (found,) = with_words([Line("storage 12 ends", 72, 590, 142, 605, "Times")], words)
    assert (found.bottom, found.top, found.spaces) == (590, 600, (1.0, 4.0))


def test_words_are_read_where_they_may_help() -> None:
    plain = [line("a line of text that is long", 72, 600 - 13 * row) for row in range(9)]
    assert not need_words(plain, [])
    assert need_words(plain, [Rule(70, y, 200, y) for y in (500, 520, 540)])
    assert need_words([*plain, Line("raised 1", 72, 470, 200, 483, "Times")], [])
    assert need_words([*plain, *(line("ab", 72, 400 - 13 * row) for row in range(3))], [])


def test_ligatures_become_letters_and_nothing_else_changes() -> None:
    assert cleaned("o\ufb03ce  \ufb02ag 10\u00b2 \u00bd \u2460") == "office flag 10\u00b2 \u00bd \u2460"


@pytest.mark.parametrize(
    ("turn", "box"), [(90, (110.0, 72.0, 120.0, 172.0)), (270, (480.0, 628.0, 490.0, 728.0))]
)
def test_a_page_whose_text_runs_up_or_down_is_turned(turn: int, box: tuple[float, ...]) -> None:
    turned, (found,) = upright(600, 800, [Line("upwards", *box, turn=turn)])
    assert turned == turn
    assert (found.left, found.bottom, found.right, found.top, found.turn) == (72.0, 480.0, 172.0, 490.0, 0)


def test_few_turned_lines_turn_no_page() -> None:
    lines = [Line("upright and long", 72, 590, 200, 600), Line("up", 20, 72, 30, 90, turn=90)]
    assert upright(600, 800, lines) == (0, lines)
