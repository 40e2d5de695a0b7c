"""Search through the API beside what it consists of: embedding the question and the same SQL function called
bare, by one HTTP client in a process that does nothing else.

100,000 chunks of 384 dimensions belong to 20 clients of 5 to 40,000. Each question is asked both ways, one
right after the other and in turns first, so that both meet the same machine and the same caches. recall@10:
how many of the ten nearest chunks, found by comparing all in full precision, the API gives. Rows written:
whole documents by the app's own store beside the same functions called bare, with all indexes in place.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.corpus import CLIENTS, TOKENS, Corpus, Part
from benchmarks.index import load
from benchmarks.report import Figure, Report, Table, at_least, at_most
from benchmarks.service import Service, service

if TYPE_CHECKING:
    import httpx

    from shared.core import Core
    from shared.documents import Document, EmbeddedChunk
    from shared.ports import DocumentStore

MODES = ("vector", "text", "hybrid")
TOP = 10
CHUNKS, CHUNKS_AT_ONCE = 500, 100


@dataclass
class Pair:
    """Seconds of the same calls, through the app and bare."""

    app: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def time(self, number: int, app: Callable[[], object], bare: Callable[[], object]) -> None:
        """Calls both, the bare one first every second time."""
        ways = [(self.app, app), (self.bare, bare)]
        for seconds, call in reversed(ways) if number % 2 else ways:
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)

    def __add__(self, other: Pair) -> Pair:
        return Pair(self.app + other.app, self.bare + other.bare)

    def ratio(self, share: float) -> float:
        return quantile(self.app, share) / quantile(self.bare, share)

    def row(self) -> list[float]:
        """Milliseconds: p50 and p95 of both, and their ratios."""
        app, bare = (
            [1000 * quantile(side, share) for share in (0.5, 0.95)] for side in (self.app, self.bare)
        )
        return [*app, *bare, self.ratio(0.5), self.ratio(0.95)]


COLUMNS = ("API p50 ms", "API p95 ms", "bare p50 ms", "bare p95 ms", "p50 ratio", "p95 ratio")


@dataclass(frozen=True)
class Size:
    """Chunks of each client, questions to each client and mode, further ones to each for the recall,
    documents written each way."""

    clients: Mapping[str, int]
    questions: int
    recalls: int
    documents: int


FULL = Size(CLIENTS, questions=20, recalls=40, documents=6)


@dataclass(frozen=True)
class Found:
    """`searches`: by client and mode."""

    size: Size
    searches: Mapping[tuple[str, str], Pair]
    recall: Mapping[str, float]
    writes: Pair

    @property
    def modes(self) -> dict[str, Pair]:
        """Of all clients, each of which asked as often as any other."""
        return {
            mode: sum((pair for (_, of), pair in self.searches.items() if of == mode), Pair())
            for mode in MODES
        }


def run() -> Report:
    with service(list(FULL.clients)) as running:
        return report(measured(running, FULL))


def report(found: Found) -> Report:
    return Report("Search", [*_ratios(found), _lowest_recall(found), *_written(found)], _tables(found))


def _ratios(found: Found) -> Iterator[Figure]:
    for mode, pair in found.modes.items():
        what = "the same rpc" if mode == "text" else "embedding the question and the same rpc"
        yield Figure(f"{mode} search p95 / bare p95", pair.ratio(0.95), at_most(1.3), f"bare: {what}")


def _lowest_recall(found: Found) -> Figure:
    worst = min(found.recall, key=lambda client: found.recall[client])
    chunks, of_all = found.size.clients[worst], sum(found.size.clients.values())
    return Figure(
        "lowest recall@10 of a client", found.recall[worst], at_least(0.98), f"{chunks} of {of_all} chunks"
    )


def _written(found: Found) -> Iterator[Figure]:
    rows, seconds = found.size.documents * CHUNKS, found.writes
    yield Figure("rows written per second", rows / sum(seconds.app), note="one thread, all indexes in place")
    yield Figure("rows written / bare", sum(seconds.bare) / sum(seconds.app))


def _tables(found: Found) -> list[Table]:
    clients = {
        client: [
            chunks,
            found.recall[client],
            *(1000 * quantile(found.searches[client, mode].app, 0.5) for mode in MODES),
        ]
        for client, chunks in found.size.clients.items()
    }
    return [
        Table("search", COLUMNS, {mode: pair.row() for mode, pair in found.modes.items()}),
        Table("clients", ("chunks", "recall@10", *(f"{mode} p50 ms" for mode in MODES)), clients),
    ]


def measured(running: Service, size: Size) -> Found:
    core = running.core
    corpus = Corpus(lambda texts: core.models.embed(texts, timeout=60).vectors)
    parts = [corpus.part(client, chunks) for client, chunks in size.clients.items()]
    load(running.database_url, core.models.embedding_model, parts)
    # A worker that serves HTTP and nothing else, so that no queue is polled meanwhile.
    with running.worker("--only", "http"), Api(running) as api, Bare(running) as bare:
        running.wait_until_ready()
        searches = _searches(corpus, parts, api, bare, size.questions)
        recall = {part.client: _recall(corpus, part, api, bare, size.recalls) for part in parts}
        return Found(size, searches, recall, _writes(corpus, core, bare, size.documents))


# --- the two ways ------------------------------------------------------------------------------------------


class Api:
    """A client of many keys, with one connection."""

    def __init__(self, running: Service) -> None:
        self._running = running
        self._http = _http(running.environment["DOCMILL_URL"])

    def search(self, client: str, mode: str, question: str) -> list[str]:
        """Ids of the chunks, best first."""
        body = {"query": question, "mode": mode, "top_k": TOP}
        headers = {"X-API-Key": self._running.key(client)}
        answer = self._http.post("/api/search", json=body, headers=headers)
        answer.raise_for_status()
        return [match["chunk_id"] for match in answer.json()["matches"]]

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


class Bare:
    """What a search and a write consist of."""

    def __init__(self, running: Service) -> None:
        self.models = running.core.models
        environment = running.environment
        self._http = _http(environment["SUPABASE_URL"], apikey=environment["SUPABASE_KEY"])

    def search(self, client: str, mode: str, question: str) -> list[str]:
        rows = self.call(
            "docmill_search",
            p_client=client,
            p_mode=mode,
            p_query=question,
            p_model=self.models.embedding_model,
            p_embedding=None if mode == "text" else json.dumps(self.embedded(question)),
            p_top=TOP,
        )
        return [row["chunk_id"] for row in rows]

    def embedded(self, question: str) -> tuple[float, ...]:
        return self.models.embed([question], timeout=20, kind="query").vectors[0]

    def call(self, function: str, **arguments: Any) -> Any:
        answer = self._http.post(f"/rest/v1/rpc/{function}", json=arguments)
        answer.raise_for_status()
        return answer.json()

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _http(url: str, **headers: str) -> httpx.Client:
    import httpx

    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)


# --- searches ----------------------------------------------------------------------------------------------


def _searches(
    corpus: Corpus, parts: Sequence[Part], api: Api, bare: Bare, questions: int
) -> dict[tuple[str, str], Pair]:
    """What each client's searches took in each mode."""
    pairs = {(part.client, mode): Pair() for part, mode in itertools.product(parts, MODES)}
    for client, mode in pairs:  # connections, keys, models, caches
        _ask(Pair(), 0, api, bare, client, mode, corpus.question())
    for number, (place, part), mode in itertools.product(range(questions), enumerate(parts), MODES):
        _ask(pairs[part.client, mode], number + place, api, bare, part.client, mode, corpus.question())
    return pairs


