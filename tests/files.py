"""Small documents of every format, made from nothing: each has a heading, a paragraph, a link and a table,
as far as its format knows them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from email.message import EmailMessage

TITLE = "Harbour rules"
TEXT = "Ships moor at the north quay."
LINK = ("the tide table", "https://example.com/tides")
CELLS = (("Berth", "Depth"), ("North", "11 m"))
TABLE = "| Berth | Depth |\n| --- | --- |\n| North | 11 m |"


def zipped(members: Mapping[str, str | bytes], first: str | None = None) -> bytes:
    """`first`: a media type to stand uncompressed at the beginning, as ODF and EPUB want it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if first:
            archive.writestr("mimetype", first, zipfile.ZIP_STORED)
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def replaced(content: bytes, members: Mapping[str, str | bytes]) -> bytes:
    """The archive with other content, or additional, under some names."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    return zipped({**old, **members})


def saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


# --- Office Open XML -------------------------------------------------------------------------------------


def docx() -> bytes:
    from docx import Document
    from docx.opc.constants import RELATIONSHIP_TYPE
    from docx.oxml import parse_xml

    document = Document()
    document.add_heading(TITLE, 1)
    document.add_paragraph(TEXT)
    relation = document.part.relate_to(LINK[1], RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    paragraph = document.add_paragraph("See ")
    paragraph._p.append(
        parse_xml(
            '<w:hyperlink xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
            'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
            f'r:id="{relation}"><w:r><w:t>{LINK[0]}</w:t></w:r></w:hyperlink>'
        )
    )
    table = document.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, CELLS, strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    return saved(document)


def pptx() -> bytes:
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = TITLE
    slide.placeholders[1].text = TEXT
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Berths"
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for row, texts in enumerate(CELLS):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    return saved(deck)


def xlsx() -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    book.active.title = TITLE
    for row in CELLS:
        book.active.append(row)
    book.create_sheet("Notes").append([TEXT])
    return saved(book)


def retyped(content: bytes, old: str, new: str) -> bytes:
    """An Office file whose main part is declared as another type: with macros, or a template."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        types = archive.read("[Content_Types].xml").decode()
    assert old in types
    return replaced(content, {"[Content_Types].xml": types.replace(old, new)})


# --- OpenDocument ----------------------------------------------------------------------------------------

_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{_ODF}:{name}:1.0"'
    for prefix, name in {
        "office": "office",
        "text": "text",
        "table": "table",
        "draw": "drawing",
        "presentation": "presentation",
        "style": "style",
        "svg": "svg-compatible",
    }.items()
)
ODF_TYPE = "application/vnd.oasis.opendocument."


def odf(kind: str, body: str) -> bytes:
    """`kind`: text, spreadsheet or presentation."""
    root = f'{_NAMESPACES} xmlns:xlink="http://www.w3.org/1999/xlink" office:version="1.3"'
    manifest = (
        f'<manifest:manifest xmlns:manifest="{_ODF}:manifest:1.0" manifest:version="1.3">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{ODF_TYPE}{kind}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
        '<manifest:file-entry manifest:full-path="styles.xml" manifest:media-type="text/xml"/>'
        "</manifest:manifest>"
    )
    content = (
        f"<office:document-content {root}><office:body><office:{kind}>{body}</office:{kind}>"
        "</office:body></office:document-content>"
    )
    return zipped(
        {
            "content.xml": content,
            "styles.xml": f"<office:document-styles {root}/>",
            "meta.xml": f"<office:document-meta {root}><office:meta/></office:document-meta>",
            "META-INF/manifest.xml": manifest,
        },
        ODF_TYPE + kind,
    )


def odf_table(name: str = "Berths", rows: tuple[tuple[str, ...], ...] = CELLS) -> str:
    lines = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    columns = f'<table:table-column table:number-columns-repeated="{len(rows[0])}"/>'
    return f'<table:table table:name="{name}">{columns}{lines}</table:table>'


