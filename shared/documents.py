"""A document as Docmill sees it: its record, its text in blocks, the chunks that are searched."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Literal

from shared.tasks import Value

_WINDOW = 10_000
_MOST_MISSES = 100


class DocumentStatus(StrEnum):
    PENDING = "pending"
    STORED = "stored"
    INGESTED = "ingested"


class Document(Value):
    """One row of `documents`, as the contract shows it, and where its file and text lie."""

    document_id: str
    client_id: str
    filename: str
    content_type: str
    size: int
    sha256: str | None = None
    status: DocumentStatus = DocumentStatus.STORED
    pages: int | None = None
    chunks: int | None = None
    embedding_model: str | None = None
    created_at: datetime
    updated_at: datetime

    # Not shown.
    blob: str
    """Full name of the file in the container, under the client's prefix."""
    markdown_blob: str | None = None
    title: str | None = None
    etag: str | None = None
    """Of the file that an announced upload turned out to be: no other one is ever read for this document."""

    def public(self) -> dict[str, object]:
        return self.model_dump(mode="json", exclude={"blob", "markdown_blob", "title", "etag"})

    @property
    def immutable(self) -> bool:
        """Whether the file lies under a name of this document alone, where no other content comes later."""
        return self.blob.startswith(f"{self.client_id}/uploads/{self.document_id}/")

    @property
    def announced(self) -> bool:
        """Whether its file goes, or went, straight to storage."""
        return self.status is DocumentStatus.PENDING or self.etag is not None


class Link(Value):
    """`text`: the words of a block that lead to `url`."""

    text: str
    url: str


class Block(Value):
    """A piece of a converted document, in reading order. `level` is a heading's, 1 the highest."""

    kind: Literal["heading", "text", "list_item", "table", "code"]
    text: str
    """Plain text; a table is Markdown."""
    level: int | None = None
    page: int | None = None
    """1-based page, sheet or slide; None where the format has none."""
    links: tuple[Link, ...] = ()
    """In the order of their words. They are not in `text`: an address is noise to a search by meaning."""


class ConvertedDocument(Value):
    """What a converter makes of a file. `pages` is None where the format has no pages."""

    format: str
    title: str | None = None
    pages: int | None = None
    blocks: tuple[Block, ...]
    warnings: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()
    """Pages that hold only images and were not read."""
    page_labels: tuple[str, ...] = ()
    """What is printed as the number of each page ("iv", "A-3"), where that is not simply 1, 2, 3."""

    @property
    def characters(self) -> int:
        return sum(len(block.text) for block in self.blocks)

    def markdown(self) -> str:
        return "\n\n".join(self._parts()) + "\n"

    def _parts(self) -> Iterator[str]:
        """The blocks; where pages have labels, a comment says where one begins."""
        page = 0
        for block in self.blocks:
            if self.page_labels and block.page and block.page != page:
                page = block.page
                yield f"<!-- page {self.page_labels[page - 1]} -->"
            yield _markdown(block)


def _markdown(block: Block) -> str:
    text = _linked(block)
    if block.kind == "heading":
        return f"{'#' * min(block.level or 1, 6)} {text}"
    if block.kind == "list_item":
        return f"- {text}"
    if block.kind == "code":
        fence = _fence(text)
        return f"{fence}\n{text}\n{fence}"
    return text


def _fence(code: str) -> str:
    """Longer than whatever looks like one inside."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))


def _linked(block: Block) -> str:
    """The text with its links, in time that grows with its length alone: a converter's text may be hostile,
    and this runs in the process that no deadline ends. So a link is looked for near the one before it, and
    a text in which too many are not found keeps no more of them."""
    text, parts, done, misses = block.text, list[str](), 0, 0
    for link in block.links:
        at = _position(link.text, text, done)
        if at >= 0:
            parts += [text[done:at], f"[{link.text}]({link.url})"]
            done = at + len(link.text)
        else:
            misses += 1
            if misses > _MOST_MISSES:
                break
    return "".join((*parts, text[done:]))


def _position(words: str, text: str, start: int) -> int:
    """Where `words` stand in `text` as whole words, not far behind `start`; -1 if they do not."""
    end = start + _WINDOW + len(words)
    at = text.find(words, start, end) if words else -1
    while at >= 0 and (_inside(text, at) or _inside(text, at + len(words))):
        at = text.find(words, at + 1, end)
    return at


def _inside(text: str, at: int) -> bool:
    """Whether there is a word on both sides, which then is one word."""
    return 0 < at < len(text) and _is_word(text[at - 1]) and _is_word(text[at])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


class Chunk(Value):
    """A piece of a document that fits the embedding model. `headings` lead from the top to it."""

    chunk_index: int
    content: str
    page: int | None
    headings: tuple[str, ...]
    tokens: int

    @property
    def embedded_text(self) -> str:
        """What the model embeds: the heading path gives a short passage its subject."""
        return "\n".join((" > ".join(self.headings), self.content)) if self.headings else self.content

    @property
    def content_hash(self) -> str:
        """SHA-256 of what is embedded: equal texts of one client and model share one embedding."""
        return hashlib.sha256(self.embedded_text.encode(errors="replace")).hexdigest()


class EmbeddedChunk(Value):
    chunk: Chunk
    embedding: tuple[float, ...]


class Match(Value):
    """One search hit, as the contract shows it."""

    chunk_id: str
    document_id: str
    filename: str
    content: str
    score: float
    page: int | None
    headings: tuple[str, ...]
    chunk_index: int


class StoredChunk(Value):
    chunk_id: str
    document_id: str
    chunk_index: int
    content: str
    page: int | None
    headings: tuple[str, ...]
    tokens: int


class StoredSummary(Value):
    document_id: str
    summary: str
    model: str
    created_at: datetime


def new_document_id() -> str:
    """Of an upload that was announced, whose content nobody knows yet."""
    return f"doc-{secrets.token_hex(12)}"


def document_id_of_upload(client_id: str, filename: str, sha256: str) -> str:
    """The same name and content of one client is the same document."""
    return _document_id("upload", client_id, filename, sha256)


def document_id_of_blob(client_id: str, blob: str) -> str:
    """One blob name of one client is one document, whatever it holds at the moment."""
    return _document_id("blob", client_id, blob)


def _document_id(*parts: str) -> str:
    return f"doc-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}"
