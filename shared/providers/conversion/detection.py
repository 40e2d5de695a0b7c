"""The format of a file by its content. The name decides only between kinds of plain text.

Runs in the caller's process, so it hardly unpacks and never parses anything: it reads the first bytes, the
names in a zip's directory, and searches for markers.
"""

from __future__ import annotations

import codecs
import csv
import mmap
import re
import zipfile
import zlib
from pathlib import Path, PurePath

from shared.errors import (
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentTooLarge,
    UnsupportedFormat,
)
from shared.providers.conversion.formats import FORMATS, IMAGES, KEYS

SUPPORTED = KEYS

_SAMPLE = 64 * 1024
_PDF_HEADER_WITHIN = 1024  # readers accept junk before %PDF-
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_RTF = b"{\\rtf"
_OLE = bytes.fromhex("D0CF11E0A1B11AE1")
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_OOXML = {"word/": "docx", "ppt/": "pptx", "xl/": "xlsx"}
_OFFICE_NAMES = re.compile(r"\.(doc|ppt|xls|dot|pot|pps|xlt)[xm]$", re.IGNORECASE)
_MAIL_STREAMS = tuple(
    name.encode("utf-16-le")
    for name in ("__nameid_", "__substg1.0_", "__properties_", "__recip_", "__attach_")
)
_OPENDOCUMENT_OR_BOOK = re.compile(
    r"application/(vnd\.oasis\.opendocument\.(text|spreadsheet|presentation)(-template)?|epub\+zip)"
)
_ZIPPED_KINDS = {"text": "odt", "spreadsheet": "ods", "presentation": "odp", None: "epub"}
_PLAIN_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_MIME_IMAGES = {"image/jpeg": "jpg"} | {f"image/{key}": key for key in IMAGES}
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_END = b"PK\x06\x06"
_MAX_ZIP_DIRECTORY = 4 * 1024 * 1024  # about 50,000 members
_TABLE_SAMPLE = 4096  # characters; what sniffs takes the square of it

# These run in the parent, over up to 64 KB that anybody may have written: none may go back over what it read.
_HTML = re.compile(
    r"\s*(<\?xml[^>]*\?>\s*)?(?><!--.*?-->\s*)*+<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_HTML_PART = re.compile(
    r"\s*<(head|body|div|p|table|h[1-6]|ul|ol|article|section|title|meta)\b", re.IGNORECASE
)
_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*\S|[ \t]+\S")
_MARKDOWN = re.compile(
    r"^(#{1,6} \S|```|\|[ :|-]+\|\s*$)|\[[^\[\]\n]{1,300}\]\([^)\n]{1,300}\)", re.MULTILINE
)
_JATS = re.compile(
    r"\s*(<\?xml[^>]*\?>\s*)?(?><!--.*?-->\s*)*+(?><\?.*?\?>\s*)*+"
    r"(<!doctype\s+article\s[^>]*\bDTD (JATS|Journal)|<article\b[^>]*\b(dtd-version|article-type)=)",
    re.IGNORECASE | re.DOTALL,
)
_ASCIIDOC = re.compile(
    r"^(={1,6} \S.*|\|===|\[(source|NOTE|TIP|quote)[^\]\n]{0,300}\]|"
    r"image::[^\s\[]{1,300}\[[^\]\n]{0,300}\]|:[\w-]+:.*)$",
    re.MULTILINE,
)
_WORDS = ("md", "txt", "csv", "asciidoc")
_TEXT_NAMES = {ending: row.key for row in FORMATS if row.key in _WORDS for ending in row.endings}


def detect(path: Path, filename: str, max_expanded_bytes: int) -> str:
    """One of SUPPORTED. Raises UnsupportedFormat, DocumentEmpty, DocumentEncrypted, DocumentCorrupt, and
    DocumentTooLarge for a zip that would unpack to more than `max_expanded_bytes`."""
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
    if not head:
        raise DocumentEmpty("The file has no bytes. Upload it again.")
    if b"%PDF-" in head[:_PDF_HEADER_WITHIN]:
        return "pdf"
    if head.startswith(_OLE):
        return _compound_file(path, filename)
    if head.startswith((_ZIP, _EMPTY_ZIP)):
        return _zipped(path, max_expanded_bytes)
    # Without the zero "BMW" would be a bitmap.
    if b"\0" in head and (mime := _magic(head)) in _MIME_IMAGES:
        return _MIME_IMAGES[str(mime)]
    return _text_kind(_decoded(head), PurePath(filename).suffix.lower().lstrip("."))


def unsupported(what: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"{what} Supported are: {', '.join(SUPPORTED)}.")


def _compound_file(path: Path, filename: str) -> str:
    """Outlook's mails, encrypted Office files and those of before 2007 share one container."""
    if _is_outlook(path):
        return "msg"
    if _contains(path, _ENCRYPTED_STREAM):
        raise DocumentEncrypted(
            "The Office file is protected by a password. Remove it and upload the file again."
        )
    if _OFFICE_NAMES.search(filename):
        raise DocumentEncrypted(
            "The file is protected by a password or is of an old binary Office format. Save it without a "
            "password in the current format (.docx, .pptx, .xlsx) and upload it again."
        )
    raise unsupported("Old binary Office files are not supported: save as .docx, .pptx or .xlsx.")


