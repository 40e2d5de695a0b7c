"""Files that were made to break a converter, or are broken, each with what it has to end as.

python -m tests.hostile FOLDER MEMORY_MB       converts the files in FOLDER, one JSON line each
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

from tests import compound, files

CORRUPT, EMPTY, LOCKED = "document_corrupt", "document_empty", "document_encrypted"
LARGE, UNKNOWN = "document_too_large", "unsupported_format"

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha ha ha ha ha ha ha ">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY i SYSTEM "file:///etc/passwd">]>'
KILOBYTE, MEGABYTE = 1024, 1024 * 1024


class Case(NamedTuple):
    """`expected`: an error's code, or the format that the file is converted as all the same."""

    name: str
    expected: str
    make: Callable[[], bytes] | Callable[[Path], None]


def cases() -> Iterator[Case]:
    yield from _broken()
    yield from _locked()
    yield from _archives()
    yield from _entities()
    yield from _nested()
    yield from _texts()
    yield from _sheets()
    yield from _mails()
    yield from _papers()


# --- broken ----------------------------------------------------------------------------------------------


def _broken() -> Iterator[Case]:
    whole: dict[str, Callable[[], bytes]] = {
        "docx": files.docx,
        "pptx": files.pptx,
        "xlsx": files.xlsx,
        "odt": files.odt,
        "ods": files.ods,
        "odp": files.odp,
        "epub": files.epub,
        "pdf": lambda: pdf(
            [b"<< /Length 43 >>\nstream\nBT /F1 12 Tf 72 700 Td (Ships moor.) Tj ET\nendstream"]
        ),
        "msg": lambda: compound.compound(compound.message("Rules", files.TEXT * 300)),
    }
    yield Case("nothing.docx", EMPTY, lambda: b"")
    yield Case("blank.md", EMPTY, lambda: b" \n\n\t ")
    for ending, make in whole.items():
        yield Case(f"cut.{ending}", CORRUPT, lambda make=make: make()[: len(make()) // 2])
        yield Case(
            f"stub.{ending}",
            UNKNOWN if ending in {"pdf", "msg"} else CORRUPT,
            lambda make=make: make()[:4] + b"\0" * 99,
        )
    yield Case("right type.pdf", "docx", files.docx)
    yield Case("no types.docx", CORRUPT, lambda: files.zipped({"word/document.xml": "<a/>"}))
    yield Case("no document.docx", CORRUPT, lambda: without(files.docx(), "word/document.xml"))
    yield Case("no content.odt", CORRUPT, lambda: without(files.odt(), "content.xml"))
    yield Case("no chapters.epub", CORRUPT, lambda: without(files.epub(), "OEBPS/book.opf"))
    yield Case(
        "no xml.pptx", CORRUPT, lambda: files.replaced(files.pptx(), {"ppt/presentation.xml": "<broken"})
    )
    yield Case("bits.docx", CORRUPT, lambda: flipped(files.docx()))


def without(content: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        kept = {one: archive.read(one) for one in archive.namelist() if one not in {name, "mimetype"}}
        kind = archive.read("mimetype").decode() if "mimetype" in archive.namelist() else None
    return files.zipped(kept, kind)


def flipped(content: bytes) -> bytes:
    """Every seventh byte of the packed members is another one."""
    end = content.index(b"PK\x01\x02")
    return bytes(b ^ 0x55 if i % 7 == 0 and 400 < i < end else b for i, b in enumerate(content))


# --- locked ----------------------------------------------------------------------------------------------


def _locked() -> Iterator[Case]:
    yield Case("locked.xlsx", LOCKED, lambda: compound.compound({"EncryptedPackage": bytes(5000)}))
    yield Case("locked.docx", LOCKED, lambda: flagged(files.docx()))
    yield Case("locked.pdf", LOCKED, locked_pdf)
    yield Case("locked.odt", LOCKED, locked_odt)
    yield Case("locked.epub", LOCKED, locked_epub)
    yield Case("locked.eml", LOCKED, locked_mail)


def flagged(content: bytes) -> bytes:
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + b"\x01" + content[at + 1 :]


def locked_pdf() -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt="secret")
    canvas.drawString(72, 700, files.TEXT)
    canvas.save()
    return buffer.getvalue()


def locked_odt() -> bytes:
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        '<manifest:file-entry manifest:full-path="content.xml"><manifest:encryption-data/>'
        "</manifest:file-entry></manifest:manifest>"
    )
    return files.replaced(files.odt(), {"META-INF/manifest.xml": manifest, "content.xml": bytes(99)})


def locked_epub() -> bytes:
    lock = '<encryption><CipherData><CipherReference URI="OEBPS/a.xhtml"/></CipherData></encryption>'
    return files.replaced(files.epub(), {"META-INF/encryption.xml": lock, "OEBPS/a.xhtml": bytes(99)})


def locked_mail() -> bytes:
    return (
        b"From: Ann <ann@example.com>\r\nTo: Bo <bo@example.com>\r\nSubject: Secret\r\n"
        b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nMIAGCSqGSIb3DQEHA6CA\r\n"
    )


# --- archives --------------------------------------------------------------------------------------------


def _archives() -> Iterator[Case]:
    for ending, make, name in (
        ("docx", files.docx, "word/document.xml"),
        ("pptx", files.pptx, "ppt/slides/slide1.xml"),
        ("xlsx", files.xlsx, "xl/sharedStrings.xml"),
        ("odt", files.odt, "content.xml"),
        ("ods", files.ods, "content.xml"),
        ("odp", files.odp, "content.xml"),
        ("epub", files.epub, "OEBPS/a.xhtml"),
    ):
        yield Case(f"bomb.{ending}", LARGE, lambda path, make=make, name=name: bomb(path, make(), name, 70))
    yield Case("bomb of three gigabytes.docx", LARGE, three_gigabytes)
    yield Case(
        "bomb in a sheet.xlsx", LARGE, lambda path: bomb(path, files.xlsx(), "xl/worksheets/sheet1.xml", 60)
    )
    yield Case(
        "bomb of tags.docx", LARGE, lambda path: bomb(path, files.docx(), "word/document.xml", 60, b"<a/>")
    )
    yield Case(
        "bomb as picture.docx", "docx", lambda path: bomb(path, files.docx(), "word/media/a.png", 300, b"\0")
    )
    yield Case("lies about its size.docx", CORRUPT, lying)
    yield Case(
        "zip in a zip.docx",
        "docx",
        lambda: files.replaced(files.docx(), {"word/embeddings/a.zip": files.docx()}),
    )
    yield Case("only a zip.zip", UNKNOWN, lambda: files.zipped({"a.txt": "a", "b/c.zip": files.docx()}))
    yield Case("one body for many.docx", LARGE, overlapping)
    yield Case(
        "leads out.docx",
        "docx",
        lambda: files.replaced(files.docx(), {"../../../etc/cron.d/x": "y", "/etc/z": "y"}),
    )
    yield Case("link.docx", "docx", symlink)
    yield Case(
        "many names.docx",
        LARGE,
        lambda: files.zipped({"[Content_Types].xml": "", **{f"word/{n}": "" for n in range(21_000)}}),
    )
    yield Case("packed by lzma.docx", CORRUPT, lzma_packed)
    yield Case("points to itself.docx", "docx", self_related)


def bomb(path: Path, content: bytes, name: str, megabytes: int, unit: bytes = b" ") -> None:
    """The archive with a member of a gigantic size, which packs well. It is never in memory as a whole."""
    block = (unit * (MEGABYTE // len(unit)))[:MEGABYTE]
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for one in old.namelist():
            if one != name:
                new.writestr(one, old.read(one), zipfile.ZIP_STORED if one == "mimetype" else None)
        with new.open(name, "w", force_zip64=True) as member:
            member.write(b"<a>" if unit != b"\0" else b"\0")
            for _ in range(megabytes):
                member.write(block)


def three_gigabytes() -> bytes:
    """By what the directory says, which has to be enough to refuse it."""
    content = files.docx()
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 24] + struct.pack("<I", 3_000_000_000) + content[at + 28 :]


def lying() -> bytes:
    """The directory says a hundred bytes where there are ten million."""
    content = files.replaced(files.docx(), {"word/document.xml": "<a>" + " " * 10_000_000})
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"word/document.xml"))
    return content[: at + 24] + struct.pack("<I", 100) + content[at + 28 :]


