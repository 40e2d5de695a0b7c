"""Internet mail (RFC 5322, MIME) as a value: header lines, body, attachments. Nothing is converted here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import DocumentCorrupt, DocumentEncrypted, DocumentTooLarge
from shared.providers.conversion.plain import decode
from shared.providers.conversion.request import Limits

_HEADERS = ("From", "To", "Cc", "Date")
_LONGEST_LINE = 2000
_LONGEST_NAME = 200
_MAX_PARTS = 5000
_SECRET = {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}


class Letter(NamedTuple):
    """`lines`: header fields to be shown, as text. `text` goes before `html`, which says the same."""

    subject: str
    lines: tuple[str, ...]
    text: str
    html: str
    attachments: tuple[Attachment, ...]
    cut: bool = False


class Attachment(NamedTuple):
    """A file by its name, or a mail that was attached as such: then `letter` reads it."""

    name: str
    content: bytes
    letter: Callable[[], Letter] | None = None


def read(path: Path, limits: Limits) -> Letter:
    """Raises DocumentTooLarge, DocumentCorrupt and DocumentEncrypted."""
    return _letter(_parsed(path, limits))


def read_page(path: Path, limits: Limits) -> Letter:
    """A web page that was saved as a mail: its first HTML part, and nothing about who saved it."""
    pages = (part for part in _parts(_parsed(path, limits)) if part.get_content_type() == "text/html")
    page = next(pages, None)
    if page is None:
        raise DocumentCorrupt
    return Letter("", (), "", _text(page), ())


def _parsed(path: Path, limits: Limits) -> Message:
    if path.stat().st_size > limits.mail_bytes:
        raise DocumentTooLarge(f"The mail has more than {limits.mail_bytes:,} bytes. Upload its attachments.")
    try:
        with path.open("rb") as file:
            return BytesParser().parse(file)
    except RecursionError as error:
        raise DocumentTooLarge("Mails are nested too deeply in this one.") from error


def _letter(message: Message) -> Letter:
    if message.get_content_type() in _SECRET and message.get_param("smime-type") != "signed-data":
        raise DocumentEncrypted("The mail is encrypted. Save it without encryption and upload it again.")
    plain: list[str] = []
    html: list[str] = []
    attachments: list[Attachment] = []
    for part in _parts(message):
        kind = part.get_content_type()
        if kind == "message/rfc822":
            attachments += _attached_mail(part)
        elif _is_body(part):
            (html if kind == "text/html" else plain).append(_text(part))
        elif not _is_inside_text(part):
            attachments.append(Attachment(_name(part), _content(part)))
    return Letter(
        subject=_field(message, "Subject"),
        lines=tuple(f"{name}: {_field(message, name)}" for name in _HEADERS if _field(message, name)),
        text="\n\n".join(text for text in plain if text.strip()),
        html="\n".join(html),
        attachments=tuple(attachments),
        cut=any(type(defect).__name__ == "CloseBoundaryNotFoundDefect" for defect in message.defects),
    )


def _parts(message: Message) -> Iterator[Message]:
    """All that is no container, in order; attached mails are one part each."""
    waiting, seen = [message], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > _MAX_PARTS:
            raise DocumentTooLarge(f"The mail has more than {_MAX_PARTS:,} parts.")
        payload: Any = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            waiting += reversed(payload)
        else:
            yield part


def _attached_mail(part: Message) -> Iterator[Attachment]:
    payload: Any = part.get_payload()
    for mail in payload if isinstance(payload, list) else ():
        yield Attachment(_field(mail, "Subject"), b"", partial(_letter, mail))


def _is_body(part: Message) -> bool:
    is_text = part.get_content_type() in {"text/plain", "text/html"}
    return is_text and part.get_content_disposition() != "attachment" and not part.get_filename()


def _is_inside_text(part: Message) -> bool:
    """A logo, mostly; and the status reports and signatures that only programs read."""
    picture = part.get_content_maintype() == "image" and part.get_content_disposition() != "attachment"
    return (
        (picture and "Content-ID" in part)
        or part.is_multipart()
        or part.get_content_type() in {"application/pgp-signature", "application/pkcs7-signature"}
    )


def _content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: Message) -> str:
    content = _content(part)
    try:
        return content.decode(part.get_content_charset() or "utf-8")
    except (LookupError, ValueError):
        return decode(content)


def _field(message: Message, name: str) -> str:
    return one_line(_decoded(message.get(name, "")), _LONGEST_LINE)


def _name(part: Message) -> str:
    return file_name(_decoded(part.get_filename() or ""))


def _decoded(value: object) -> str:
    """Encoded words as text; what is malformed stays as it is."""
    try:
        return str(make_header(decode_header(str(value)[: _LONGEST_LINE * 4])))
    except Exception:
        return str(value)


def one_line(text: str, longest: int) -> str:
    return " ".join(text.split())[:longest]


def file_name(text: str) -> str:
    """The last part of a path."""
    return one_line(re.split(r"[/\\]", text)[-1].replace("\0", ""), _LONGEST_NAME)