def _is_outlook(path: Path) -> bool:
    """By the first names in the directory: those of a mail's streams are unlike any others."""
    with path.open("rb") as file:
        header = file.read(512)
        if len(header) < 512:
            return False
        size = 1 << min(int.from_bytes(header[30:32], "little"), 12)
        sector = int.from_bytes(header[48:52], "little")
        start = (sector + 1) * size
        if start >= path.stat().st_size:
            raise DocumentCorrupt
        file.seek(start)
        directory = file.read(size)
    names = (directory[at : at + 64] for at in range(0, len(directory), 128))
    return any(name.startswith(_MAIL_STREAMS) for name in names)


def _contains(path: Path, needle: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(needle) >= 0


def _zipped(path: Path, max_expanded_bytes: int) -> str:
    _check_directory_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DocumentCorrupt from error
    if any(entry.flag_bits & 1 for entry in entries):
        raise DocumentEncrypted
    if sum(entry.file_size for entry in entries) > max_expanded_bytes:
        raise DocumentTooLarge(f"Unpacked, the file is larger than {max_expanded_bytes:,} bytes. Split it.")
    if any(entry.compress_type not in _PLAIN_METHODS for entry in entries):
        raise DocumentCorrupt("The file is packed in a way that documents are not. Save it anew.")
    names = [entry.filename for entry in entries]
    if "mimetype" in names:
        return _by_mimetype(path)
    kind = next(
        (kind for start, kind in _OOXML.items() if any(name.startswith(start) for name in names)), None
    )
    if kind is None:
        raise unsupported("This kind of archive is not supported: upload the documents in it one by one.")
    if "[Content_Types].xml" not in names:
        raise DocumentCorrupt
    return kind


def _by_mimetype(path: Path) -> str:
    """OpenDocument and EPUB name their type in a member, the only one that is unpacked here, and 100 bytes of
    it."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("mimetype") as member:
            kind = _OPENDOCUMENT_OR_BOOK.match(member.read(100).decode("latin-1"))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise DocumentCorrupt from error
    if kind is None:
        raise unsupported("This kind of archive is not supported.")
    return _ZIPPED_KINDS[kind[2]]


def _check_directory_size(path: Path) -> None:
    """`zipfile` reads the whole directory into objects, so a file could name tens of millions of members."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 66_000))
        tail = file.read()
    end = tail.rfind(_EMPTY_ZIP)
    if end < 0 or len(tail) < end + 22:
        raise DocumentCorrupt
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if tail[:end][-20:].startswith(_ZIP64_LOCATOR):  # what it points to goes before the number above
        record = tail[:end][-76:-20]
        if not record.startswith(_ZIP64_END):
            raise DocumentCorrupt
        directory = int.from_bytes(record[40:48], "little")
    if min(directory, size) > _MAX_ZIP_DIRECTORY:
        raise DocumentTooLarge("The archive names too many members. Split the document.")


def _decoded(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", errors="replace")
    if b"\0" in head:
        raise _binary(_magic(head))
    if head.startswith(_RTF):
        raise _binary("application/rtf")
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    if _odd(text) > len(text) / 50:
        raise unsupported("This is not a text file.")
    return text


def _magic(head: bytes) -> str | None:
    """The MIME type of a known binary format."""
    import filetype

    kind = filetype.guess(head)
    return kind.mime if kind else None


def _binary(mime: str | None) -> Exception:
    if mime is None:
        return unsupported("This is not a text file.")
    return unsupported(f"Files of the type {mime} are not supported.")


def _odd(text: str) -> int:
    return sum(1 for char in text if char < " " and char not in "\t\n\r\f\x1b")


def _text_kind(text: str, extension: str) -> str:
    if not text.strip("\ufeff \t\r\n\f\v\u00a0"):
        raise DocumentEmpty
    if _is_subtitles(text):
        return "vtt"
    if _JATS.match(text):
        return "jats"
    named = _TEXT_NAMES.get(extension)
    if _HTML.match(text) or (_HTML_PART.match(text) and named is None):
        return "html"
    if mail := _mail_kind(text):
        return mail
    return named or _plain_kind(text)


def _is_subtitles(text: str) -> bool:
    line = text.lstrip("\ufeff").partition("\n")[0].rstrip("\r")
    return line == "WEBVTT" or line.startswith(("WEBVTT ", "WEBVTT\t"))


def _mail_kind(text: str) -> str | None:
    """RFC 5322: header fields up to the first empty line, the sender among them. Browsers save pages as mails
    without a receiver."""
    head, found, _ = text.lstrip("\ufeff").replace("\r\n", "\n").partition("\n\n")
    lines = head.splitlines()
    fields = [_HEADER.match(line) for line in lines]
    if not found or not all(fields) or len(lines) < 2:
        return None
    names = {field[1].lower() for field in fields if field and field[1]}
    received = bool(names & {"to", "cc", "message-id", "received"})
    if "mime-version" in names and "multipart/related" in head.lower() and not received:
        return "mhtml"
    known = names & {"to", "subject", "date", "message-id", "received", "mime-version"}
    return "eml" if "from" in names and known else None


def _plain_kind(text: str) -> str:
    if len(_ASCIIDOC.findall(text)) > 1:
        return "asciidoc"
    if _MARKDOWN.search(text):
        return "md"
    return "csv" if _is_table(text) else "txt"


def _is_table(text: str) -> bool:
    sample, cut, _ = text[:_TABLE_SAMPLE].rpartition("\n")
    lines = (sample if cut and len(text) > _TABLE_SAMPLE else text[:_TABLE_SAMPLE]).splitlines()[:20]
    if len(lines) < 2:
        return False
    try:
        dialect = csv.Sniffer().sniff("\n".join(lines), delimiters=",;\t|")
    except csv.Error:
        return False
    widths = {len(row) for row in csv.reader(lines, dialect) if row}
    return len(widths) == 1 and widths.pop() > 1