def overlapping() -> bytes:
    """Directory entries that all lead to the same packed body of ten megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<a>" + " " * 10 * MEGABYTE)
        shared = archive.getinfo("word/document.xml")
        for number in range(300):
            copy = zipfile.ZipInfo(f"word/{number}.xml")
            copy.header_offset, copy.CRC = shared.header_offset, shared.CRC
            copy.compress_size, copy.file_size = shared.compress_size, shared.file_size
            copy.compress_type = zipfile.ZIP_DEFLATED
            archive.filelist.append(copy)
    return buffer.getvalue()


def symlink() -> bytes:
    buffer = io.BytesIO(files.docx())
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("word/media/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def lzma_packed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<a/>")
    return buffer.getvalue()


def self_related() -> bytes:
    """A document that is part of itself, and two styles that are each based on the other."""
    with zipfile.ZipFile(io.BytesIO(files.docx())) as archive:
        relations = archive.read("word/_rels/document.xml.rels").decode()
        styles = archive.read("word/styles.xml").decode()
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/subDocument"
    relations = relations.replace(
        "</Relationships>", f'<Relationship Id="rId99" Type="{kind}" Target="document.xml"/></Relationships>'
    )
    cycle = "".join(
        f'<w:style w:type="paragraph" w:styleId="{a}"><w:name w:val="{a}"/><w:basedOn w:val="{b}"/></w:style>'
        for a, b in ("XY", "YX")
    )
    document = document_xml(
        '<w:p><w:pPr><w:pStyle w:val="X"/></w:pPr><w:r><w:t>Round and round.</w:t></w:r></w:p>'
    )
    return files.replaced(
        files.docx(),
        {
            "word/_rels/document.xml.rels": relations,
            "word/styles.xml": styles.replace("</w:styles>", f"{cycle}</w:styles>"),
            "word/document.xml": document,
        },
    )


def document_xml(body: str) -> str:
    return f'<?xml version="1.0"?><w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'


# --- entities --------------------------------------------------------------------------------------------


def _entities() -> Iterator[Case]:
    for ending, make, name in (
        ("docx", files.docx, "word/document.xml"),
        ("pptx", files.pptx, "ppt/presentation.xml"),
        ("xlsx", files.xlsx, "xl/workbook.xml"),
        ("sheet.xlsx", files.xlsx, "xl/worksheets/sheet1.xml"),
        ("odt", files.odt, "content.xml"),
        ("styles.odt", files.odt, "styles.xml"),
        ("epub", files.epub, "OEBPS/a.xhtml"),
    ):
        yield Case(f"laughs.{ending}", CORRUPT, lambda make=make, name=name: prefixed(make(), name, LAUGHS))
        yield Case(f"outside.{ending}", CORRUPT, lambda make=make, name=name: prefixed(make(), name, OUTSIDE))
    yield Case(
        "laughs in utf-16.docx",
        CORRUPT,
        lambda: prefixed(files.docx(), "word/document.xml", LAUGHS, "utf-16"),
    )
    yield Case(
        "laughs in utf-7.docx", CORRUPT, lambda: prefixed(files.docx(), "word/document.xml", LAUGHS, "utf-7")
    )
    yield Case(
        "laughs in utf-32.docx",
        CORRUPT,
        lambda: prefixed(files.docx(), "word/document.xml", LAUGHS, "utf-32"),
    )
    yield Case("laughs.nxml", "jats", lambda: jats(LAUGHS[len("<!DOCTYPE x") :]))
    yield Case(
        "laughs.html",
        "html",
        laughing_page,
    )


def laughing_page() -> bytes:
    return f"{LAUGHS.replace('DOCTYPE x', 'DOCTYPE html')}<html>{files.BODY}&i;</html>".encode()


def prefixed(content: bytes, name: str, doctype: str, encoding: str = "utf-8") -> bytes:
    """The archive with a document type before one part, and an entity in its first text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        old = archive.read(name).decode()
        first = archive.namelist()[0] == "mimetype"
        kind = archive.read("mimetype").decode() if first else None
        rest = {one: archive.read(one) for one in archive.namelist() if one != "mimetype"}
    body = old[old.index("?>") + 2 :] if old.startswith("<?xml") else old
    body = body.replace("</", "&i;</", 1)
    declared = f'<?xml version="1.0" encoding="{encoding}"?>{doctype}{body}'
    return files.zipped({**rest, name: declared.encode(encoding)}, kind)