def _recall(corpus: Corpus, part: Part, api: Api, bare: Bare, questions: int) -> float:
    hits, total = 0, 0
    for question in [corpus.question() for _ in range(questions)]:
        wanted = part.nearest(bare.embedded(question), TOP)
        hits += len(wanted & {*api.search(part.client, "vector", question)})
        total += len(wanted)
    return hits / total


def _ask(pair: Pair, number: int, api: Api, bare: Bare, client: str, mode: str, question: str) -> None:
    asked = (client, mode, question)
    pair.time(number, partial(api.search, *asked), partial(bare.search, *asked))


# --- writes ------------------------------------------------------------------------------------------------


def _writes(corpus: Corpus, core: Core, bare: Bare, documents: int) -> Pair:
    """Of one client: the same number of documents, one by the store and one bare in turns."""
    pair, client = Pair(), core.settings.client_ids[0]
    for number in range(documents):
        stored, sent = (_new(core.documents, client, f"doc-{way}-{number}") for way in ("app", "bare"))
        pair.time(
            number,
            partial(_write, core, stored, _chunks(corpus)),
            partial(_write_bare, bare, sent, _chunks(corpus)),
        )
    return pair


def _new(store: DocumentStore, client: str, document_id: str) -> Document:
    from shared.documents import Document

    now = datetime.now(UTC)
    return store.add(
        Document(
            document_id=document_id,
            client_id=client,
            filename="a.pdf",
            content_type="application/pdf",
            size=1,
            sha256="0",
            created_at=now,
            updated_at=now,
            blob="b",
        )
    )[0]


def _chunks(corpus: Corpus) -> list[EmbeddedChunk]:
    from shared.documents import Chunk, EmbeddedChunk

    return [
        EmbeddedChunk(
            chunk=Chunk(chunk_index=index, content=piece.content, page=1, headings=("Title",), tokens=TOKENS),
            embedding=tuple(piece.vector.tolist()),
        )
        for index, piece in enumerate(corpus.part("any", CHUNKS))
    ]


def _write(core: Core, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
    """As an ingestion does."""
    store, model = core.documents, core.models.embedding_model
    client, document_id = document.client_id, document.document_id
    generation = store.begin(client, document_id)
    store.write(client, document_id, generation, model, chunks)
    store.activate(
        client,
        document_id,
        generation,
        model=model,
        chunks=len(chunks),
        pages=1,
        title=None,
        markdown_blob="m",
        size=document.size,
        sha256="0",
        content_type=document.content_type,
    )


def _write_bare(bare: Bare, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
    place = {"p_client": document.client_id, "p_document": document.document_id}
    place["p_generation"] = bare.call("docmill_begin_generation", **place)
    place["p_model"] = bare.models.embedding_model
    rows = [_row(f"{document.document_id}-{index:04d}", embedded) for index, embedded in enumerate(chunks)]
    for start in range(0, len(rows), CHUNKS_AT_ONCE):
        some = json.dumps(rows[start : start + CHUNKS_AT_ONCE])
        bare.call("docmill_write_chunks", **place, p_chunks=some)
    bare.call(
        "docmill_activate_generation",
        **place,
        p_chunks=len(rows),
        p_pages=1,
        p_title=None,
        p_markdown_blob="m",
        p_size=document.size,
        p_sha256="0",
        p_content_type=document.content_type,
    )


def _row(chunk_id: str, embedded: EmbeddedChunk) -> dict[str, Any]:
    chunk = embedded.chunk
    return {
        "chunk_index": chunk.chunk_index,
        "chunk_id": chunk_id,
        "content": chunk.content,
        "page": chunk.page,
        "headings": chunk.headings,
        "tokens": chunk.tokens,
        "content_hash": chunk.content_hash,
        "embedding": json.dumps(embedded.embedding),
    }


# --- time --------------------------------------------------------------------------------------------------


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
