"""Every format that is read: the one table of them. `docs/formats.md` is this table in words.

python -m shared.providers.conversion.formats        prints that page
"""

from __future__ import annotations

from typing import Literal

from shared.tasks import Value

Kept = Literal["headings", "lists", "tables", "links", "code", "pages", "sheets", "slides"]


class Format(Value):
    """`kept`: what of its structure comes out. `lost`: what does not, in words."""

    key: str
    name: str
    endings: tuple[str, ...]
    content_types: tuple[str, ...]
    read: str
    kept: tuple[Kept, ...]
    lost: str


_OFFICE = "application/vnd.openxmlformats-officedocument."
_MACROS = "application/vnd.ms-"
_ODF = "application/vnd.oasis.opendocument."
_BY_DOCLING = "Docling, after pictures were taken out of the archive"

_IMAGES = (
    ("png", "PNG", ("png",)),
    ("jpg", "JPEG", ("jpg", "jpeg")),
    ("tiff", "TIFF", ("tif", "tiff")),
    ("webp", "WebP", ("webp",)),
    ("gif", "GIF", ("gif",)),
    ("bmp", "BMP", ("bmp",)),
)

_FRAMES = {"tiff": "every frame a page", "gif": "the first frame alone"}

FORMATS = (
    Format(
        key="pdf",
        name="PDF",
        endings=("pdf",),
        content_types=("application/pdf",),
        read="docling-parse, page by page; lines are joined by where they stand. Pages without text by OCR, "
        "where it is installed",
        kept=("headings", "lists", "tables", "pages"),
        lost="Links, pictures, forms, comments, attached files.",
    ),
    Format(
        key="docx",
        name="Word",
        endings=("docx", "docm", "dotx", "dotm"),
        content_types=(
            f"{_OFFICE}wordprocessingml.document",
            f"{_MACROS}word.document.macroEnabled.12",
            f"{_OFFICE}wordprocessingml.template",
            f"{_MACROS}word.template.macroEnabled.12",
        ),
        read=_BY_DOCLING,
        kept=("headings", "lists", "tables", "links"),
        lost="Page numbers (the file has none), headers and footers, comments, pictures, macros; links in "
        "tables.",
    ),
    Format(
        key="pptx",
        name="PowerPoint",
        endings=("pptx", "pptm", "ppsx", "ppsm", "potx", "potm"),
        content_types=(
            f"{_OFFICE}presentationml.presentation",
            f"{_MACROS}powerpoint.presentation.macroEnabled.12",
            f"{_OFFICE}presentationml.slideshow",
            f"{_MACROS}powerpoint.slideshow.macroEnabled.12",
            f"{_OFFICE}presentationml.template",
            f"{_MACROS}powerpoint.template.macroEnabled.12",
        ),
        read=_BY_DOCLING,
        kept=("headings", "lists", "tables", "slides"),
        lost="Speaker notes, pictures, drawings, animations, macros, links.",
    ),
    Format(
        key="xlsx",
        name="Excel",
        endings=("xlsx", "xlsm", "xltx", "xltm"),
        content_types=(
            f"{_OFFICE}spreadsheetml.sheet",
            f"{_MACROS}excel.sheet.macroEnabled.12",
            f"{_OFFICE}spreadsheetml.template",
            f"{_MACROS}excel.template.macroEnabled.12",
        ),
        read="Docling, each block of cells a table; above 50,000 cells row by row, each sheet one table",
        kept=("headings", "tables", "sheets"),
        lost="Formulas (their stored values are read), number formats, hidden sheets, comments, pictures, "
        "macros, links.",
    ),
    Format(
        key="odt",
        name="OpenDocument text",
        endings=("odt", "ott"),
        content_types=(f"{_ODF}text", f"{_ODF}text-template"),
        read=_BY_DOCLING,
        kept=("headings", "lists", "tables", "links"),
        lost="Page numbers (the file has none), headers and footers, notes, comments, pictures; links inside "
        "tables.",
    ),
    Format(
        key="ods",
        name="OpenDocument sheet",
        endings=("ods", "ots"),
        content_types=(f"{_ODF}spreadsheet", f"{_ODF}spreadsheet-template"),
        read=_BY_DOCLING,
        kept=("headings", "tables", "sheets"),
        lost="Formulas (their stored values are read), hidden sheets, comments, pictures, links.",
    ),
    Format(
        key="odp",
        name="OpenDocument slides",
        endings=("odp", "otp"),
        content_types=(f"{_ODF}presentation", f"{_ODF}presentation-template"),
        read=_BY_DOCLING,
        kept=("headings", "lists", "tables", "slides"),
        lost="Speaker notes, pictures, animations, links.",
    ),
    Format(
        key="epub",
        name="EPUB",
        endings=("epub",),
        content_types=("application/epub+zip",),
        read="Docling, the chapters in reading order",
        kept=("headings", "lists", "tables", "links"),
        lost="Page numbers, pictures, styles; links inside tables and inside the book.",
    ),
    Format(
        key="html",
        name="HTML",
        endings=("html", "htm", "xhtml"),
        content_types=("text/html", "application/xhtml+xml"),
        read="Docling; nothing that the page names is fetched",
        kept=("headings", "lists", "tables", "links", "code"),
        lost="Page headers, navigation and footers, pictures, scripts, styles, forms; links in tables and to "
        "other than http, https and mailto.",
    ),
    Format(
        key="mhtml",
        name="Web page archive",
        endings=("mhtml", "mht"),
        content_types=("multipart/related", "application/x-mimearchive"),
        read="its HTML part as HTML",
        kept=("headings", "lists", "tables", "links", "code"),
        lost="As for HTML.",
    ),
    Format(
        key="md",
        name="Markdown",
        endings=("md", "markdown"),
        content_types=("text/markdown",),
        read="Docling; nothing that the text names is fetched",
        kept=("headings", "lists", "tables", "links", "code"),
        lost="Pictures (their alternative texts are kept), front matter; HTML blocks stay as they are "
        "written; links inside tables and to other than http, https and mailto.",
    ),
    Format(
        key="asciidoc",
        name="AsciiDoc",
        endings=("adoc", "asciidoc", "asc"),
        content_types=("text/asciidoc",),
        read="Docling; files that it includes are not read",
        kept=("headings", "lists", "tables", "code"),
        lost="Pictures, attributes; includes and links stay in the text as they are written.",
    ),
    Format(
        key="jats",
        name="JATS article",
        endings=("nxml", "xml"),
        content_types=("application/jats+xml",),
        read="Docling; other XML is read as plain text",
        kept=("headings", "lists", "tables", "links"),
        lost="Pictures, formulas; links in tables.",
    ),
    Format(
        key="vtt",
        name="WebVTT subtitles",
        endings=("vtt",),
        content_types=("text/vtt",),
        read="Docling; the cues of one speaker that follow one another are one paragraph",
        kept=(),
        lost="Times, positions, styles.",
    ),
    Format(
        key="csv",
        name="CSV",
        endings=("csv", "tsv"),
        content_types=("text/csv", "text/tab-separated-values"),
        read="one table; separator and encoding are found out",
        kept=("tables",),
        lost="Nothing.",
    ),
    Format(
        key="txt",
        name="Plain text",
        endings=("txt", "text", "log"),
        content_types=("text/plain",),
        read="empty lines part paragraphs; the encoding is found out",
        kept=(),
        lost="Nothing.",
    ),
    Format(
        key="eml",
        name="Mail",
        endings=("eml",),
        content_types=("message/rfc822",),
        read="subject, sender, receivers, date and body; every attachment as a document below its name",
        kept=("headings", "lists", "tables", "links"),
        lost="Other header fields; the HTML where there is plain text too; pages of attachments; pictures "
        "inside the text; attachments that cannot be read (a warning names their number and why).",
    ),
    Format(
        key="msg",
        name="Outlook mail",
        endings=("msg",),
        content_types=("application/vnd.ms-outlook",),
        read="as mail",
        kept=("headings", "lists", "tables", "links"),
        lost="As for mail; a body that is only RTF.",
    ),
    *(
        Format(
            key=key,
            name=name,
            endings=endings,
            content_types=(f"image/{endings[-1]}",),
            read="OCR, where it is installed; " + _FRAMES.get(key, "one page"),
            kept=("headings", "pages"),
            lost="Everything but the text; which words are bold.",
        )
        for key, name, endings in _IMAGES
    ),
)