def jats(subset: str) -> bytes:
    return (
        files.JATS.replace('JATS-archivearticle1.dtd">', f'JATS-archivearticle1.dtd" {subset}')
        .replace("<p>", "<p>&i;")
        .encode()
    )


# --- nested ----------------------------------------------------------------------------------------------


def _nested() -> Iterator[Case]:
    yield Case("deep.html", LARGE, lambda: b"<!DOCTYPE html><html><body>" + b"<div>" * 20_000 + b"x")
    yield Case("very deep.html", LARGE, lambda: b"<!DOCTYPE html><html><body>" + b"<b>" * 1_000_000 + b"x")
    yield Case("deep lists.html", LARGE, lambda: b"<!DOCTYPE html><html><body>" + b"<ul><li>" * 3000 + b"x")
    yield Case(
        "deep tables.html", LARGE, lambda: b"<!DOCTYPE html><html><body>" + b"<table><tr><td>" * 1500 + b"x"
    )
    yield Case("deep.md", LARGE, lambda: b"# x\n\n" + b"> " * 5000 + b"x")
    yield Case("deep list.md", LARGE, lambda: b"# x\n\n" + b"* " * 5000 + b"x")
    yield Case("deep.docx", CORRUPT, lambda: deep_docx(3000))
    yield Case(
        "deep.odt",
        CORRUPT,
        lambda: files.odf("text", "<text:section>" * 3000 + "<text:p>x</text:p>" + "</text:section>" * 3000),
    )
    yield Case(
        "wide.html",
        "html",
        lambda: b"<!DOCTYPE html><html><table><tr><td rowspan=99999999 colspan=99999999>wide</table>",
    )
    yield Case(
        "wide.docx",
        "docx",
        lambda: files.replaced(
            files.docx(),
            {
                "word/document.xml": document_xml(
                    "<w:tbl><w:tblGrid><w:gridCol/></w:tblGrid>"
                    + '<w:tr><w:tc><w:tcPr><w:gridSpan w:val="99999999"/></w:tcPr>'
                    "<w:p><w:r><w:t>wide</w:t></w:r></w:p></w:tc></w:tr>" * 3 + "</w:tbl>"
                )
            },
        ),
    )


