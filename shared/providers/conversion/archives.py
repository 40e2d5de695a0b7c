"""Documents that are zip archives: counted while they are unpacked, and packed anew without pictures.

What a parser gets is our copy: every name once and none that leads out of the archive, no compression, no
lies about sizes, nothing but markup. Pictures are one white dot each, so that none is decoded.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

from shared.errors import DocmillError, DocumentCorrupt, DocumentEncrypted, DocumentTooLarge
from shared.providers.conversion.markup import Part, Tally, check_depth, is_markup
from shared.providers.conversion.request import Limits

_CHUNK = 256 * 1024
_ROOT_WITHIN = 1024
_LONGEST_LIST = 4 * 1024 * 1024
_MAX_PARTS = 20_000
_DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f0001010100b138f6140000000049454e44ae426082"
)
_TYPES = {"[Content_Types].xml", "mimetype", "META-INF/manifest.xml"}
_MAIN_TYPE = re.compile(rb"application/vnd\.[\w.-]+\.main\+xml")
_MAIN_TYPES = {
    "docx": b"wordprocessingml.document.main+xml",
    "pptx": b"presentationml.presentation.main+xml",
    "xlsx": b"spreadsheetml.sheet.main+xml",
}
_ENCRYPTED_CHAPTER = re.compile(rb"CipherReference[^>]*\.x?html?[\"']")
_PARTS = {
    "pptx": ("ppt/slides/slide", "slides"),
    "xlsx": ("xl/worksheets/sheet", "sheets"),
}
_HEAVY = {"odt", "odp", "epub"}
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


def copied(path: Path, fmt: str, limits: Limits) -> bytes | None:
    """The archive packed anew; None when its sheets hold so much that they are to be read row by row.

    Raises DocumentTooLarge, DocumentEncrypted and DocumentCorrupt."""
    tally, buffer = Tally(limits, 2 if fmt in _HEAVY else 1), BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(buffer, "w") as new:
            members = _members(archive)
            _check_pages(members, fmt, limits)
            _check_lock(archive, members, fmt)
            for name, member in members.items():
                with archive.open(member) as old, new.open(name, "w") as copy:
                    for chunk in _chunks(old, name, fmt, tally):
                        if not tally.many_cells:
                            copy.write(chunk)
        if fmt == "epub":
            _check_chapters(buffer, limits)
    except DocmillError:
        raise
    except _BROKEN as error:
        raise DocumentCorrupt from error
    return None if tally.many_cells else buffer.getvalue()


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Files by name, without the names that no document has."""
    found = {
        member.filename: member
        for member in archive.infolist()
        if not member.is_dir() and _is_inside(member.filename)
    }
    if len(found) > _MAX_PARTS:
        raise DocumentTooLarge(f"The file has more than {_MAX_PARTS:,} parts. Split it.")
    return found


def _plain_type(content: bytes, fmt: str) -> bytes:
    """Templates and files with macros hold the same as others, but parsers refuse them by their type."""
    if b"<!ENTITY" in content:
        raise DocumentCorrupt
    if fmt in _MAIN_TYPES:
        return _MAIN_TYPE.sub(b"application/vnd.openxmlformats-officedocument." + _MAIN_TYPES[fmt], content)
    return content.replace(b"-template", b"")


def _check_chapters(copy: BytesIO, limits: Limits) -> None:
    with zipfile.ZipFile(copy) as archive:
        for name in archive.namelist():
            check_depth(archive.read(name), limits)


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and "\\" not in name and ".." not in name.split("/")


def _check_pages(members: dict[str, zipfile.ZipInfo], fmt: str, limits: Limits) -> None:
    if fmt in _PARTS:
        start, what = _PARTS[fmt]
        count = sum(name.startswith(start) and name.endswith(".xml") for name in members)
        if count > limits.pages:
            raise DocumentTooLarge(f"The file has {count:,} {what}; {limits.pages:,} are allowed. Split it.")


def _check_lock(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], fmt: str) -> None:
    """OpenDocument and EPUB say in a part of their own which others are encrypted."""
    if fmt in {"odt", "ods", "odp"}:
        name, mark = "META-INF/manifest.xml", re.compile(rb"encryption-data")
    elif fmt == "epub":
        name, mark = "META-INF/encryption.xml", _ENCRYPTED_CHAPTER
    else:
        return
    if name in members:
        with archive.open(members[name]) as part:
            if mark.search(part.read(_CHUNK)):
                raise DocumentEncrypted


def _chunks(old: IO[bytes], name: str, fmt: str, tally: Tally) -> Iterator[bytes]:
    """What the copy holds of a part. Of one that is no markup not even the rest is unpacked."""
    start = old.read(_ROOT_WITHIN)
    if name in _TYPES:
        yield _plain_type(start + old.read(_LONGEST_LIST), fmt)
        return
    if not is_markup(start):
        yield _DOT
        return
    part = Part(tally, start, sheet=fmt == "xlsx" and b"worksheet" in start)
    chunk = start
    while chunk:
        part.feed(chunk)
        yield chunk
        chunk = old.read(_CHUNK)
    part.feed(b"", last=True)
