"""What is counted before a parser sees it."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest

from shared.documents import Block, ConvertedDocument, Link
from shared.errors import DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion import archives, declarative
from shared.providers.conversion.cells import CellCount
from shared.providers.conversion.markup import Part, Tally, check_depth, is_markup
from shared.providers.conversion.request import Limits
from shared.providers.conversion.streams import check_streams
from tests import files, hostile

SMALL = Limits(tags=10, elements=4, cells=6)


def fed(content: bytes, size: int, limits: Limits = SMALL, *, sheet: bool = False) -> Tally:
    tally = Tally(limits)
    part = Part(tally, content[:1024], sheet=sheet)
    for at in range(0, len(content), size):
        part.feed(content[at : at + size])
    part.feed(b"", last=True)
    return tally


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_chunks_hide_nothing(size: int, encoding: str) -> None:
    tally = fed("<w:p a='1'><w:r>x</w:r></w:p><q/>".encode(encoding), size)
    assert (tally.tags, tally.elements) == (3, 2)
    with pytest.raises(DocumentCorrupt, match="entities"):
        fed("<!DOCTYPE a [<!ENTITY x 'y'>]><a/>".encode(encoding), size)


@pytest.mark.parametrize("content", [b"<a/>" * 11, b"<p/>" * 5, b"<x:tc>" * 5])
def test_too_much_markup(content: bytes) -> None:
    with pytest.raises(DocumentTooLarge):
        fed(content, 100)


ENTITY = "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", ["", " \n", " " * 2000])
def test_utf_16_without_its_mark(before: str, encoding: str) -> None:
    content = (before + ENTITY).encode(encoding)
    assert is_markup(content[:1024])
    with pytest.raises(DocumentCorrupt, match="entities"):
        fed(content, 100)


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_utf_32_is_refused(encoding: str) -> None:
    for text in ("<a/>", "\ufeff<a/>", " <a/>"):
        content = text.encode(encoding)
        assert is_markup(content)
        with pytest.raises(DocumentCorrupt, match="encoding"):
            fed(content, 100)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("space", [b" ", b" " * 300, b" " * 2000])
def test_encodings_that_hide_tags_are_refused(before: bytes, space: bytes) -> None:
    for name in (b"utf-7", b"cp037", b"utf-32", b"", b"\xff"):
        declared = b'<?xml version="1.0"%bencoding="%b"?><a/>' % (space, name)
        with pytest.raises(DocumentCorrupt, match="encoding"):
            fed(before + declared, 100)


@pytest.mark.parametrize(
    "declared", ["", "version='1.0'", "version='1.0' encoding='ISO-8859-1' standalone='yes'"]
)
def test_plain_encodings_are_counted(declared: str) -> None:
    assert fed(f"<?xml {declared}?><a/>".encode(), 100).tags == 1


def test_what_is_no_markup() -> None:
    video = bytes.fromhex("0000003c667479706d703432")
    for start in (b"", b"\x89PNG\r\n", bytes(99), b"\xff\xd8\xff", b"words", video, b" " * 9 + b"words"):
        assert not is_markup(start)
    assert all(map(is_markup, (b" " * 1024, b"\xef\xbb\xbf <a/>", b"\n<a/>")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-7", "cp1252"])
def test_a_page_is_counted_as_it_is_read(encoding: str) -> None:
    """In UTF-7 all tags can be written as if they were words."""
    head = f'<!DOCTYPE html><html><head><meta charset="{encoding}"></head><body>'
    body = "<p>ü</p>" * 50
    page = (head + body).encode(encoding)
    if encoding == "utf-7":
        page = head.encode() + b"+%b-" % base64.b64encode(body.encode("utf-16-be")).rstrip(b"=")
    assert declarative.convert_text(page, "html", Limits()).blocks[0].text == "ü"
    with pytest.raises(DocumentTooLarge, match="tags"):
        declarative.convert_text(page, "html", Limits(elements=100))


def test_a_sheet_counts_by_cells() -> None:
    assert fed(b"<row><c/><c r='1'/></row>" * 3, 5, sheet=True).cells == 6
    with pytest.raises(DocumentTooLarge, match="cells"):
        fed(b"<row><x:c/></row>" * 7, 5, sheet=True)


def test_cells_that_would_fill_rows_up_count() -> None:
    assert list(CellCount(SMALL).counted([["a"], [""], ["b", "c", "d"]])) == [["a"], ["b", "c", "d"]]
    with pytest.raises(DocumentTooLarge):
        list(CellCount(SMALL).counted([["a"], ["b"], ["c", "d", "e"]]))


def test_tags_that_may_stay_open_are_not_deep() -> None:
    check_depth(b"<ul>" + b"<li>a" * 999 + b"</ul>" + b"<p>b" * 999 + b"<br>" * 999, Limits())
    check_depth(b"<div><b>a</div>" * 999, Limits())
    with pytest.raises(DocumentTooLarge):
        check_depth(b"<div>" * 201, Limits())


def test_the_copy_of_an_archive_holds_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(files.replaced(files.docx(), {"word/media/a.png": bytes(9999), "../up.xml": "<a/>"}))
    copy = archives.copied(path, "docx", Limits())
    assert copy is not None
    with zipfile.ZipFile(io.BytesIO(copy)) as archive:
        assert (
            archive.read("word/media/a.png").startswith(b"\x89PNG")
            and len(archive.read("word/media/a.png")) < 100
        )
        assert "../up.xml" not in archive.namelist()
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


def test_the_streams_of_a_pdf(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(hostile.pdf([hostile.flate(5, b"0 0 m 9 9 l S\n")]))
    check_streams(path, Limits())
    with pytest.raises(DocumentTooLarge, match="unpacks"):
        check_streams(path, Limits(content_bytes=1 << 20))
    with pytest.raises(DocumentTooLarge, match="objects"):
        check_streams(path, Limits(objects=3))
    bomb = hostile.flate(2, b"0 0 m 9 9 l S\n").partition(b"stream\n")[2].removesuffix(b"\nendstream")
    for name, text in (("ASCII85Decode", base64.a85encode(bomb)), ("ASCIIHexDecode", bomb.hex().encode())):
        head = f"<< /Filter [/{name} /FlateDecode] >>\nstream\n".encode()
        path.write_bytes(hostile.pdf([head + text + b"\nendstream"]))
        with pytest.raises(DocumentTooLarge, match="unpacks"):
            check_streams(path, Limits(content_bytes=1 << 20))
    path.write_bytes(hostile.pdf([b"<< /Filter [/FlateDecode /FlateDecode] >>\nstream\nx\nendstream"]))
    with pytest.raises(DocumentCorrupt, match="twice"):
        check_streams(path, Limits())


def test_links_are_in_the_markdown_alone() -> None:
    links = (
        Link(text="a", url="https://a"),
        Link(text="a", url="https://b"),
        Link(text="gone", url="https://c"),
    )
    block = Block(kind="list_item", text="an a, a", links=links)
    document = ConvertedDocument(format="html", blocks=(block,))
    assert document.markdown() == "- an [a](https://a), [a](https://b)\n"
    assert document.characters == 7
