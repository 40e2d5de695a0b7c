"""What is in a mail: the right body, the attachments, and nothing that only programs read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.documents import Block, ConvertedDocument, Link
from shared.errors import DocumentEmpty, DocumentTooLarge
from shared.providers.conversion import mail, plain
from shared.providers.conversion.request import Limits, Request
from tests import compound, files

Read = Callable[..., ConvertedDocument]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Mails read in this process; of other formats only text."""

    def _read(content: bytes, fmt: str = "eml", **limits: int) -> ConvertedDocument:
        path = tmp_path / "mail"
        path.write_bytes(content)
        request = Request(path=path, format=fmt, limits=Limits(**limits))
        return mail.convert(request, lambda one: plain.convert(one.path, one.format, one.limits))

    return _read


def texts(document: ConvertedDocument) -> list[str]:
    return [block.text for block in document.blocks]


def test_header_lines_are_text(read: Read) -> None:
    document = read(files.mail(Cc="Cy <cy@example.com>", Bcc="x@example.com").as_bytes())
    assert document.title == files.TITLE
    assert texts(document) == [
        files.TITLE,
        "From: Ann <ann@example.com>",
        "To: Bo <bo@example.com>",
        "Cc: Cy <cy@example.com>",
        "Date: Mon, 02 Nov 2026 09:30:00 +0000",
        files.TEXT,
    ]


def test_encoded_words_and_odd_names(read: Read) -> None:
    message = files.mail(Subject="Größe der Kähne")
    message.add_attachment(b"wide", maintype="text", subtype="plain", filename="../../häfen/ü.txt")
    document = read(message.as_bytes())
    assert document.title == "Größe der Kähne"
    assert [block.text for block in document.blocks if block.kind == "heading"][1:] == ["ü.txt"]


def test_of_alternatives_the_plain_text_is_taken(read: Read) -> None:
    message = files.mail()
    message.add_alternative("<p>Another text</p>", subtype="html")
    assert texts(read(message.as_bytes()))[-1] == files.TEXT


def test_attachments_stand_below_their_names(read: Read) -> None:
    inner = files.eml(("deep.txt", b"Deep down."))
    document = read(files.eml(("a.csv", b"x,y\n1,2\n"), ("inner.eml", inner), ("b.bin", bytes(99))))
    headings = [(block.level, block.text) for block in document.blocks if block.kind == "heading"]
    assert headings == [
        (1, files.TITLE),
        (2, "a.csv"),
        (2, "inner.eml"),
        (3, files.TITLE),
        (4, "deep.txt"),
        (2, "b.bin"),
    ]
    assert Block(kind="text", text="Deep down.") in document.blocks
    (warning,) = document.warnings
    assert warning.startswith("Attachment 4 was left out: This is not a text file.")


def test_an_attached_mail_is_a_document_too(read: Read) -> None:
    outer = files.mail(Subject="Forwarded")
    outer.add_attachment(files.mail())
    document = read(outer.as_bytes())
    assert [block.text for block in document.blocks if block.kind == "heading"] == ["Forwarded", files.TITLE]
    assert texts(document).count(files.TEXT) == 2


def test_mails_in_mails_have_an_end(read: Read) -> None:
    message = files.mail()
    for _ in range(4):
        outer = files.mail()
        outer.add_attachment(message)
        message = outer
    assert not read(message.as_bytes()).warnings
    (warning,) = read(message.as_bytes(), depth=3).warnings
    assert warning == "Attachment 3 was left out: Mails are nested too deeply in it."


def test_the_budget_is_that_of_the_whole_mail(read: Read) -> None:
    content = files.eml(("a.txt", b"one"), ("b.eml", files.eml(("c.txt", b"two"))))
    assert not read(content, attachments=3).warnings
    with pytest.raises(DocumentTooLarge, match="2 attachments"):
        read(content, attachments=2)
    with pytest.raises(DocumentTooLarge, match="bytes"):
        read(content, mail_bytes=100)


def test_logos_and_signatures_are_no_attachments(read: Read) -> None:
    message = files.mail()
    message.add_attachment(b"x", maintype="image", subtype="png", disposition="inline", cid="<logo>")
    message.add_attachment(b"x", maintype="application", subtype="pgp-signature", filename="s.asc")
    document = read(message.as_bytes())
    assert texts(document)[-1] == files.TEXT and not document.warnings


def test_a_mail_that_is_cut_short_says_so(read: Read) -> None:
    content = files.eml(("a.txt", b"word " * 500))
    (warning,) = read(content[: len(content) // 2]).warnings
    assert "cut short" in warning


def test_outlook(read: Read) -> None:
    inner = compound.message("Inner", "All inside.", [("c.txt", b"two")], inside=True)
    made = compound.message(
        "Rules", files.TEXT, [("a.txt", b"one"), ("Inner", inner), ("big.txt", b"three " * 999)]
    )
    document = read(compound.compound(made), "msg")
    assert texts(document)[:6] == [
        "Rules",
        'From: "Ann" <ann@example.com>',
        "To: Bo <bo@example.com>",
        files.TEXT,
        "a.txt",
        "one",
    ]
    headings = [block.text for block in document.blocks if block.kind == "heading"]
    assert headings == ["Rules", "a.txt", "Inner", "c.txt", "big.txt"]
    assert "All inside." in texts(document) and "two" in texts(document)


def test_a_mail_with_nothing_in_it(read: Read) -> None:
    with pytest.raises(DocumentEmpty):
        read(b"X-Nothing: x\nX-More: y\n\n\n")


def test_the_links_of_a_whole_mail_are_in_one_budget(tmp_path: Path) -> None:
    path = tmp_path / "mail"
    path.write_bytes(files.eml(*((f"{name}.html", files.HTML.encode()) for name in "ab")))
    link = Link(text="tides", url="https://example.com/")
    block = Block(kind="text", text="tides", links=(link, link))
    attached = ConvertedDocument(format="html", blocks=(block,))
    request = Request(path=path, format="eml", limits=Limits(link_characters=60))
    document = mail.convert(request, lambda _: attached)
    assert [len(block.links) for block in document.blocks if block.text == "tides"] == [2, 1]
    assert len(document.warnings) == 1 and "links" in document.warnings[0]