def deep_docx(depth: int) -> bytes:
    body = "<w:tbl><w:tr><w:tc>" * depth + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * depth
    return files.replaced(files.docx(), {"word/document.xml": document_xml(body)})


# --- texts -----------------------------------------------------------------------------------------------


def _texts() -> Iterator[Case]:
    yield Case("zeros.txt", UNKNOWN, lambda: bytes(5000))
    yield Case("zeros later.txt", "txt", lambda: b"word " * 20_000 + bytes(5000) + b"word")
    yield Case("zeros.html", "html", lambda: files.HTML.encode() + b" " * 70_000 + b"<p>\0a\0b</p>")
    yield Case(
        "bad utf-8.txt", "txt", lambda: b"caf\xe9 \xff\xfe \xc3\x28 and words enough to be a text " * 90
    )
    yield Case("odd utf-16.txt", "txt", lambda: "words".encode("utf-16") + b"\x41")
    yield Case("lone surrogate.txt", "txt", lambda: "words ".encode("utf-16") + b"\x00\xd8")
    yield Case(
        "unknown charset.html",
        "html",
        lambda: b'<html><head><meta charset="x-none-such"></head><body><p>caf\xe9</p></body></html>',
    )
    yield Case("two gigabytes.csv", LARGE, lambda path: sparse(path, b"a,b\n1,2\n" * 20_000, 2 << 30))
    yield Case("two gigabytes.md", LARGE, lambda path: sparse(path, b"# a\n\nb\n" * 20_000, 2 << 30))
    yield Case(
        "two gigabytes.eml",
        LARGE,
        lambda path: sparse(path, files.mail().as_bytes() + b"words\n" * 20_000, 2 << 30),
    )
    yield Case("one field.csv", "csv", lambda: b'a,b\n1,"' + b"word " * 4 * MEGABYTE + b'"\n')
    yield Case("one wide row.csv", LARGE, lambda: b"a,b\n" + b"," * 100_000 + b"x\n" + b"1,2\n" * 100_000)
    yield Case("many cells.csv", LARGE, lambda: b"1,2,3,4,5,6,7,8,9,10\n" * 250_000)
    yield Case("no line ends.txt", "txt", lambda: b"word" * 3 * MEGABYTE)
    yield Case("many tags.html", LARGE, lambda: b"<!DOCTYPE html><html>" + b"<p>a" * 200_000)
    yield Case("many lines.md", LARGE, lambda: b"# x\n\n" + b"a\n\n" * 200_000)
    yield Case("brackets.md", "md", lambda: b"# x\n\n" + b"[" * 40_000)
    yield Case("stars.md", "md", lambda: b"# x\n\n" + b"*a **b " * 5_000)
    yield Case("many lines.adoc", LARGE, lambda: b"= x\n\n== y\n\n" + b"a\n\n" * 200_000)
    yield Case("no cues.vtt", EMPTY, lambda: b"WEBVTT\n\nNOTE nothing is said\n")


