"""Lines with boxes become blocks."""

from __future__ import annotations

from shared.documents import Block
from shared.providers.conversion.layout import blocks_of
from shared.providers.conversion.lines import Line, Table

HEIGHT = 800.0


def line(text: str, top: float, left: float = 72, size: float = 10, font: str = "Times") -> Line:
    return Line(text, left, top - size, left + 0.5 * size * len(text), top, font)


def paragraph(*texts: str, top: float = 600, left: float = 72, font: str = "Times") -> list[Line]:
    return [line(text, top - 13 * index, left, font=font) for index, text in enumerate(texts)]


def blocks(*pages: list[Line]) -> list[Block]:
    return list(blocks_of({number: (HEIGHT, lines) for number, lines in enumerate(pages, 1)}))


def texts(*pages: list[Line]) -> list[str]:
    return [block.text for block in blocks(*pages)]


def test_lines_become_a_paragraph_and_hyphens_go() -> None:
    assert texts(paragraph("The ware-", "house is well-", "Lit and dry")) == [
        "The warehouse is well- Lit and dry"
    ]


def test_a_gap_ends_a_paragraph() -> None:
    assert texts(paragraph("One", "two") + paragraph("three", "four", top=560)) == ["One two", "three four"]


def test_a_short_last_line_ends_a_paragraph() -> None:
    assert texts(paragraph("A long line of text here", "ends.", "Another long line of text")) == [
        "A long line of text here ends.",
        "Another long line of text",
    ]


def test_headings_by_size_and_by_weight() -> None:
    page = [
        line("Manual", 760 - 60, size=24),
        line("Use", 660, size=14),
        *paragraph("Turn the key to the right.", "Wait for the light.", top=630),
        line("Care", 595, font="Times-Bold"),
        *paragraph("Clean it.", top=575),
    ]
    assert [(b.kind, b.level, b.text) for b in blocks(page)] == [
        ("heading", 1, "Manual"),
        ("heading", 2, "Use"),
        ("text", None, "Turn the key to the right. Wait for the light."),
        ("heading", 3, "Care"),
        ("text", None, "Clean it."),
    ]


def test_running_heads_and_page_numbers_go() -> None:
    pages = [
        [
            line("Annual report", 780),
            *paragraph(f"Text of page {n} is not like any other."),
            line(f"Page {n} of 3", 40),
        ]
        for n in (1, 2, 3)
    ]
    assert texts(*pages) == [f"Text of page {n} is not like any other." for n in (1, 2, 3)]


def test_a_page_with_nothing_else_keeps_its_line() -> None:
    assert texts(*([line(f"Page {n} of the tests", 780)] for n in (1, 2, 3))) == [
        f"Page {n} of the tests" for n in (1, 2, 3)
    ]


def test_numbered_headings_at_the_top_stay() -> None:
    pages = [
        [line(f"Chapter {n}", 780, size=20), *paragraph("Some text", "of that chapter.")] for n in (1, 2, 3)
    ]
    assert [b.text for b in blocks(*pages) if b.kind == "heading"] == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_a_sentence_goes_on_after_the_page_break() -> None:
    found = blocks(
        paragraph("A sentence that does not end where", "the page ends but goes"), paragraph("on here.")
    )
    assert [(b.text, b.page) for b in found] == [
        ("A sentence that does not end where the page ends but goes on here.", 1)
    ]


def test_bullets_and_numbers_are_list_items() -> None:
    found = blocks(paragraph("\u2022 first thing", "\u2022 second thing", "1. third thing"))
    assert [(b.kind, b.text) for b in found] == [
        ("list_item", "first thing"),
        ("list_item", "second thing"),
        ("list_item", "1. third thing"),
    ]


def test_aligned_cells_are_a_table() -> None:
    cells = [("Key", "Value"), ("a", "1"), ("b", "2")]
    page = [
        line(text, 600 - 13 * row, left)
        for row, texts_ in enumerate(cells)
        for text, left in zip(texts_, (72, 250), strict=True)
    ]
    assert [(b.kind, b.text) for b in blocks(page)] == [
        ("table", "| Key | Value |\n| --- | --- |\n| a | 1 |\n| b | 2 |")
    ]


def test_rows_that_are_no_table_keep_their_lines() -> None:
    page = [
        line("Key", 600, 72), line("Value", 600, 250),
        line("a wide cell that covers all of it, from left to right", 587, 72), line("1", 587, 450),
    ]  # fmt: skip
    assert texts(page) == ["Key Value\na wide cell that covers all of it, from left to right 1"]


