"""A converted document becomes chunks that fit the embedding model.

What stands under one heading stays together and is joined up to the limit; a page's end splits nothing.
Small sections of one page share a chunk. Long paragraphs are split where sentences end, then where words do;
tables between rows, each part with the header row. Time is linear in the length of the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from shared.documents import Block, Chunk, ConvertedDocument

Count = Callable[[str], int]

# Nothing here may look at a character more than a few times, whatever a document holds: it holds the GIL.
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]?\s+|(?<=[\u3002\uff01\uff1f])|(?<!\s)[^\S\n]*+\n\s*")
_LINE_END = re.compile(r"\n+")
_TABLE_RULE = frozenset(" \t:|-")
_CHARACTERS_PER_TOKEN = 4
_SMALL_SECTION = 4  # below a quarter of the limit, sections of one page share a chunk


class _Piece(NamedTuple):
    """Text that is not split any more, unless it turns out too long. `header`: of the table that it is from.

    `glue` joins it to the piece before it. An empty text stands for a heading without anything below.
    """

    text: str
    tokens: int
    path: tuple[str, ...]
    page: int | None
    glue: str = "\n\n"
    header: str = ""
    header_tokens: int = 0


def chunk(document: ConvertedDocument, limit: int, count: Count) -> list[Chunk]:
    """Chunks in reading order. `count` of no chunk's `embedded_text` is above `limit`, but for a single
    character that is longer by itself."""
    chunks: list[Chunk] = []
    for pieces in _packed(_pieces(document.blocks, limit, count), limit, count):
        for fitting in _fitted(pieces, limit, count):
            headings, content = _rendered(fitting)
            made = Chunk(
                chunk_index=len(chunks), content=content, page=fitting[0].page, headings=headings, tokens=0
            )
            chunks.append(made.model_copy(update={"tokens": count(made.embedded_text)}))
    return chunks


# --- blocks to pieces ------------------------------------------------------------------------------------


def _pieces(blocks: Iterable[Block], limit: int, count: Count) -> Iterator[_Piece]:
    """Pieces with the headings that lead to them. A heading that nothing follows becomes an empty piece."""
    stack: list[tuple[int, str]] = []
    page: int | None = None
    said = True
    for block in blocks:
        heading = " ".join(block.text.split())
        if block.kind == "heading" and heading and count(heading) <= limit // 4:
            level = block.level or 1
            kept = [entry for entry in stack if entry[0] < level]
            kept = _short_enough([*kept, (level, heading)], limit, count)
            if not said and kept[: len(stack)] != stack:
                yield _Piece("", 0, _path(stack), page)
            stack, page, said = kept, block.page, False
        elif block.text.strip():
            yield from _split_block(block, _path(stack), limit, count)
            said = True
    if not said:
        yield _Piece("", 0, _path(stack), page)


def _path(stack: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(text for _, text in stack)


def _short_enough(stack: list[tuple[int, str]], limit: int, count: Count) -> list[tuple[int, str]]:
    """The innermost headings that take at most half of the limit."""
    while len(stack) > 1 and count(" > ".join(_path(stack))) > limit // 2:
        stack = stack[1:]
    return stack


def _split_block(block: Block, path: tuple[str, ...], limit: int, count: Count) -> Iterator[_Piece]:
    room = max(1, limit - (count(" > ".join(path)) + 1 if path else 0))
    glue = "\n" if block.kind in {"list_item", "code"} else "\n\n"
    whole = _Piece(block.text.strip("\n" if block.kind == "code" else None), 0, path, block.page, glue)
    if block.kind == "table":
        yield from _split_table(whole, room, count)
    else:
        yield from _split_text(whole, room, count, _LINE_END if block.kind == "code" else _SENTENCE)


def _split_table(table: _Piece, room: int, count: Count) -> Iterator[_Piece]:
    lines = table.text.split("\n")
    tokens = _tokens_within(table.text, room, count)
    if tokens is not None:
        yield table._replace(tokens=tokens)
        return
    has_header = len(lines) > 2 and "-" in lines[1] and _TABLE_RULE.issuperset(lines[1])
    header = "\n".join(lines[:2]) if has_header else ""
    cost = count(header) + 1 if header else 0
    if cost > room // 2:
        yield from _split_text(table._replace(text=header), room, count, _LINE_END)
        header, lines, cost = "", lines[2:], 0
    elif header:
        lines = lines[2:]
    row = table._replace(header=header, header_tokens=cost)
    for line in lines:
        yield from _split_text(row._replace(text=line.strip()), room - cost, count, _SENTENCE)
        row = row._replace(glue="\n")


def _split_text(piece: _Piece, room: int, count: Count, ends: re.Pattern[str]) -> Iterator[_Piece]:
    """The piece whole if it fits, else cut at `ends`, and what is still too long at word ends."""
    if not piece.text:
        return
    tokens = _tokens_within(piece.text, room, count)
    if tokens is not None:
        yield piece._replace(tokens=tokens)
        return
    glue = piece.glue
    for text, following in _cut(piece.text, ends):
        for part in _windows(text, room, count):
            yield piece._replace(text=part, tokens=count(part), glue=glue)
            glue = " "
        glue = following


def _tokens_within(text: str, room: int, count: Count) -> int | None:
    """None when there are more than `room`; what is certainly too long is not even counted."""
    tokens = count(text) if len(text) <= room * 64 else room + 1
    return tokens if tokens <= room else None


def _cut(text: str, ends: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Parts, each with what joins it to the next one."""
    start = 0
    for end in ends.finditer(text):
        mark = end.group().rstrip()  # a closing quote belongs to the sentence
        part = text[start : end.start()] + (mark if mark.strip() else "")
        if part.strip():
            gap = end.group()[len(mark) :] if mark.strip() else end.group()
            yield part, "\n" if "\n" in gap else " " if gap else ""
        start = end.end()
    if text[start:].strip():
        yield text[start:], " "


