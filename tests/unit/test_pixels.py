"""Pictures are measured by their headers."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from shared.errors import DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion.pixels import check_pixels
from shared.providers.conversion.request import Limits


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def png(width: int, height: int) -> bytes:
    """A header that says so, and a row of nothing behind it."""

    def part(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = part(b"IDAT", zlib.compress(bytes(900)))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + rows + part(b"IEND", b"")


def tiff(count: int, size: tuple[int, int] = (9, 9)) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("L", size) for _ in range(count)]
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(60_000, 60_000), (20_000, 6_000), (1, 2**31 - 1)])
def test_too_many_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(DocumentTooLarge, match="pixels"):
        check_pixels(written(tmp_path / "a", png(*size)), Limits())


def test_frames_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a", tiff(3))
    assert check_pixels(path, Limits()) == 3
    with pytest.raises(DocumentTooLarge, match="3 pages"):
        check_pixels(path, Limits(pages=2))


def test_every_frame_is_measured(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (9, 9)).save(buffer, "TIFF", save_all=True, append_images=[Image.new("L", (90, 90))])
    with pytest.raises(DocumentTooLarge, match="pixels"):
        check_pixels(written(tmp_path / "a", buffer.getvalue()), Limits(pixels=1000))


def test_a_chain_of_frames_without_end(tmp_path: Path) -> None:
    content = bytearray(tiff(2))
    first = struct.unpack_from("<I", content, 4)[0]
    entries = struct.unpack_from("<H", content, first)[0]
    second = struct.unpack_from("<I", content, first + 2 + 12 * entries)[0]
    entries = struct.unpack_from("<H", content, second)[0]
    struct.pack_into("<I", content, second + 2 + 12 * entries, first)
    assert check_pixels(written(tmp_path / "a", bytes(content)), Limits()) == 2


@pytest.mark.parametrize("content", [b"", b"no picture", png(9, 9)[:20], tiff(1)[:40]])
def test_broken(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DocumentCorrupt):
        check_pixels(written(tmp_path / "a", content), Limits())
