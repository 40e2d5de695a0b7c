"""Ranges of pages, and documents that are put together from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.documents import Block, ConvertedDocument
from shared.errors import DocumentEmpty
from shared.providers.tiers import merged, ranges


@pytest.mark.parametrize(
    ("pages", "most", "found"),
    [
        ([], 3, []),
        ([4], 3, [(4, 4)]),
        ([1, 2, 3], 3, [(1, 3)]),
        ([3, 1, 2, 9], 3, [(1, 3), (9, 9)]),
        ([1, 3, 9], 2, [(1, 3), (9, 9)]),
        ([1, 3, 9], 1, [(1, 9)]),
        ([2, 4, 6, 20, 30], 3, [(2, 6), (20, 20), (30, 30)]),
    ],
)
def test_ranges(pages: list[int], most: int, found: list[tuple[int, int]]) -> None:
    assert ranges(pages, most) == found


@given(st.sets(st.integers(1, 200), min_size=1), st.integers(1, 9))
def test_ranges_hold_every_page_once(pages: set[int], most: int) -> None:
    found = ranges(pages, most)
    assert len(found) <= most
    held = [page for first, last in found for page in range(first, last + 1)]
    assert held == sorted(set(held)) and pages <= set(held)
    assert all(first in pages and last in pages for first, last in found)


def block(text: str, page: int, kind: str = "text") -> Block:
    return Block.model_validate(
        {"kind": kind, "text": text, "page": page, "level": kind == "heading" or None}
    )


def document(*blocks: Block, **more: object) -> ConvertedDocument:
    return ConvertedDocument.model_validate({"format": "pdf", "pages": 4, "blocks": blocks, **more})


def test_only_unread_pages_are_taken_and_order_is_kept() -> None:
    text = document(block("one", 1), block("uno", 1), block("four", 4), unread=(2, 3))
    parts = [
        document(block("two", 2), block("zwei", 2), block("not wanted", 4)),
        document(block("three", 3)),
    ]
    assert [b.text for b in merged(text, parts).blocks] == ["one", "uno", "two", "zwei", "three", "four"]
    assert merged(text, parts).unread == ()
    assert merged(text, parts).pages == 4


def test_warnings_of_all_parts_once() -> None:
    text = document(block("one", 1), unread=(2, 3), warnings=("a",))
    parts = [document(block("two", 2), warnings=("b",)), document(block("three", 3), warnings=("b", "c"))]
    assert merged(text, parts).warnings == ("a", "b", "c")


def test_nothing_anywhere() -> None:
    with pytest.raises(DocumentEmpty):
        merged(document(unread=(1,)), [])


def test_a_heading_deeper_in_the_document_is_no_better_title() -> None:
    text = document(block("Early", 1, "heading"), unread=(2,), title="Early")
    assert merged(text, [document(block("Late", 2, "heading"))]).title == "Early"
