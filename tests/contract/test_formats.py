"""The table of formats is true: one real file of each row, what it is converted to, and docs/formats.md."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from shared.documents import ConvertedDocument
from shared.ports import ConversionOptions
from shared.providers.conversion.formats import FORMATS, IMAGES, Format, page
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter
from tests import files
from tests.rows import MADE

Convert = Callable[..., ConvertedDocument]
DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def converter() -> Iterator[DoclingConverter]:
    with closing(DoclingConverter(processes=1, memory_mb=1024, limits=Limits())) as made:
        yield made


@pytest.fixture
def convert(converter: DoclingConverter, tmp_path: Path) -> Convert:
    def _convert(content: bytes, name: str) -> ConvertedDocument:
        path = tmp_path / "file"
        path.write_bytes(content)
        fmt = converter.detect(path, name)
        return converter.convert(
            path, fmt, ConversionOptions(), timeout=100, progress=lambda _done, _total: None
        )

    return _convert


WRITTEN = [row for row in FORMATS if row.key not in IMAGES]
each_row = pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.key)


def structure(document: ConvertedDocument) -> set[str]:
    kinds = {block.kind for block in document.blocks}
    found = {name for name, kind in {"headings": "heading", "tables": "table"}.items() if kind in kinds}
    return found | ({"links"} if any(block.links for block in document.blocks) else set())


@each_row
def test_a_file_of_each_row_is_what_the_table_says(convert: Convert, row: Format) -> None:
    document = convert(MADE[row.key](), f"file.{row.endings[0]}")
    assert document.format == row.key
    assert files.TEXT in document.markdown()
    assert structure(document) == {"headings", "tables", "links"} & set(row.kept)
    if "headings" in row.kept:
        assert document.title == files.TITLE
    if "tables" in row.kept:
        assert "| Berth | Depth |\n| --- | --- |\n| North | 11 m |" in document.markdown()
    if "links" in row.kept:
        assert f"[{files.LINK[0]}]({files.LINK[1]})" in document.markdown()
        assert not any("example.com/tides" in block.text for block in document.blocks)
    parts = {"pages", "sheets", "slides"} & set(row.kept)
    assert document.pages == (2 if parts else None)
    assert {block.page for block in document.blocks} == ({1, 2} if parts else {None})


_LISTED = {
    "odt": lambda: files.odf("text", f"<text:list>{''.join(map(_item, 'ab'))}</text:list><text:p>c</text:p>"),
    "html": lambda: b"<!DOCTYPE html><html><ul><li>a</li><li>b</li></ul><p>c</p><pre>go()</pre></html>",
    "md": lambda: b"- a\n- b\n\n# x\n\nc\n\n```\ngo()\n```\n",
    "asciidoc": lambda: b"= x\n\n* a\n* b\n\nc\n\n----\ngo()\n----\n\n|===\n|d\n|===\n",
    "jats": lambda: files.JATS.replace(
        "</p>", "</p><list><list-item><p>a</p></list-item><list-item><p>b</p></list-item></list>", 1
    ).encode(),
}


def _item(text: str) -> str:
    return f"<text:list-item><text:p>{text}</text:p></text:list-item>"


def _docx_list() -> bytes:
    from docx import Document

    document = Document()
    for text in "ab":
        document.add_paragraph(text, style="List Bullet")
    document.add_paragraph("c")
    return files.saved(document)


_LISTED["docx"] = _docx_list


@pytest.mark.parametrize("key", _LISTED)
def test_lists_and_code_are_kept_where_the_table_says(convert: Convert, key: str) -> None:
    row = next(row for row in FORMATS if row.key == key)
    document = convert(_LISTED[key](), f"file.{row.endings[0]}")
    assert "lists" in row.kept
    assert [block.text for block in document.blocks if block.kind == "list_item"] == ["a", "b"]
    if "code" in row.kept:
        assert [block.text for block in document.blocks if block.kind == "code"] == ["go()"]


@pytest.mark.parametrize(
    ("content", "old", "new", "expected"),
    [
        (files.docx, "document.main+xml", "template.main+xml", "docx"),
        (files.docx, *("application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
                       "application/vnd.ms-word.document.macroEnabled.main+xml"), "docx"),
        (files.pptx, "presentation.main+xml", "slideshow.main+xml", "pptx"),
        (files.pptx, *("application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
                       "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml"), "pptx"),
        (files.xlsx, "sheet.main+xml", "template.main+xml", "xlsx"),
        (files.xlsx, *("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
                       "application/vnd.ms-excel.sheet.macroEnabled.main+xml"), "xlsx"),
    ],
    ids=["dotx", "docm", "ppsx", "pptm", "xltx", "xlsm"],
)  # fmt: skip
def test_templates_and_files_with_macros(
    convert: Convert, content: Callable[[], bytes], old: str, new: str, expected: str
) -> None:
    document = convert(files.retyped(content(), old, new), "file")
    assert document.format == expected
    assert files.TEXT in document.markdown()


def test_an_opendocument_template(convert: Convert) -> None:
    content = files.replaced(files.odt(), {"mimetype": f"{files.ODF_TYPE}text-template"})
    assert convert(content, "a.ott").format == "odt"


@pytest.mark.parametrize("key", sorted(IMAGES))
def test_pictures_are_recognised(converter: DoclingConverter, tmp_path: Path, key: str) -> None:
    from PIL import Image

    path = tmp_path / "file"
    Image.new("RGB", (40, 30), "white").save(path, {"jpg": "jpeg"}.get(key, key))
    assert converter.detect(path, "no ending") == key


def test_the_page_is_made_of_the_table() -> None:
    assert DOCS.read_text() == page()


# --- nothing is fetched ----------------------------------------------------------------------------------


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"FETCHED")

        do_HEAD = do_POST = do_GET

        def log_message(self, *args: object) -> None:
            """Silence."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    thread.join()
    server.server_close()


