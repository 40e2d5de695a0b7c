"""Subtitles as paragraphs: a cue is half a sentence, which nobody could search for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.documents import Block

_PAUSE_SECONDS = 2.0


def blocks(document: Any) -> Iterator[Block]:
    """One for what one voice says without a pause, beginning with its name where the file gives it."""
    voice: str | None = None
    words: list[str] = []
    end = 0.0
    for item, _depth in document.iterate_items():
        text = " ".join(str(getattr(item, "text", "")).split())
        if item.label.value in {"title", "section_header"}:
            yield Block(kind="heading", level=1, text=text)
            continue
        track = item.source[0] if item.source else None
        if words and track and (track.voice != voice or track.start_time - end > _PAUSE_SECONDS):
            yield _said(voice, words)
            words = []
        voice, end = (track.voice, track.end_time) if track else (voice, end)
        words.append(text)
    if words:
        yield _said(voice, words)


def _said(voice: str | None, words: list[str]) -> Block:
    text = " ".join(words)
    return Block(kind="text", text=f"{voice}: {text}" if voice else text)
