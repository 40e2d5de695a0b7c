"""Chunking: nothing is lost, nothing is too long, and the shape of a document is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import tokens
from shared.chunking import chunk
from shared.documents import Block, Chunk, ConvertedDocument


def words(text: str) -> int:
    return len(text.split())


def document(*blocks: Block) -> ConvertedDocument:
    return ConvertedDocument(format="txt", blocks=blocks)


def heading(text: str, level: int = 1, page: int | None = None) -> Block:
    return Block(kind="heading", text=text, level=level, page=page)


def text(content: str, page: int | None = None) -> Block:
    return Block(kind="text", text=content, page=page)


def in_order(wanted: list[str], found: list[str]) -> bool:
    rest = iter(found)
    return all(word in rest for word in wanted)


def embedded_words(chunks: list[Chunk]) -> list[str]:
    return " ".join(made.embedded_text for made in chunks).split()


def test_headings_lead_to_their_text() -> None:
    made = chunk(document(heading("Guide"), heading("Pay", 2), text("Once a month.", 3)), 100, words)
    assert made == [
        Chunk(chunk_index=0, content="Once a month.", page=3, headings=("Guide", "Pay"), tokens=6),
    ]
    assert made[0].embedded_text == "Guide > Pay\nOnce a month."


def test_a_higher_heading_ends_the_path() -> None:
    made = chunk(
        document(heading("A"), heading("B", 2), text("b " * 30), heading("C"), text("c " * 30)), 40, words
    )
    assert [m.headings for m in made] == [("A", "B"), ("C",)]


def test_blocks_are_joined_up_to_the_limit() -> None:
    made = chunk(document(*(text(f"w{i} " * 10) for i in range(10))), 45, words)
    assert [m.tokens for m in made] == [40, 40, 20]


def test_a_page_end_splits_nothing() -> None:
    made = chunk(document(text("one two", 1), text("three four", 2)), 50, words)
    assert [(m.content, m.page) for m in made] == [("one two\n\nthree four", 1)]


def test_small_sections_of_a_page_share_a_chunk() -> None:
    made = chunk(document(heading("A"), text("a", 1), heading("B"), text("b", 1)), 100, words)
    assert [(m.headings, m.content) for m in made] == [((), "A\na\n\nB\nb")]


def test_small_sections_of_different_pages_do_not() -> None:
    made = chunk(document(heading("A"), text("a", 1), heading("B"), text("b", 2)), 100, words)
    assert [(m.headings, m.content, m.page) for m in made] == [(("A",), "a", 1), (("B",), "b", 2)]


@pytest.mark.parametrize("after", [(), (heading("Next"), text("x"))])
def test_a_heading_without_text_is_found(after: tuple[Block, ...]) -> None:
    made = chunk(document(heading("Lonely", page=7), *after), 100, words)
    assert "Lonely" in made[0].content
    assert made[0].page == 7


def test_a_long_paragraph_is_cut_where_sentences_end() -> None:
    made = chunk(document(text("One two three four. Five six seven! Eight nine? Ten.")), 7, words)
    assert [m.content for m in made] == ["One two three four. Five six seven!", "Eight nine? Ten."]


def test_a_long_sentence_is_cut_where_words_end() -> None:
    made = chunk(document(text("word " * 1000)), 50, words)
    assert {m.content.replace(" ", "") for m in made} == {"word" * words(m.content) for m in made}
    assert sum(m.tokens for m in made) == 1000


def test_a_table_is_cut_between_rows_under_its_header() -> None:
    rows = [f"| {i} | value {i} |" for i in range(40)]
    table = Block(kind="table", text="\n".join(["| key | value |", "| --- | --- |", *rows]), page=2)
    made = chunk(document(heading("Figures"), table), 60, words)
    assert len(made) > 3
    assert all(m.content.startswith("| key | value |\n| --- | --- |\n| ") for m in made)
    assert [line for m in made for line in m.content.splitlines()[2:]] == rows
    assert {m.headings for m in made} == {("Figures",)}


def test_text_after_a_cut_table_stands_apart() -> None:
    rows = [f"| {i} |" for i in range(30)]
    table = Block(kind="table", text="\n".join(["| n |", "| --- |", *rows]))
    made = chunk(document(table, text("The end.")), 50, words)
    assert made[-1].content.endswith("| 29 |\n\nThe end.")


def test_a_table_row_longer_than_a_chunk_is_cut() -> None:
    table = Block(kind="table", text="| n |\n| --- |\n| " + "long " * 100 + "|\n| x |")
    made = chunk(document(table), 30, words)
    assert all(m.tokens <= 30 for m in made)
    assert embedded_words(made).count("long") == 100


def test_list_items_and_code_keep_their_lines() -> None:
    items = [Block(kind="list_item", text=t) for t in ("one", "two")]
    code = Block(kind="code", text="def f():\n    return 1")
    made = chunk(document(*items, code), 50, words)
    assert made[0].content == "one\ntwo\ndef f():\n    return 1"


def test_nothing_gives_no_chunks() -> None:
    assert chunk(document(text("  \n ")), 10, words) == []


def test_one_line_of_megabytes() -> None:
    line = "word " * 400_000
    calls = 0

    def counted(part: str) -> int:
        nonlocal calls
        calls += len(part)
        return len(part) // 4

    made = chunk(document(text(line)), 400, counted)
    assert sum(words(m.content) for m in made) == 400_000
    assert calls < 20 * len(line)


def test_a_megabyte_without_a_space() -> None:
    made = chunk(document(text("x" * 1_000_000)), 400, tokens.count)
    assert sum(len(m.content) for m in made) == 1_000_000
    assert all(m.tokens <= 400 for m in made)


WORDS = st.lists(
    st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12), min_size=1, max_size=40
)
TEXTS = WORDS.map(" ".join) | WORDS.map(". ".join) | WORDS.map("\n".join)
TABLES = st.lists(
    st.lists(st.sampled_from(["a", "bb", "c c c", "d" * 30]), min_size=2, max_size=2), min_size=1
).map(lambda rows: "\n".join(["| h | k |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]))
PAGES = st.none() | st.integers(1, 5)
BLOCKS = st.one_of(
    st.builds(Block, kind=st.sampled_from(["text", "list_item", "code"]), text=TEXTS, page=PAGES),
    st.builds(Block, kind=st.just("heading"), text=TEXTS, level=st.integers(1, 4), page=PAGES),
    st.builds(Block, kind=st.just("table"), text=TABLES, page=PAGES),
)


def _unlike_others(block: Block, index: int) -> Block:
    """Two headings of one text that follow each other are one section, on purpose."""
    return block.model_copy(update={"text": f"{block.text} {index}"}) if block.kind == "heading" else block


@settings(deadline=None, max_examples=100)
@given(st.lists(BLOCKS, max_size=10), st.integers(40, 200), st.sampled_from([tokens.count, len]))
def test_no_word_is_lost_and_no_chunk_too_long(blocks: list[Block], limit: int, count) -> None:
    blocks = [_unlike_others(block, index) for index, block in enumerate(blocks)]
    made = chunk(document(*blocks), limit, count)
    assert [m.chunk_index for m in made] == list(range(len(made)))
    assert all(m.content.strip() for m in made)
    assert all(m.tokens == count(m.embedded_text) <= limit for m in made)
    wanted = "".join("".join(block.text.split()) for block in blocks)
    found = "".join("".join(m.embedded_text.split()) for m in made)
    assert in_order(list(wanted), list(found))
    if limit >= 100 and count is tokens.count:
        assert in_order([w for block in blocks for w in block.text.split()], embedded_words(made))


def test_white_space_without_end_is_split_at_once() -> None:
    """It once took the square of it, while nothing else of the process went on."""
    blank = "a" + " " * 1_000_000 + "b " + "word " * 600
    chunks = chunk(document(text(blank)), 400, words)
    assert embedded_words(chunks)[:3] == ["a", "b", "word"]


def test_a_rule_of_a_table_is_told_at_once() -> None:
    rows = f"| a | b |\n| {'-' * 1_000_000}x | c |\n| 1 | 2 |"
    assert chunk(document(Block(kind="table", text=rows)), 400, words)