def odt() -> bytes:
    return odf(
        "text",
        f'<text:h text:outline-level="1">{TITLE}</text:h><text:p>{TEXT}</text:p>'
        f'<text:p>See <text:a xlink:type="simple" xlink:href="{LINK[1]}">{LINK[0]}</text:a></text:p>'
        + odf_table(),
    )


def ods() -> bytes:
    return odf("spreadsheet", odf_table(TITLE) + odf_table("Notes", ((TEXT,),)))


def odp() -> bytes:
    def frame(kind: str, text: str) -> str:
        return (
            f'<draw:frame presentation:class="{kind}" svg:x="1cm" svg:y="1cm" svg:width="9cm" '
            f'svg:height="2cm"><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>'
        )

    table = f'<draw:frame svg:x="1cm" svg:y="4cm" svg:width="9cm" svg:height="2cm">{odf_table()}</draw:frame>'
    pages = (frame("title", TITLE) + frame("outline", TEXT), frame("title", "Berths") + table)
    return odf(
        "presentation",
        "".join(f'<draw:page draw:name="page{n}">{page}</draw:page>' for n, page in enumerate(pages, 1)),
    )


# --- pages and texts -------------------------------------------------------------------------------------

ROWS = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in CELLS)
BODY = f'<h1>{TITLE}</h1><p>{TEXT}</p><p>See <a href="{LINK[1]}">{LINK[0]}</a></p><table>{ROWS}</table>'
HTML = f"<!DOCTYPE html><html><head><title>x</title></head><body>{BODY}</body></html>"
MARKDOWN = f"# {TITLE}\n\n{TEXT}\n\nSee [{LINK[0]}]({LINK[1]})\n\n|Berth|Depth|\n|-|-|\n|North|11 m|\n"
ASCIIDOC = f"= {TITLE}\n\n{TEXT}\n\n== Berths\n\n|===\n|Berth |Depth\n|North |11 m\n|===\n"
LATEX = (
    "\\documentclass{article}\n\\begin{document}\n"
    f"\\section{{{TITLE}}}\n{TEXT}\n\nSee \\href{{{LINK[1]}}}{{{LINK[0]}}}\n\n"
    "\\begin{tabular}{ll}\nBerth & Depth \\\\\nNorth & 11 m \\\\\n\\end{tabular}\n\\end{document}\n"
)
VTT = f"WEBVTT\n\n00:00.000 --> 00:04.000\n<v Ann>{TEXT}\n\n00:04.000 --> 00:08.000\n<v Bo>All of them?\n"
CSV = "Berth,Depth\nNorth,11 m\n"
JATS = (
    '<?xml version="1.0"?>\n<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and '
    'Interchange DTD v1.2 20190208//EN" "JATS-archivearticle1.dtd">\n<article '
    'xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>'
    f"<title-group><article-title>{TITLE}</article-title></title-group></article-meta></front>"
    f"<body><sec><title>Berths</title><p>{TEXT}</p><p>See <ext-link "
    f'xlink:href="{LINK[1]}">{LINK[0]}</ext-link>'
    f"</p><table-wrap><table>{ROWS}</table></table-wrap></sec></body>"
    "</article>"
)


def epub() -> bytes:
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
        "</container>"
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Book</dc:title></metadata><manifest>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>{}</body></html>'
    members = {
        "META-INF/container.xml": container,
        "OEBPS/book.opf": package,
        "OEBPS/a.xhtml": page.format(BODY),
        "OEBPS/b.xhtml": page.format("<h2>Night</h2><p>The gate is shut.</p>"),
    }
    return zipped(members, "application/epub+zip")


def mail(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {
        "From": "Ann <ann@example.com>",
        "To": "Bo <bo@example.com>",
        "Subject": TITLE,
        "Date": "Mon, 02 Nov 2026 09:30:00 +0000",
        **headers,
    }.items():
        message[name] = value
    message.set_content(TEXT)
    return message


def eml(*attachments: tuple[str, bytes]) -> bytes:
    message = mail()
    for name, content in attachments:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()
