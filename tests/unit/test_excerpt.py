"""An excerpt is short, whole text that a terminal may print."""

from __future__ import annotations

import pytest

from shared.providers.excerpt import MAX_EXCERPT, excerpt


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", ""),
        (b'{"error": "no"}', '{"error": "no"}'),
        ("Größe\tüber\nalles".encode(), "Größe\tüber\nalles"),
        (b"a\r\nb\rc", "a\nb\ufffdc"),
        (b"\x1b[2J\x00\x07\x7f\xc2\x9b", "\ufffd[2J\ufffd\ufffd\ufffd\ufffd"),
        (b"\x1f\x8b\x08\xff", "\ufffd\ufffd\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    ],
)
def test_text(body: bytes, kept: str) -> None:
    assert excerpt(body) == kept


@pytest.mark.parametrize("begin", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("letter", ["x", "ü", "€", "🌾"])
def test_cut_between_characters(begin: str, letter: str) -> None:
    text = begin + letter * 2000
    kept = excerpt(text.encode())
    assert text.startswith(kept)
    assert MAX_EXCERPT - len(letter.encode()) < len(kept.encode()) <= MAX_EXCERPT


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"\r"])
def test_what_grows_when_it_is_replaced(byte: bytes) -> None:
    assert excerpt(byte * 65536) == "\ufffd" * (MAX_EXCERPT // 3)