def sparse(path: Path, start: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


# --- sheets ----------------------------------------------------------------------------------------------

_SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{}</worksheet>'


def sheet(rows: str, after: str = "") -> bytes:
    content = _SHEET.format(f"<sheetData>{rows}</sheetData>{after}")
    return files.replaced(files.xlsx(), {"xl/worksheets/sheet1.xml": content})


def _cell(reference: str, text: str = "x") -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>'


def _sheets() -> Iterator[Case]:
    yield Case("last cell.xlsx", "xlsx", lambda: sheet(f'<row r="1048576">{_cell("XFD1048576")}</row>'))
    yield Case(
        "all merged.xlsx",
        "xlsx",
        lambda: sheet(
            f'<row r="1">{_cell("A1")}</row>',
            '<mergeCells count="1"><mergeCell ref="A1:XFD1048576"/></mergeCells>',
        ),
    )
    yield Case("fifty thousand rows.xlsx", "xlsx", many_rows)
    yield Case("too many cells.xlsx", LARGE, many_cells)
    yield Case(
        "far apart.xlsx",
        LARGE,
        lambda: sheet(
            "".join(f'<row r="{n}">{_cell(f"A{n}")}{_cell(f"XFD{n}")}</row>' for n in range(1, 30_000))
        ),
    )
    yield Case("one text for all.xlsx", LARGE, lambda: shared_text(20_000, 30_000))
    yield Case("one text for very many.xlsx", LARGE, lambda: shared_text(200_000, 30_000))
    yield Case(
        "empty rows.xlsx", "xlsx", lambda: sheet(f'<row r="1">{_cell("A1")}</row>' + '<row r="7"/>' * 250_000)
    )
    repeated = (
        '<table:table-row table:number-rows-repeated="1000000"><table:table-cell '
        'table:number-columns-repeated="1000" office:value-type="string"><text:p>x</text:p>'
        "</table:table-cell></table:table-row>"
    )
    yield Case(
        "repeated.ods",
        LARGE,
        lambda: files.odf("spreadsheet", f'<table:table table:name="a">{repeated}</table:table>'),
    )
    tail = (
        '<table:table-row table:number-rows-repeated="1048570"><table:table-cell '
        'table:number-columns-repeated="16384"/></table:table-row></table:table>'
    )
    yield Case(
        "empty to the end.ods",
        "ods",
        lambda: files.odf("spreadsheet", files.odf_table().replace("</table:table>", tail)),
    )
    yield Case(
        "spaces.odt", LARGE, lambda: files.odf("text", '<text:p>a<text:s text:c="2000000000"/>b</text:p>')
    )
    yield Case("repeated.odt", LARGE, lambda: files.odf("text", f"<table:table>{repeated}</table:table>"))


def many_rows() -> bytes:
    cells = "".join(_cell(f"{column}{{0}}", f"text {column} {{0}}") for column in "ABCDE")
    row = f'<row r="{{0}}">{cells}</row>'
    return sheet("".join(map(row.format, range(1, 50_001))))


def many_cells(path: Path) -> None:
    row = f"<row>{'<c><v>1</v></c>' * 50}</row>".encode()
    with (
        zipfile.ZipFile(io.BytesIO(files.xlsx())) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            if name != "xl/worksheets/sheet1.xml":
                new.writestr(name, old.read(name))
        with new.open("xl/worksheets/sheet1.xml", "w") as member:
            member.write(_SHEET.partition("{}")[0].encode() + b"<sheetData>")
            for _ in range(500):
                member.write(row * 100)
            member.write(b"</sheetData></worksheet>")


def shared_text(cells: int, length: int) -> bytes:
    """A short file whose cells all show the same long text."""
    rows = "".join(f'<row><c t="s"><v>{0}</v></c></row>' for _ in range(cells))
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    text = "word " * (length // 5)
    strings = f'<sst xmlns="{main}"><si><t>{text}</t></si></sst>'
    types = (
        '<Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
    )
    content = files.retyped(sheet(rows), "</Types>", types)
    return files.replaced(content, {"xl/sharedStrings.xml": strings})


# --- mails -----------------------------------------------------------------------------------------------


def _mails() -> Iterator[Case]:
    yield Case("ten thousand parts.eml", LARGE, many_parts)
    yield Case("mail in mail in mail.eml", "eml", lambda: nested_mail(12))
    yield Case("mail a thousand deep.eml", LARGE, thousand_deep)
    yield Case("bad attachments.eml", "eml", bad_attachments)
    yield Case(
        "three hundred attachments.eml",
        LARGE,
        lambda: files.eml(*((f"{n}.txt", b"word") for n in range(300))),
    )
    yield Case("cut.eml", "eml", lambda: files.eml(("a.docx", files.docx()))[:9000])
    yield Case(
        "no end of headers.eml",
        "eml",
        lambda: b"From: a@example.com\nTo: " + b"a@example.com, " * 4000 + b"\n\nwords",
    )
    yield Case(
        "encoded words.eml",
        "eml",
        lambda: b"From: a@example.com\nTo: b@example.com\nSubject: " + b"=?utf-8?B?" * 5000 + b"\n\nwords",
    )
    yield Case(
        "strange charset.eml",
        "eml",
        lambda: (
            b'From: a@example.com\nTo: b@example.com\nContent-Type: text/plain; charset="no\\such"\n\ncaf\xe9'
        ),
    )
    yield Case("cycle.msg", CORRUPT, cyclic_msg)
    yield Case("sizes that lie.msg", LARGE, oversized_msg)
    yield Case(
        "no properties.msg",
        CORRUPT,
        lambda: compound.compound({"__nameid_version1.0": {}, "__substg1.0_0037001F": b"ab"}),
    )


def many_parts() -> bytes:
    part = b"--b\nContent-Type: text/plain\n\nword\n"
    head = b"From: a@example.com\nTo: b@example.com\nContent-Type: multipart/mixed; boundary=b\n\n"
    return head + part * 10_000 + b"--b--\n"


def nested_mail(depth: int) -> bytes:
    message = files.mail()
    for number in range(depth):
        outer = files.mail(Subject=f"Forward {number}")
        outer.add_attachment(message)
        message = outer
    return message.as_bytes()


def thousand_deep() -> bytes:
    head = b"From: a@example.com\nTo: b@example.com\nMIME-Version: 1.0\nContent-Type: message/rfc822\n\n"
    return head * 3000 + b"words"


def bad_attachments() -> bytes:
    message: EmailMessage = files.mail()
    for name, content in (
        ("a.docx", files.docx()[:500]),
        ("b.xlsx", shared_text(20_000, 30_000)),
        ("../../c.bin", bytes(500)),
        ("d.pdf", b"%PDF-1.7 nothing"),
        ("e.txt", b""),
        ("f.html", b"<!DOCTYPE html><html><body>" + b"<div>" * 20_000),
        ("g.md", files.MARKDOWN.encode()),
    ):
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def cyclic_msg() -> bytes:
    """The chain of sectors of its directory leads back to its beginning."""
    content = bytearray(compound.compound(compound.message("Rules", files.TEXT * 300)))
    fat = (struct.unpack_from("<I", content, 76)[0] + 1) * 512
    first = struct.unpack_from("<I", content, 48)[0]
    struct.pack_into("<I", content, fat + 4 * first, first)
    return bytes(content)


def oversized_msg() -> bytes:
    """Streams that say they have two gigabytes each."""
    content = bytearray(compound.compound(compound.message("Rules", files.TEXT * 300)))
    at = content.index("__substg1.0_1000001F".encode("utf-16-le"))
    struct.pack_into("<Q", content, at + 120, 2_000_000_000)
    return bytes(content)


# --- PDF -------------------------------------------------------------------------------------------------


def _papers() -> Iterator[Case]:
    yield Case(
        "a million objects.pdf",
        LARGE,
        lambda: pdf([b"<< >>"]) + b"".join(map(b"%d 0 obj<<>>endobj\n".__mod__, range(10, 1_000_000))),
    )
    yield Case("a million packed objects.pdf", LARGE, packed_objects)
    yield Case("bomb.pdf", LARGE, lambda: pdf([flate(80, b"0 0 m 9 9 l S\n")]))
    yield Case(
        "pages in a circle.pdf",
        CORRUPT,
        lambda: raw_pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]),
    )
    yield Case(
        "a billion pages.pdf",
        EMPTY,
        lambda: raw_pdf(
            [
                b"<< /Type /Catalog /Pages 2 0 R >>",
                b"<< /Type /Pages /Kids [3 0 R] /Count 1000000000 >>",
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
            ]
        ),
    )
    yield Case(
        "deep arrays.pdf", CORRUPT, lambda: raw_pdf([b"<< /Type /Catalog /Pages " + b"[" * 100_000 + b" >>"])
    )
    yield Case("noise.pdf", CORRUPT, lambda: b"%PDF-1.7\n" + bytes(range(256)) * 20)


def pdf(extra: list[bytes]) -> bytes:
    """One page; the first of the other objects is its content."""
    return raw_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
            b"/Resources << /Font << /F1 4 0 R >> >> >>",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            *extra,
        ]
    )


