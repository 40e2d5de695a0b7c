"""A small PDF that nobody has seen before, made without a library: what `docmill smoke` sends.

A PDF, since reading one needs the compiled packages of the service: where those do not fit the machine, it
shows here. Never the same twice, since the same name and content would be the same document.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

_PAGE = (595, 842)  # A4, in points
_LEFT, _TOP, _LEADING = 72, 770, 1.5
_CONSONANTS, _VOWELS = "bdfglmnprst", "aeiou"


@dataclass(frozen=True)
class Sample:
    """One page about a harbour that does not exist. `answer` stands in it once, and not in the question."""

    harbour: str
    answer: str

    @property
    def filename(self) -> str:
        return f"docmill-smoke-{self.harbour.lower()}.pdf"

    @property
    def question(self) -> str:
        return f"Which number does the harbour of {self.harbour} have in the register?"

    @property
    def lines(self) -> tuple[tuple[int, str], ...]:
        """Size and text of each line."""
        return (
            (18, f"The harbour of {self.harbour}"),
            (11, "Somebody tries out whether a deployment works, and sends this page to it."),
            (11, f"The harbour of {self.harbour} has the number {self.answer} in the register of harbours."),
            (11, "Two ferries call there on weekdays, and one more on every second Sunday in summer."),
            (11, "The quay was built of granite, and its lamp can be seen from eleven miles away."),
            (11, "Fish is sold on the quay in the morning, before the first ferry leaves for the islands."),
            (11, "In winter the ice comes early, and the pilots wait for the icebreaker at the outer buoy."),
        )

    def pdf(self) -> bytes:
        return _pdf(self.lines)


def new() -> Sample:
    name = "".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(4))
    return Sample(name.capitalize(), str(100_000 + secrets.randbelow(900_000)))


def _pdf(lines: Iterable[tuple[int, str]]) -> bytes:
    """One page of Helvetica, which every reader of PDF has. Text in ASCII."""
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>" % _PAGE,
        _stream(_shown(lines)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    )
    file, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return file + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(file))
    )


def _stream(data: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%b\nendstream" % (len(data), data)


def _shown(lines: Iterable[tuple[int, str]]) -> bytes:
    """Each line at its place, from the top."""
    shown, height = [], float(_TOP)
    for size, text in lines:
        shown.append(b"BT /F1 %d Tf %d %.1f Td (%b) Tj ET" % (size, _LEFT, height, _escaped(text)))
        height -= size * _LEADING
    return b"\n".join(shown)


def _escaped(text: str) -> bytes:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("ascii")