def _windows(text: str, room: int, count: Count) -> Iterator[str]:
    """Parts of a text that are within `room`, cut at word ends where there are any."""
    start, size = 0, max(1, room * _CHARACTERS_PER_TOKEN)
    while start < len(text):
        width = size
        end = _word_end(text, start, width)
        while end - start > 1 and count(text[start:end].strip()) > room:
            width = max(1, (end - start) // 2)
            end = _word_end(text, start, width)
        part = text[start:end].strip()
        if part:
            yield part
        start = end


def _word_end(text: str, start: int, width: int) -> int:
    """Where to cut after at most `width` characters: behind the last word that ends in them."""
    end = start + width
    if end >= len(text):
        return len(text)
    for position in range(end, start, -1):
        if text[position].isspace():
            return position
    return end


# --- pieces to chunks ------------------------------------------------------------------------------------


def _packed(pieces: Iterable[_Piece], limit: int, count: Count) -> Iterator[list[_Piece]]:
    """Pieces that go into one chunk, by the sum of their tokens."""
    held: list[_Piece] = []
    total = 0
    for _, section in groupby(pieces, key=lambda piece: piece.path):
        new_section = True
        for piece in section:
            cost = _cost(piece, held[-1] if held else None, count)
            if held and (total + cost > limit or (new_section and not _share(held, piece, total, limit))):
                yield held
                held, total = [], 0
                cost = _cost(piece, None, count)
            held.append(piece)
            total += cost
            new_section = False
    if held:
        yield held


def _cost(piece: _Piece, before: _Piece | None, count: Count) -> int:
    header = 0 if before and _same_table(before.header, piece) else piece.header_tokens
    new_path = piece.path and not (before and before.path == piece.path)
    path = count(" > ".join(piece.path)) + 1 if new_path else 0
    glue = 1 if before and "\n" in piece.glue else 0
    return piece.tokens + header + path + glue


def _same_table(header: str, piece: _Piece) -> bool:
    return header == piece.header and piece.glue != "\n\n"


def _share(held: Sequence[_Piece], piece: _Piece, total: int, limit: int) -> bool:
    """Whether a section may follow another one in its chunk."""
    return total < limit // _SMALL_SECTION and held[0].page == piece.page


def _fitted(pieces: list[_Piece], limit: int, count: Count) -> Iterator[list[_Piece]]:
    """The sum was an estimate: what is over the limit as a whole is divided until it is not."""
    waiting = [pieces]
    while waiting:
        group = waiting.pop()
        if count(_embedded(group)) <= limit:
            yield group
        elif len(group) > 1:
            waiting += [group[len(group) // 2 :], group[: len(group) // 2]]
        else:
            parts = _smaller(group[0])
            if parts is None:
                yield group
            else:
                waiting += [[part] for part in reversed(parts)]


def _smaller(piece: _Piece) -> list[_Piece] | None:
    """The piece with less around it, or in two; None when nothing is left to take away."""
    if piece.header:
        return [piece._replace(header="", header_tokens=0)]
    if len(piece.text) > 1:
        middle = _word_end(piece.text, 0, len(piece.text) // 2)
        halves = [piece.text[:middle].strip(), piece.text[middle:].strip()]
        return [piece._replace(text=half) for half in halves if half]
    return [piece._replace(path=())] if piece.text and piece.path else None


def _embedded(pieces: Sequence[_Piece]) -> str:
    headings, content = _rendered(pieces)
    return Chunk(chunk_index=0, content=content, page=None, headings=headings, tokens=0).embedded_text


def _rendered(pieces: Sequence[_Piece]) -> tuple[tuple[str, ...], str]:
    """Headings that all pieces share, and the text, with the headings in it that they do not share."""
    shared = _common([piece.path for piece in pieces])
    if not any(piece.text for piece in pieces) and all(piece.path == shared for piece in pieces):
        shared = shared[:-1]
    parts: list[str] = []
    above, header = shared, ""
    for piece in pieces:
        known = len(_common([above, piece.path]))
        new = [*piece.path[known:]]
        above = piece.path
        if piece.header and (new or not _same_table(header, piece)):
            new.append(piece.header)
        header = piece.header
        inside = [*new, piece.text] if piece.text else new
        if inside:
            parts += [piece.glue if not new else "\n\n", "\n".join(inside)]
    return shared, "".join(parts[1:])


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    first, last = min(paths), max(paths)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[:length]
