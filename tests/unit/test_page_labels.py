"""What is printed as a page's number is kept where it is not simply 1, 2, 3."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.documents import Block, ConvertedDocument
from shared.providers.conversion import pdf
from shared.providers.conversion.request import Request


def labelled(folder: Path, *labels: tuple[int, str | None, str | None], pages: int = 3) -> ConvertedDocument:
    """`labels`: first page, style, prefix."""
    from reportlab.pdfgen.canvas import Canvas

    path = folder / "labels.pdf"
    canvas = Canvas(str(path))
    for page, style, prefix in labels:
        canvas.addPageLabel(page, style=style, start=1, prefix=prefix)
    for number in range(pages):
        canvas.drawString(72, 400, f"Text of page {number + 1}")
        canvas.showPage()
    canvas.save()
    return pdf.convert(Request(path=path, format="pdf"), lambda *_: None)


def test_labels_of_pages(tmp_path: Path) -> None:
    document = labelled(tmp_path, (0, "ROMAN_LOWER", None), (2, "ARABIC", "A-"))
    assert document.page_labels == ("i", "ii", "A-1")
    assert [block.page for block in document.blocks] == [1, 2, 3]


@pytest.mark.parametrize("labels", [(), ((0, "ARABIC", None),)], ids=["none", "plain"])
def test_pages_that_are_simply_counted_have_none(
    tmp_path: Path, labels: tuple[tuple[int, str, None]]
) -> None:
    assert labelled(tmp_path, *labels).page_labels == ()


def test_a_label_cannot_end_the_comment_that_it_stands_in(tmp_path: Path) -> None:
    document = labelled(tmp_path, (0, None, "x --> <b>" + "y" * 500))
    assert all(len(label) <= 32 and "--" not in label and ">" not in label for label in document.page_labels)
    assert document.markdown().count("-->") == 3


def test_markdown_says_where_a_labelled_page_begins() -> None:
    blocks = (
        Block(kind="heading", text="Foreword", level=1, page=1),
        Block(kind="text", text="Thanks.", page=1),
        Block(kind="text", text="It begins.", page=2),
    )
    document = ConvertedDocument(format="pdf", pages=2, blocks=blocks, page_labels=("iv", "1"))
    assert document.markdown() == (
        "<!-- page iv -->\n\n# Foreword\n\nThanks.\n\n<!-- page 1 -->\n\nIt begins.\n"
    )
    plain = document.model_copy(update={"page_labels": ()})
    assert plain.markdown() == "# Foreword\n\nThanks.\n\nIt begins.\n"