def raw_pdf(objects: list[bytes]) -> bytes:
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    out.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def flate(megabytes: int, unit: bytes) -> bytes:
    """A stream that unpacks to many megabytes."""
    import zlib

    packer = zlib.compressobj(1)
    block = unit * (MEGABYTE // len(unit))
    packed = b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed)


def packed_objects() -> bytes:
    """A million objects in one packed stream, which is a few kilobytes."""
    import zlib

    count = 1_000_000
    heads = b" ".join(map(b"%d 0".__mod__, range(10, count + 10)))
    packed = zlib.compress(heads + b" <<>> ", 1)
    stream = b"<< /Type /ObjStm /N %d /First %d /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (
        count,
        len(heads) + 1,
        len(packed),
        packed,
    )
    return pdf([stream])


# --- the run ---------------------------------------------------------------------------------------------


def write(folder: Path) -> dict[str, str]:
    """The files, and what each is expected to end as."""
    expected = {}
    for case in cases():
        path = folder / case.name
        wants_path = case.make.__code__.co_varnames[:1] == ("path",)  # those that would not fit into memory
        made = case.make(path) if wants_path else case.make()
        if isinstance(made, bytes):
            path.write_bytes(made)
        expected[case.name] = case.expected
    return expected


def main(folder: Path, memory_mb: int) -> None:
    from shared.errors import DocmillError
    from shared.ports import ConversionOptions
    from shared.providers.conversion.request import Limits
    from shared.providers.docling import DoclingConverter

    with closing(DoclingConverter(1, memory_mb, Limits())) as converter:
        for path in sorted(folder.iterdir()):
            warnings: tuple[str, ...] = ()
            try:
                fmt = converter.detect(path, path.name)
                document = converter.convert(
                    path, fmt, ConversionOptions(), timeout=90, progress=lambda _done, _total: None
                )
                ended, message, warnings = document.format, "", document.warnings
            except DocmillError as error:
                ended, message = error.code, error.message
            answer = {"name": path.name, "ended": ended, "message": message, "warnings": warnings}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
