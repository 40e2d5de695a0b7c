"""A large index that nobody had to write: chunks of many clients in clusters, and questions about them.

Each topic is a sentence that the real embedding model has read, and each chunk lies near one: so are the
questions, which the model reads when they are asked. What moves a chunk away from its topic runs along the
directions in which topics differ, as with real texts, and a little in all directions.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SIZES = (
    *(40_000, 20_000, 11_000, 9_500, 6_000, 4_000, 3_000, 2_000, 1_500, 1_000),
    *(700, 500, 300, 200, 120, 80, 50, 30, 15, 5),
)
"""Chunks of each client. Two lie on either side of 10,000, where search goes from exact to the HNSW index."""
CLIENTS = {f"client-{number:02d}": size for number, size in enumerate(SIZES, 1)}
CHUNKS_PER_DOCUMENT = 50
TOPICS = 400
_WORDS_PER_CHUNK = 90
TOKENS = 250
"""About as many has a chunk."""
_SPREAD, _NOISE = 0.55, 0.25  # lengths of what is added to a topic, whose length is 1
_AXES = 24
_SYLLABLES = ("ba", "dor", "fen", "gul", "hir", "kam", "lo", "mu", "nev", "pil", "ras", "sto", "tur", "wex")
_NOUNS = (
    "harbour warehouse lighthouse crane anchor cargo ledger tariff pilot ferry bridge signal lamp rope barrel"
    " market mill wheel river valley orchard vineyard bakery kitchen oven library archive museum gallery"
    " theatre orchestra violin piano choir school teacher pupil laboratory microscope telescope planet comet"
    " glacier volcano desert forest meadow pasture cattle shepherd wolf falcon salmon beehive garden tulip"
    " hospital surgeon patient vaccine pharmacy contract lawyer court insurance budget invoice salary pension"
    " factory turbine boiler engine tractor railway locomotive tunnel airport runway passenger ticket luggage"
    " hotel kitchenware carpet furniture window roof chimney cellar well fountain statue temple monastery"
    " battery antenna satellite keyboard printer database password network cable radio newspaper photograph"
)
_VERBS = (
    "repaired inspected painted measured delivered insured rented cleaned moved built tested recorded counted"
    " replaced protected heated cooled lifted weighed stored"
)
_QUESTIONS = (
    "How is the {first} {verb} at the {second}?",
    "Who has {verb} the {first} near the {third}?",
    "Which {second} and which {first} were {verb} last year?",
    "When was the {third} of the {first} {verb}?",
)


@dataclass(frozen=True)
class Topic:
    """What a cluster of chunks is about."""

    words: tuple[str, str, str, str]

    @property
    def text(self) -> str:
        first, verb, second, third = self.words
        return f"The {first} is {verb} beside the {second} before the {third} is opened."

    def question(self, form: int) -> str:
        first, verb, second, third = self.words
        return _QUESTIONS[form].format(first=first, verb=verb, second=second, third=third)


class Piece(NamedTuple):
    """One chunk of a document."""

    document_id: str
    place: int
    content: str
    vector: np.ndarray

    @property
    def chunk_id(self) -> str:
        return f"{self.document_id}-{self.place:04d}"


@dataclass(frozen=True)
class Part:
    """The chunks of one client. `vectors`: unit vectors, row by row."""

    client: str
    vectors: np.ndarray
    contents: Sequence[str]

    @property
    def documents(self) -> list[tuple[str, int]]:
        """Id and number of chunks of each."""
        chunks = Counter(piece.document_id for piece in self)
        return list(chunks.items())

    def __getitem__(self, row: int) -> Piece:
        document, place = divmod(row, CHUNKS_PER_DOCUMENT)
        return Piece(f"doc-{document:04d}", place, self.contents[row], self.vectors[row])

    def __iter__(self) -> Iterator[Piece]:
        return map(self.__getitem__, range(len(self.contents)))

    def nearest(self, query: Sequence[float], count: int) -> set[str]:
        """Ids of the chunks that lie nearest, by comparing all of them."""
        import numpy as np

        best = np.argsort(-(self.vectors @ np.array(query, dtype=np.float32)))[:count]
        return {self[row].chunk_id for row in best.tolist()}


class Corpus:
    """`embed`: of the model that will embed the questions too."""

    def __init__(self, embed: Callable[[Sequence[str]], Sequence[Sequence[float]]], seed: int = 8) -> None:
        import numpy as np

        self._random = np.random.default_rng(seed)
        self.topics = [self._topic() for _ in range(TOPICS)]
        self._centres = np.array(embed([topic.text for topic in self.topics]), dtype=np.float32)
        self._axes = np.linalg.svd(self._centres - self._centres.mean(axis=0), full_matrices=False)[2][:_AXES]
        self._filler = self._vocabulary()

    def part(self, client: str, size: int) -> Part:
        """Every client has topics of its own choice, many of which others have too."""
        chosen = self._random.choice(TOPICS, max(3, min(TOPICS // 2, size // 20)), replace=False)
        of_chunk = self._random.choice(chosen, size)
        along = self._unit(size, _AXES) @ self._axes
        around = self._unit(size, self._centres.shape[1])
        vectors = self._centres[of_chunk] + _SPREAD * along + _NOISE * around
        return Part(client, _normed(vectors), [self._content(topic) for topic in of_chunk.tolist()])

    def question(self) -> str:
        """Of any topic, whether a client has it or not."""
        topic, form = (int(self._random.integers(count)) for count in (TOPICS, len(_QUESTIONS)))
        return self.topics[topic].question(form)

    def _topic(self) -> Topic:
        first, second, third = self._random.choice(_NOUNS.split(), 3, replace=False).tolist()
        return Topic((first, str(self._random.choice(_VERBS.split())), second, third))

    def _vocabulary(self) -> np.ndarray:
        """Words in an order of falling frequency, as many of each as Zipf's law gives."""
        import numpy as np

        words = ["".join(self._random.choice(_SYLLABLES, 3)) for _ in range(4000)]
        return np.repeat(np.array(words, dtype=object), np.ceil(8000 / (np.arange(4000) + 10)).astype(int))

    def _content(self, topic: int) -> str:
        picked = self._random.integers(0, len(self._filler), _WORDS_PER_CHUNK)
        return f"{' '.join(self._filler[picked])} {self.topics[topic].text}"

    def _unit(self, rows: int, columns: int) -> np.ndarray:
        return _normed(self._random.standard_normal((rows, columns), dtype="f"))


def _normed(vectors: np.ndarray) -> np.ndarray:
    import numpy as np

    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def as_halfvec(vector: np.ndarray) -> bytes:
    """pgvector's binary form of a halfvec: its length, two bytes unused, big-endian halves."""
    halves: bytes = vector.astype(">f2").tobytes()
    return struct.pack(">hh", len(vector), 0) + halves
