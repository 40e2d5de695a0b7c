"""Counting tokens as OpenAI's models do, without a network: the vocabulary `cl100k_base` ships with us.

Vocabulary and pattern are tiktoken's (MIT licence): https://github.com/openai/tiktoken
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding

_VOCABULARY = Path(__file__).with_name("assets") / "cl100k_base.tiktoken"
_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_PIECE = 100_000
"""The time of merging grows faster than the length of a "word", and that may be a megabyte of one letter."""


def count(text: str) -> int:
    """Tokens of a text. Exact up to 100,000 characters, at most a token or two off for each further piece."""
    pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
    return sum(len(_encoding().encode_ordinary(piece)) for piece in pieces)


@cache
def _encoding() -> Encoding:
    """Kept for the life of the process: reading the vocabulary takes a third of a second."""
    from tiktoken import Encoding

    lines = _VOCABULARY.read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    return Encoding(name="cl100k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})