def page_naming(addresses: list[str]) -> str:
    tags = "".join(
        f'<img src="{url}"><iframe src="{url}"></iframe><object data="{url}"></object><embed src="{url}">'
        f'<link rel="stylesheet" href="{url}"><script src="{url}"></script><video poster="{url}"></video>'
        f'<table background="{url}"><tr><td><img src="{url}"></td></tr></table>'
        for url in addresses
    )
    head = f'<!DOCTYPE html><html><head><base href="{addresses[0]}"></head>'
    return f"{head}<body><p>Read me.</p>{tags}</body></html>"


def docx_naming(addresses: list[str]) -> bytes:
    with_links = files.docx()
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"
    relations = "".join(
        f'<Relationship Id="rLink{number}" Type="{kind}" Target="{url}" TargetMode="External"/>'
        for number, url in enumerate(addresses)
    )
    name = "word/_rels/document.xml.rels"
    pictures = "".join(
        '<w:p><w:r><w:drawing><a:blip xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
        f'r:link="rLink{number}"/></w:drawing></w:r></w:p>'
        for number in range(len(addresses))
    )
    with zipfile.ZipFile(io.BytesIO(with_links)) as archive:
        rels = archive.read(name).decode().replace("</Relationships>", f"{relations}</Relationships>")
        body = archive.read("word/document.xml").decode().replace("<w:sectPr", f"{pictures}<w:sectPr", 1)
    return files.replaced(with_links, {name: rels, "word/document.xml": body})


def odt_naming(addresses: list[str]) -> bytes:
    frames = "".join(f'<draw:frame><draw:image xlink:href="{url}"/></draw:frame>' for url in addresses)
    return files.odf("text", f"<text:p>Read me.{frames}</text:p>")


def mail_naming(addresses: list[str]) -> bytes:
    message = files.mail()
    message.set_content(page_naming(addresses), subtype="html")
    return message.as_bytes()


def lines(*texts: str) -> bytes:
    return "\n\n".join(texts).encode()


