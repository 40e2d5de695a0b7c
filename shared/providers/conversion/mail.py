"""Mails: who wrote to whom, what, and every attachment as a document below its name.

An attachment that cannot be read costs a warning, not the mail. Attached mails are read the same way, and all
of them together are under one budget.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.documents import Block, ConvertedDocument
from shared.errors import ConversionFailed, DocmillError, DocumentEmpty, DocumentTooLarge
from shared.providers.conversion import declarative, detection, letters, outlook, plain
from shared.providers.conversion.docling_document import LinkBudget
from shared.providers.conversion.letters import Attachment, Letter
from shared.providers.conversion.request import Limits, Request

_log = logging.getLogger(__name__)
_LETTERS = {"eml": letters.read, "msg": outlook.read, "mhtml": letters.read_page}

Convert = Callable[[Request], ConvertedDocument]


def convert(request: Request, convert_attached: Convert) -> ConvertedDocument:
    reader = _Reader(request, convert_attached)
    try:
        blocks = tuple(reader.blocks(_letter(request.path, request.format, request.limits), 0))
    except _Spent as spent:
        raise DocumentTooLarge(str(spent)) from spent
    if not any(block.text for block in blocks):
        raise DocumentEmpty
    headings = [block for block in blocks if block.kind == "heading"]
    return ConvertedDocument(
        format=request.format,
        title=min(headings, key=lambda block: block.level or 1).text if headings else None,
        blocks=blocks,
        warnings=tuple(dict.fromkeys((*reader.warnings, *reader.links.warnings))),
    )


class _Spent(Exception):
    """Says what to do. The budget of the whole mail is used up, not that of one attachment."""


class _Reader:
    """One mail with all that is in it. `warnings` grow while `blocks` are read."""

    def __init__(self, request: Request, convert_attached: Convert) -> None:
        self._request = request
        self._limits = request.limits
        self._convert = convert_attached
        self._attachments = 0
        self._characters = 0
        self.links = LinkBudget(request.limits)
        self.warnings: list[str] = []

    def blocks(self, letter: Letter, depth: int, name: str = "") -> Iterator[Block]:
        """`depth`: how many mails this one is in; `name`: what it is called there.

        Raises DocumentTooLarge and DocumentCorrupt."""
        if letter.subject and letter.subject != name:
            yield Block(kind="heading", level=1, text=letter.subject)
        yield from (Block(kind="text", text=line) for line in letter.lines)
        yield from self._counted(self._body(letter), 1)
        if letter.cut:
            self.warnings.append("The mail is cut short: its last part has no end.")
        for attachment in letter.attachments:
            yield from self._attached(attachment, depth)

    def _body(self, letter: Letter) -> tuple[Block, ...]:
        if letter.text.strip():
            return plain.paragraphs(letter.text.replace("\r\n", "\n").replace("\0", ""))
        if not letter.html.strip():
            return ()
        try:
            content = letter.html.encode("utf-8-sig", errors="replace")
            document = declarative.convert_text(content, "html", self._limits)
        except DocumentEmpty:
            return ()
        self.warnings += document.warnings
        return document.blocks

    def _attached(self, attachment: Attachment, depth: int) -> Iterator[Block]:
        """The attachment's name as a heading, then its blocks below; its pages are not the mail's."""
        self._attachments += 1
        number = self._attachments
        if number > self._limits.attachments:
            raise _Spent(
                f"The mail has more than {self._limits.attachments:,} attachments. Upload them alone."
            )
        yield Block(kind="heading", level=2, text=attachment.name or f"Attachment {number}")
        try:
            yield from self._counted(self._parts(attachment, number, depth), 2)
        except (_Spent, MemoryError):
            raise
        except DocmillError as error:
            self.warnings.append(f"Attachment {number} was left out: {error.message}")
        except Exception:
            _log.exception("attachment failed")
            self.warnings.append(f"Attachment {number} was left out: {ConversionFailed.default}")

    def _parts(self, attachment: Attachment, number: int, depth: int) -> tuple[Block, ...]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "attachment"
            path.write_bytes(attachment.content)
            fmt = None
            if attachment.letter is None:
                fmt = detection.detect(path, attachment.name, self._limits.expanded_bytes)
            if fmt is None or fmt in _LETTERS:
                if depth + 1 >= self._limits.depth:
                    raise DocumentTooLarge("Mails are nested too deeply in it.")
                letter = attachment.letter() if attachment.letter else _letter(path, str(fmt), self._limits)
                return tuple(self.blocks(letter, depth + 1, attachment.name))
            return self._document(path, fmt, number)

    def _document(self, path: Path, fmt: str, number: int) -> tuple[Block, ...]:
        document = self._convert(self._request.model_copy(update={"path": path, "format": fmt}))
        self.warnings += [f"Attachment {number}: {warning}" for warning in document.warnings]
        return document.blocks

    def _counted(self, blocks: tuple[Block, ...], level: int) -> Iterator[Block]:
        """Blocks below a heading of `level`."""
        self._characters += sum(len(block.text) for block in blocks)
        if self._characters > self._limits.text_bytes:
            raise _Spent("The mail and its attachments hold too much text. Upload them one by one.")
        for block in blocks:
            below = None if block.level is None else block.level + level
            links = self.links.within(block.links)
            yield block.model_copy(update={"page": None, "level": below, "links": links})


def _letter(path: Path, fmt: str, limits: Limits) -> Letter:
    return _LETTERS[fmt](path, limits)
