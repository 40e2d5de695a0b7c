"""How much a PDF holds, found out before it is parsed: objects, and packed streams that grow when unpacked.

Nothing is believed that the file says of itself but for the number of objects in a packed stream, which is a
limit that readers keep to: streams are found by their first bytes, unpacked, counted and forgotten.
"""

from __future__ import annotations

import base64
import mmap
import re
import zlib
from pathlib import Path

from shared.errors import DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion.request import Limits

_OBJECT = re.compile(rb" obj\b")
_PACKED_OBJECTS = re.compile(rb"/N\s+(\d{1,12})\b")
_PACKED_TWICE = re.compile(rb"/(?:FlateDecode|Fl|LZWDecode|LZW)\s*/(?:FlateDecode|Fl|LZWDecode|LZW)\b")
_BASE85 = re.compile(rb"/(?:ASCII85Decode|A85)\b")
_HEX = re.compile(rb"/(?:ASCIIHexDecode|AHx)\b")
_STREAM = re.compile(rb"stream\r?\n")
_IMAGE = re.compile(rb"/Subtype\s*/Image\b")
_OTHER = re.compile(
    rb"/Length1\b|/Type\b|/Subtype\b|/N\s+\d"
)  # fonts, attached files, packed objects, colours
_DICTIONARY = 2048
_CHUNK = 64 * 1024
_LARGEST_COPY = 64 * 1024 * 1024
_LARGEST_RATIO = 1032  # deflate cannot do better
_BYTES_PER_PIXEL = 4


def check_streams(path: Path, limits: Limits) -> None:
    """Raises DocumentTooLarge and DocumentCorrupt."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_objects(content, limits)
        total = 0
        for stream in _STREAM.finditer(content):
            before = content[max(0, stream.start() - _DICTIONARY) : stream.start()].rpartition(b" obj")[2]
            if _PACKED_TWICE.search(before):
                raise DocumentCorrupt("The file has streams that are packed twice. Save it anew.")
            most = _most(before, limits)
            packed = _binary(content, stream.end(), before)
            if len(packed) * _LARGEST_RATIO > most:
                total += _unpacked(packed, most)
            if total > limits.expanded_bytes:
                raise DocumentTooLarge(
                    f"Unpacked, the file is larger than {limits.expanded_bytes:,} bytes. Split it."
                )


def _most(dictionary: bytes, limits: Limits) -> int:
    """How many bytes a stream may unpack to: one without any kind is drawn on a page."""
    if _IMAGE.search(dictionary):
        return limits.pixels * _BYTES_PER_PIXEL
    return limits.text_bytes if _OTHER.search(dictionary) else limits.content_bytes


def _check_objects(content: mmap.mmap, limits: Limits) -> None:
    count = sum(1 for _ in _OBJECT.finditer(content))
    count += sum(int(number[1]) for number in _PACKED_OBJECTS.finditer(content))
    if count > limits.objects:
        raise DocumentTooLarge(f"The file has more than {limits.objects:,} objects. Print it to a new PDF.")


def _binary(content: mmap.mmap, start: int, dictionary: bytes) -> bytes:
    """The bytes of a stream, also of one that is written as text. None of one that is not packed by deflate,
    or so large that it is no bomb: a photograph."""
    end = content.find(b"endstream", start)
    end = end if end >= 0 else len(content)
    base85, as_hex = _BASE85.search(dictionary), _HEX.search(dictionary)
    if end - start > _LARGEST_COPY or not (base85 or as_hex or _is_deflate(content[start : start + 2])):
        return b""
    packed = content[start:end]
    try:
        if base85:
            return base64.a85decode(packed.strip().removesuffix(b"~>"))
        if as_hex:
            return bytes.fromhex(packed.strip().removesuffix(b">").decode("latin-1"))
    except ValueError:
        return b""
    return packed


def _is_deflate(head: bytes) -> bool:
    return len(head) == 2 and head[0] & 0x0F == 8 and int.from_bytes(head, "big") % 31 == 0


def _unpacked(packed: bytes, most: int) -> int:
    """Bytes that a stream unpacks to; 0 for one that is not packed by deflate."""
    if not _is_deflate(packed[:2]):
        return 0
    size, at, packer = 0, 0, zlib.decompressobj()
    try:
        while not packer.eof:
            piece = packer.unconsumed_tail
            if not piece:
                piece, at = packed[at : at + _CHUNK], at + _CHUNK
            if not piece:
                break
            size += len(packer.decompress(piece, _CHUNK * 16))
            if size > most:
                raise DocumentTooLarge(f"A part of the file unpacks to more than {most:,} bytes. Split it.")
    except zlib.error:
        return size  # readers take what came before
    return size
