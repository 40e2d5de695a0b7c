"""Outlook's mails (.msg, a compound file) as the same value as others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from shared.errors import DocmillError, DocumentCorrupt, DocumentTooLarge
from shared.providers.conversion.letters import Attachment, Letter, file_name, one_line
from shared.providers.conversion.request import Limits

_MAX_ENTRIES = 20_000
_LONGEST_LINE = 2000
_RECIPIENT_TYPE = 0x0C15
_COPY = {2: "Cc"}
_ATTACHED_MAIL = "__substg1.0_3701000D"
_ATTACHED_HEADER = 24
"""Bytes before the properties of a mail in a mail; of one by itself there are 32."""


def read(path: Path, limits: Limits) -> Letter:
    """Raises DocumentTooLarge and DocumentCorrupt."""
    from oxmsg import Message

    try:
        _check_size(path, limits)
        return _letter(Message.load(str(path)))
    except (DocmillError, MemoryError):
        raise
    except Exception as error:  # compound files break in more ways than the reader has errors for
        raise DocumentCorrupt from error


def _check_size(path: Path, limits: Limits) -> None:
    """All streams are read at once, and many names may stand for the same bytes."""
    from olefile import OleFileIO

    if path.stat().st_size > limits.mail_bytes:
        raise DocumentTooLarge(f"The mail has more than {limits.mail_bytes:,} bytes. Upload its attachments.")
    with OleFileIO(str(path)) as file:
        entries = [entry for entry in file.direntries if entry]
        if len(entries) > _MAX_ENTRIES or sum(entry.size for entry in entries) > limits.mail_bytes:
            raise DocumentTooLarge("The mail has too many parts. Upload its attachments one by one.")


def _letter(message: Any) -> Letter:
    return Letter(
        subject=one_line(message.subject, _LONGEST_LINE),
        lines=tuple(one_line(line, _LONGEST_LINE) for line in _lines(message)),
        text=message.body or "",
        html=_html(message),
        attachments=tuple(map(_attachment, message.attachments)),
    )


def _lines(message: Any) -> Iterator[str]:
    if message.sender:
        yield f"From: {message.sender}"
    receivers: dict[str, list[str]] = {}
    for recipient in message.recipients:
        field = _COPY.get(recipient.properties.int_prop_value(_RECIPIENT_TYPE), "To")
        address = f"<{recipient.email_address}>" if recipient.email_address else ""
        receivers.setdefault(field, []).append(" ".join(filter(None, (recipient.name, address))))
    for field, names in receivers.items():
        yield f"{field}: {', '.join(names)}"
    if message.sent_date:
        yield f"Date: {message.sent_date:%a, %d %b %Y %H:%M:%S %z}"


def _html(message: Any) -> str:
    try:
        return message.html_body or ""
    except (LookupError, ValueError):
        return ""


def _attachment(attachment: Any) -> Attachment:
    inner = next((one for one in attachment._storage.storages if one.name == _ATTACHED_MAIL), None)
    if inner is not None:
        message = _attached(inner)
        return Attachment(one_line(message.subject, _LONGEST_LINE), b"", partial(_letter, message))
    return Attachment(file_name(attachment.file_name or ""), attachment.file_bytes or b"")


def _attached(storage: Any) -> Any:
    from oxmsg import Message
    from oxmsg.properties import Properties

    class Attached(Message):
        properties = property(lambda self: Properties(self._storage, _ATTACHED_HEADER))

    return Attached(storage)
