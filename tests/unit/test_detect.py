"""The format of a file is what is in it. Its name decides between kinds of plain text only."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from shared.errors import (
    DocmillError,
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentTooLarge,
    UnsupportedFormat,
)
from shared.providers.conversion.detection import SUPPORTED, detect
from tests import compound, files

OLE = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(2000)
ENCRYPTED = OLE + "EncryptedPackage".encode("utf-16-le") + bytes(500)
MAIL = b"From: Ann <ann@example.com>\r\nSubject: Hi\r\n there\r\n\r\nDear all"
HTML = b"<!DOCTYPE html>\n<html><body><p>Hello</p></body></html>"


def zipped(*names: str, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


def office(folder: str, content: bytes = b"x") -> bytes:
    return zipped("[Content_Types].xml", f"{folder}/document.xml", content=content)


def flagged(archive: bytes) -> bytes:
    """The archive with the bit that says: this member is encrypted."""
    at = archive.index(b"PK\x01\x02") + 8
    return archive[:at] + b"\x01" + archive[at + 1 :]


def detected(tmp_path: Path, content: bytes, name: str, expanded: int = 1 << 20) -> str:
    path = tmp_path / "file"
    path.write_bytes(content)
    return detect(path, name, expanded)


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"%PDF-1.7\n", "a.pdf", "pdf"),
        (b"\n\njunk %PDF-1.4\n", "a.docx", "pdf"),
        (office("word"), "a.docx", "docx"),
        (office("ppt"), "a.pptx", "pptx"),
        (office("xl"), "a.xlsx", "xlsx"),
        (office("word"), "a.pdf", "docx"),
        (office("xl"), "no extension", "xlsx"),
        (HTML, "a.html", "html"),
        (HTML, "a.txt", "html"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<html xmlns="y">', "a.md", "html"),
        (b"<div><p>Part of a page</p></div>", "a.htm", "html"),
        (b"<div align=center>\n\n# Project\n</div>", "readme.md", "md"),
        (MAIL, "a.eml", "eml"),
        (MAIL, "a", "eml"),
        (b"From: the beginning\n\nno mail", "a.txt", "txt"),
        (files.odt(), "a", "odt"),
        (files.ods(), "a.zip", "ods"),
        (files.odp(), "a", "odp"),
        (files.epub(), "a", "epub"),
        (files.replaced(files.epub(), {}), "a", "epub"),  # its type packed, as careless programs do
        (compound.compound(compound.message("a", "b")), "a.doc", "msg"),
        (b"WEBVTT - a talk\n\n00:00.000 --> 00:01.000\nHi\n", "a.txt", "vtt"),
        (b"\xef\xbb\xbfWEBVTT\r\n\r\n", "a", "vtt"),
        (b"WEBVTTX\n", "a.txt", "txt"),
        (files.ASCIIDOC.encode(), "a", "asciidoc"),
        (b"Just words.", "a.adoc", "asciidoc"),
        (files.JATS.encode(), "a.xml", "jats"),
        (b'<article article-type="news" dtd-version="1.0">', "a", "jats"),
        (b"<article><p>a web page's part</p></article>", "a", "html"),
        (b"<?xml version='1.0'?><other/>", "a.xml", "txt"),
        (
            MAIL.replace(b"From", b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\nFrom"),
            "a",
            "mhtml",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(300), "a.txt", "png"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "a", "jpg"),
        (b"II*\0" + bytes(300), "a", "tiff"),
        (b"RIFF\x99\0\0\0WEBPVP8 " + bytes(300), "a", "webp"),
        (b"# Title\n\nText", "a.md", "md"),
        (b"# Title\n\nText", "a", "md"),
        (b"# a comment\n1,2\n", "a.csv", "csv"),
        (b"a,b\n1,2\n3,4\n", "a.csv", "csv"),
        (b"a;b\n1;2\n3;4\n", "a", "csv"),
        (b"a,b\n1,2\n3,4\n", "a.txt", "txt"),
        (b"Just words.", "a.txt", "txt"),
        (b"Just words.", "a.docx", "txt"),
        ("Grüße aus Köln".encode("latin-1"), "a.txt", "txt"),
        ("Grüße".encode("utf-16"), "a.txt", "txt"),
        ("é".encode() * 40_000, "a.txt", "txt"),
        (b"x" + "é".encode() * 40_000, "a.txt", "txt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(300), "a.txt", "png"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "a.jpeg", "jpg"),
        (b"II*\x00" + bytes(300), "a", "tiff"),
        (b"MM\x00*" + bytes(300), "a.tif", "tiff"),
        (b"RIFF\x00\x01\x00\x00WEBPVP8 " + bytes(300), "a.webp", "webp"),
        (b"BM" + bytes(300), "a.bmp", "bmp"),
        (b"GIF89a" + bytes(300), "a.gif", "gif"),
        (b"BMW builds cars.", "a.txt", "txt"),
    ],
)
def test_known(tmp_path: Path, content: bytes, name: str, expected: str) -> None:
    assert detected(tmp_path, content, name) == expected


@pytest.mark.parametrize(
    ("content", "name", "error", "hint"),
    [
        (b"", "a.pdf", DocumentEmpty, "no bytes"),
        (b" \n\t\r\n ", "a.txt", DocumentEmpty, "no text"),
        (b"\xef\xbb\xbf", "a.txt", DocumentEmpty, "no text"),
        (ENCRYPTED, "a.docx", DocumentEncrypted, "password"),
        (ENCRYPTED, "a", DocumentEncrypted, "password"),
        (OLE, "a.xlsx", DocumentEncrypted, "old binary"),
        (OLE, "a.doc", UnsupportedFormat, ".docx"),
        (compound.compound({"WordDocument": bytes(5000)}), "a.doc", UnsupportedFormat, ".docx"),
        (compound.compound({"WordDocument": bytes(50)})[:900], "a.doc", DocumentCorrupt, "damaged"),
        (zipped("mimetype", content=b"application/x-none"), "a.odt", UnsupportedFormat, "archive"),
        (flagged(office("word")), "a.docx", DocumentEncrypted, "password"),
        (office("word")[:-30], "a.docx", DocumentCorrupt, "damaged"),
        (b"PK\x03\x04" + bytes(100), "a.docx", DocumentCorrupt, "damaged"),
        (zipped("word/document.xml"), "a.docx", DocumentCorrupt, "damaged"),
        (zipped("a.txt", "b.txt"), "a.zip", UnsupportedFormat, "Supported are: pdf"),
        (office("word", bytes(2 << 20)), "a.docx", DocumentTooLarge, "Unpacked"),
        (b"{\\rtf1 Hello}", "a.rtf", UnsupportedFormat, "application/rtf"),
        (b"{\\rtf1 Hello}", "a.txt", UnsupportedFormat, "application/rtf"),
        (b"fLaC" + bytes(300), "a.flac", UnsupportedFormat, "audio/x-flac"),
        (b"\x7fELF" + bytes(range(256)), "a.txt", UnsupportedFormat, "Supported are"),
        (bytes(range(256)) * 4, "a.txt", UnsupportedFormat, "Supported are"),
        (bytes(range(1, 32)) * 40 + b"\xff", "a.txt", UnsupportedFormat, "Supported are"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, name: str, error: type[DocmillError], hint: str) -> None:
    with pytest.raises(error, match=hint) as raised:
        detected(tmp_path, content, name)
    assert str(tmp_path) not in raised.value.message


def test_too_many_members(tmp_path: Path) -> None:
    """The directory of the archive is measured before it is read."""
    end = b"PK\x05\x06" + bytes(8) + (40 << 20).to_bytes(4, "little") + bytes(6)
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(50 << 20)
        file.write(end)
    with pytest.raises(DocumentTooLarge):
        detect(path, "a.docx", 1 << 30)


def test_the_larger_directory_that_a_zip_may_name_counts_too(tmp_path: Path) -> None:
    record = b"PK\x06\x06" + bytes(36) + (40 << 20).to_bytes(8, "little") + bytes(8)
    locator = b"PK\x06\x07" + bytes(16)
    end = b"PK\x05\x06" + bytes(8) + (47).to_bytes(4, "little") + bytes(6)
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(50 << 20)
        file.write(record + locator + end)
    with pytest.raises(DocumentTooLarge):
        detect(path, "a.docx", 1 << 30)


@pytest.mark.parametrize(
    "content",
    [
        "<!---->" * 9000 + "x",
        "<?a ?>" * 9000 + "x",
        "[" * 65000,
        "image::" + "[" * 65000,
        "a b\nc\n" + ',"x' * 21000,
        "\n".join(["[source]"] * 8000),
        "a" + " " * 65000,
        "<article " + "a-" * 32000,
    ],
    ids=range(8),
)
def test_no_text_takes_longer_than_another(tmp_path: Path, content: str) -> None:
    """Each of these once took from a minute to for ever, while nothing else of the process went on."""
    assert detected(tmp_path, content.encode(), "a") in {"txt", "html", "md", "asciidoc"}


def test_the_message_lists_what_is_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match=", ".join(SUPPORTED)):
        detected(tmp_path, bytes(50), "a.bin")