def test_two_columns_are_read_in_the_order_of_the_file() -> None:
    left = paragraph("Left column of a page", "with two lines.")
    right = paragraph("Right column of a page", "with two lines.", left=320)
    assert texts(left + right) == [
        "Left column of a page with two lines.",
        "Right column of a page with two lines.",
    ]


def test_nothing() -> None:
    assert blocks([]) == []


def test_notes_come_after_the_page_and_after_the_sentence_that_goes_on() -> None:
    first = [
        *paragraph("Some text of this first page", "that does not end where"),
        line("1 A note.", 100, size=7),
    ]
    second = [*paragraph("the page ends."), *paragraph("More text.", top=500)]
    assert [(b.text, b.page) for b in blocks(first, second)] == [
        ("Some text of this first page that does not end where the page ends.", 1),
        ("1 A note.", 1),
        ("More text.", 2),
    ]


def test_each_note_is_a_block_of_its_own() -> None:
    notes = [
        line(text, 100 - 9 * n, size=7) for n, text in enumerate(("1 One note", "goes on.", "* Another."))
    ]
    assert texts([*paragraph("Text of this page.", "And a little more."), *notes]) == [
        "Text of this page. And a little more.",
        "1 One note goes on.",
        "* Another.",
    ]


def test_small_print_above_text_is_no_note() -> None:
    page = [line("1 Small", 700, size=7), *paragraph("Text of the page", "in two lines.")]
    assert texts(page) == ["1 Small", "Text of the page in two lines."]


def test_a_sentence_goes_on_after_a_table_at_the_top_of_the_page() -> None:
    table = Table("| a | b |\n| --- | --- |\n| 1 | 2 |", 72, 700, 300, 740)
    first = paragraph("A sentence that does not end where", "the page ends but goes")
    pages = {1: (HEIGHT, first), 2: (HEIGHT, [table, *paragraph("on below a table.")])}
    assert [(b.kind, b.page) for b in blocks_of(pages, searched=(1, 2))] == [("text", 1), ("table", 2)]


def test_a_framed_head_that_every_page_has_goes() -> None:
    pages = {}
    for number in (1, 2, 3):
        head = Table(f"| Works order | Page {number} |\n| --- | --- |\n| 17-B | of 3 |", 72, 700, 500, 760)
        pages[number] = (HEIGHT, [head, *paragraph(f"Text of page {number} is not like any other.")])
    assert {block.kind for block in blocks_of(pages, searched=(1, 2, 3))} == {"text"}


def test_a_table_is_a_block_where_it_stands() -> None:
    table = Table("| a | b |\n| --- | --- |\n| 1 | 2 |", 72, 560, 300, 590)
    pages = {1: (HEIGHT, [*paragraph("Before."), table, *paragraph("After.", top=540)])}
    assert [(b.kind, b.text) for b in blocks_of(pages, searched=(1,))] == [
        ("text", "Before."),
        ("table", table.text),
        ("text", "After."),
    ]


def test_justified_lines_with_wide_spaces_are_lines() -> None:
    words = ("Wide", "spaces", "here")
    page = paragraph("A first line that is as wide as all")
    page += [Line(text, 72 + 65 * n, 577, 72 + 65 * n + 45, 587, "Times") for n, text in enumerate(words)]
    page += paragraph("and the last line.", top=574)
    assert texts(page) == ["A first line that is as wide as all Wide spaces here and the last line."]


def test_signs_that_decode_to_letters_are_bullets() -> None:
    page = paragraph("Text in the usual letters of it.", "And more.")
    page += paragraph("r first", "r second", "r third", top=550, font="Signs")
    assert [(b.kind, b.text) for b in blocks(page)[1:]] == [
        ("list_item", "first"),
        ("list_item", "second"),
        ("list_item", "third"),
    ]


def test_turned_lines_make_no_heading() -> None:
    page = [*paragraph("Text in the usual letters.", "And more."), Line("DRAFT", 20, 300, 32, 500, "Times")]
    assert [b.kind for b in blocks(page)] == ["text", "text"]


def test_a_paragraph_ends_where_the_next_word_would_have_had_room() -> None:
    assert texts(
        paragraph("\u2022 An item that ends before the edge.", "An outdented line that is as wide.")
    ) == ["An item that ends before the edge. An outdented line that is as wide."]
    assert texts(paragraph("\u2022 An item that ends before it.", "An outdented line that is as wide.")) == [
        "An item that ends before it.",
        "An outdented line that is as wide.",
    ]