KEYS = tuple(row.key for row in FORMATS)
IMAGES = frozenset(key for key, *_ in _IMAGES)

_MEGABYTE = 1024 * 1024
_PAGE = """# Formats

What is read, and how. This page is made of `shared/providers/conversion/formats.py`.

A file is recognised by its content; its name decides only between kinds of plain text. Links are kept in the
Markdown text of a document, not in what is searched: an address is no words. Whatever a document names, a
picture or a page or a file, is never fetched.

| format | endings | how it is read | kept | not kept |
| --- | --- | --- | --- | --- |
{rows}

Not read, with a message that says what to do instead: Office files of before 2007 (`.doc`, `.xls`, `.ppt`),
RTF, archives, whatever is locked by a password.

A document that is larger than these limits is refused as `document_too_large`:

| limit | of |
| --- | --- |
{limits}

Pages and unpacked bytes can be set (`MAX_PAGES`, `MAX_EXPANDED_BYTES`).

All links of a document, those of a mail's attachments included, may have {links} MB of addresses together.
Further links are kept as text alone, and a warning says so.
"""


def page() -> str:
    """The text of docs/formats.md."""
    from shared.providers.conversion.request import Limits

    links = Limits().link_characters // _MEGABYTE
    return _PAGE.format(rows="\n".join(map(_row, FORMATS)), limits=_limits(), links=links)


def _row(row: Format) -> str:
    endings = ", ".join(f".{ending}" for ending in row.endings)
    kept = ", ".join(row.kept) or "text"
    return f"| {row.name} (`{row.key}`) | {endings} | {row.read} | {kept} | {row.lost} |"


def _limits() -> str:
    from shared.providers.conversion.request import Limits

    limits = Limits()
    return "\n".join(
        f"| {number} | {what} |"
        for number, what in (
            (f"{limits.pages:,}", "pages, slides or sheets"),
            (f"{limits.expanded_bytes // _MEGABYTE:,} MB", "an archive, unpacked"),
            (f"{limits.text_bytes // _MEGABYTE:,} MB", "text or markup, and text that comes out"),
            (f"{limits.mail_bytes // _MEGABYTE:,} MB", "a mail with its attachments"),
            (f"{limits.elements:,}", "paragraphs, runs and cells of what Docling reads; a tag counts twice"),
            (f"{limits.paragraphs:,}", "paragraphs of plain text"),
            (f"{limits.tags:,}", "tags in the parts of one archive"),
            (f"{limits.cells:,}", "cells of all tables"),
            (f"{limits.objects:,}", "objects of a PDF"),
            (f"{limits.content_bytes // _MEGABYTE:,} MB", "what is drawn on one page of a PDF, unpacked"),
            (f"{limits.attachments:,}", "attachments of a mail, those of attached mails included"),
            (f"{limits.pixels:,}", "pixels of one picture"),
        )
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