NAMING: dict[str, Callable[[list[str]], bytes]] = {
    "html": lambda urls: page_naming(urls).encode(),
    "md": lambda urls: lines("# x", "Read me.", *(f"![a]({url})\n\n<img src='{url}'>" for url in urls)),
    "asciidoc": lambda urls: lines("= x", "== y", *(f"image::{url}[]\n\ninclude::{url}[]" for url in urls)),
    "epub": lambda urls: files.replaced(files.epub(), {"OEBPS/b.xhtml": page_naming(urls)[15:]}),
    "docx": docx_naming,
    "odt": odt_naming,
    "eml": mail_naming,
}  # fmt: skip


@pytest.mark.parametrize("key", NAMING)
def test_nothing_that_a_document_names_is_fetched(
    convert: Convert, tmp_path: Path, asked: tuple[str, list[str]], key: str
) -> None:
    server, paths = asked
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    names = [f"{server}/a.png", secret.as_uri(), str(secret), "secret.txt", "../secret.txt"]
    names += ["http://169.254.169.254/latest/meta-data/", f"//{server.partition('//')[2]}/b.png"]
    document = convert(NAMING[key](names), f"file.{key}")
    assert document.format == key
    assert paths == []
    assert "SECRET" not in document.markdown() and "FETCHED" not in document.markdown()


def test_a_large_sheet_is_read_row_by_row(convert: Convert) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    hidden = book.create_sheet("Drafts")
    hidden.append(["secret"])
    hidden.sheet_state = "hidden"
    data = book.create_sheet("Data")
    for number in range(13_000):
        data.append([number, f"name {number}", None, number / 2, number % 2 == 0])
    book.create_sheet("Empty")
    document = convert(files.saved(book), "a.xlsx")
    heading, table = document.blocks
    assert (heading.text, heading.page, document.title, document.pages) == ("Data", 1, "Data", 2)
    lines = table.text.split("\n")
    assert len(lines) == 13_001
    assert lines[0] == "| 0 | name 0 |  | 0 | True |"
    assert lines[-1] == "| 12999 | name 12999 |  | 6499.5 | False |"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize(("name", "start"), [("a.md", "# Größe\n\n"), ("a.adoc", "= Größe\n\n== B\n\n")])
def test_texts_in_any_encoding(convert: Convert, name: str, start: str, encoding: str) -> None:
    document = convert(f"{start}Kähne am Kai, über Nacht.".encode(encoding), name)
    assert (document.title, document.blocks[-1].text) == ("Größe", "Kähne am Kai, über Nacht.")


def test_an_article_without_its_type(convert: Convert) -> None:
    content = f'<article dtd-version="1.2"{files.JATS.partition("<article")[2]}'
    assert convert(content.encode(), "a.xml").title == files.TITLE


def test_front_matter_is_no_text(convert: Convert) -> None:
    document = convert(b"---\ntitle: Front\ntags:\n  - a\n---\n\n# Head\n\nBody\n", "a.md")
    assert [block.text for block in document.blocks] == ["Head", "Body"]
    document = convert(b"---\n\nNo front matter: only a rule.\n\n---\n\nBody\n", "a.md")
    assert "only a rule" in document.markdown()


def test_subtitles_are_joined_to_paragraphs(convert: Convert) -> None:
    cues = (("0", "2", "Hello and"), ("2", "4", "<b>welcome</b> all."), ("8", "9", "Later."))
    text = "".join(f"00:0{start}.000 --> 00:0{end}.000\n{words}\n\n" for start, end, words in cues)
    document = convert(f"WEBVTT\n\n{text}".encode(), "a.vtt")
    assert [block.text for block in document.blocks] == ["Hello and welcome all.", "Later."]


# --- links -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "data:text/plain,x", "/a.html", "x)y"]
)
def test_only_addresses_of_the_web_and_of_mailboxes_are_kept(convert: Convert, url: str) -> None:
    links = f'<a href="{url}">here</a> and <a href="mailto:a@example.com">me</a>'
    html = f"<!DOCTYPE html><html><body><p>See {links}</p>"
    (block,) = convert(html.encode(), "a.html").blocks
    assert block.text == "See here and me"
    assert [link.url for link in block.links] == ["mailto:a@example.com"]
