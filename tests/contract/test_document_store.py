"""What every DocumentStore does. Each test has a client of its own, since the database is shared."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from operator import mul
from random import Random
from typing import Any

import pytest

from shared.documents import Chunk, Document, DocumentStatus, EmbeddedChunk, StoredSummary
from shared.errors import BlobNotFound, InvalidPayload
from shared.ports import DocumentStore, Remains
from shared.storage.memory_documents import MemoryDocuments
from shared.storage.supabase import SupabaseDocuments

START = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
MODEL = "minilm"


@pytest.fixture(scope="module", params=["memory", "supabase"])
def store(request: pytest.FixtureRequest) -> Iterator[DocumentStore]:
    if request.param == "memory":
        yield MemoryDocuments()
        return
    service = request.getfixturevalue("supabase")
    with SupabaseDocuments(service.url, service.key) as documents:
        yield documents


@pytest.fixture
def client() -> str:
    return f"client-{uuid.uuid4().hex[:12]}"


def document(client: str, document_id: str = "doc-1", **changes: Any) -> Document:
    return Document(
        document_id=document_id,
        client_id=client,
        filename=f"{document_id}.pdf",
        content_type="application/pdf",
        size=12,
        blob=f"{client}/uploads/{document_id}.pdf",
        created_at=START,
        updated_at=START,
    ).model_copy(update=changes)


def direction(number: int, dimensions: int = 384) -> tuple[float, ...]:
    """The unit vector along one axis."""
    return tuple(1.0 if axis == number else 0.0 for axis in range(dimensions))


def embedded(index: int, text: str, vector: tuple[float, ...] | None = None, **changes: Any) -> EmbeddedChunk:
    chunk = Chunk(chunk_index=index, content=text, page=index + 1, headings=("Report",), tokens=7)
    return EmbeddedChunk(chunk=chunk.model_copy(update=changes), embedding=vector or direction(index))


def activate(store: DocumentStore, client: str, generation: int, chunks: int, **changes: Any) -> bool:
    given: dict[str, Any] = {
        "document_id": "doc-1",
        "model": MODEL,
        "pages": 3,
        "title": "A title",
        "markdown_blob": f"{client}/text/doc-1.md",
        "size": 34,
        "sha256": "ab" * 32,
        "content_type": "text/plain",
    } | changes
    return store.activate(client, given.pop("document_id"), generation, chunks=chunks, **given)


def ingest(
    store: DocumentStore,
    client: str,
    chunks: list[EmbeddedChunk],
    document_id: str = "doc-1",
    model: str = MODEL,
) -> int:
    store.add(document(client, document_id))
    generation = store.begin(client, document_id)
    store.write(client, document_id, generation, model, chunks)
    assert activate(store, client, generation, len(chunks), document_id=document_id, model=model)
    return generation


def found(store: DocumentStore, client: str, **changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "mode": "vector",
        "query": "",
        "model": MODEL,
        "embedding": direction(0),
        "top_k": 10,
    } | changes
    return [match.content for match in store.search(client, **given)]


def texts(store: DocumentStore, client: str, document_id: str = "doc-1") -> list[str]:
    return [chunk.content for chunk in store.chunks(client, document_id).items]


# --- documents ---------------------------------------------------------------------------------------------


def test_a_document_is_added_once_and_found_afterwards(store: DocumentStore, client: str) -> None:
    first = document(client, filename="Übersicht “2026”.pdf", sha256="cd" * 32, status=DocumentStatus.PENDING)
    assert store.add(first) == (first, True)
    assert store.add(document(client, filename="other.pdf")) == (first, False)
    assert store.get(client, "doc-1") == first


def test_there_is_no_document_that_nobody_added(store: DocumentStore, client: str) -> None:
    assert store.get(client, "doc-1") is None
    assert store.delete(client, "doc-1") is None
    assert store.chunks(client, "doc-1").items == []
    assert store.summary(client, "doc-1") is None
    assert store.page(client).items == []
    with pytest.raises(BlobNotFound):
        store.begin(client, "doc-1")


def test_a_deleted_document_is_gone_with_all_it_had(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "gone")])
    store.save_summary(client, "task-1", summary("gone"))
    deleted = store.delete(client, "doc-1")
    assert deleted is not None
    assert deleted.blob == f"{client}/uploads/doc-1.pdf"
    assert deleted.markdown_blob == f"{client}/text/doc-1.md"
    assert store.get(client, "doc-1") is None
    assert store.page(client).items == []
    assert (
        texts(store, client) == found(store, client) == found(store, client, mode="text", query="gone") == []
    )
    assert store.summary(client, "doc-1") is None
    assert store.known(client, MODEL, [embedded(0, "gone").chunk.content_hash]) == {}
    assert store.delete(client, "doc-1") is not None  # again, so that an interrupted deletion can be finished


def test_an_announced_document_is_bound_to_the_first_file_that_is_seen(
    store: DocumentStore, client: str
) -> None:
    store.add(document(client, status=DocumentStatus.PENDING))
    stored = store.stored(client, "doc-1", '"0x1"')
    assert stored is not None
    assert (stored.status, stored.etag) == (DocumentStatus.STORED, '"0x1"')
    assert store.stored(client, "doc-1", '"0x2"') == store.get(client, "doc-1") == stored
    assert store.stored(client, "doc-2", '"0x1"') is None
    ingest(store, client, [embedded(0, "here")])
    ingested = store.stored(client, "doc-1", '"0x2"')
    assert ingested is not None and ingested.etag == '"0x1"'
    assert ingested.status is DocumentStatus.INGESTED
    deleted = store.delete(client, "doc-1")
    assert deleted is not None and deleted.announced
    assert store.stored(client, "doc-1", '"0x3"') is None


def test_a_document_that_was_not_announced_is_bound_to_no_file(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    stored = store.stored(client, "doc-1", '"0x1"')
    assert stored is not None and stored.etag is None and not stored.announced


def due(store: DocumentStore, client: str, **later: float) -> list[Remains]:
    return store.to_clean([client, "other"], datetime.now(UTC) + timedelta(**later))


def test_a_tombstone_remembers_that_its_files_have_to_go(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    assert due(store, client, days=1) == []
    store.delete(client, "doc-1")
    assert due(store, client) == []  # a worker may still be writing one
    (remains,) = due(store, client, minutes=2)
    assert remains.document.blob == f"{client}/uploads/doc-1.pdf"
    assert remains.deleted_at is not None
    assert store.remains(client, "doc-1") == remains
    assert store.to_clean(["other"], START + timedelta(days=999)) == []
    again = datetime.now(UTC) + timedelta(hours=1)
    store.cleaned(remains, again)
    assert due(store, client, minutes=2) == []
    (later,) = due(store, client, hours=2)
    store.cleaned(remains, None)  # out of date: somebody else decided meanwhile
    assert due(store, client, hours=2) == [later]
    store.cleaned(later, None)
    assert due(store, client, days=1) == []
    assert store.remains(client, "doc-1") is not None
    assert store.remains(client, "doc-2") is None


def test_a_document_that_is_deleted_again_is_cleaned_again(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    store.delete(client, "doc-1")
    (first,) = due(store, client, minutes=2)
    store.delete(client, "doc-1")
    store.cleaned(first, None)
    (second,) = due(store, client, minutes=2)
    assert second.deleted_at == first.deleted_at


def test_what_is_to_clean_comes_in_order_and_not_all_at_once(store: DocumentStore, client: str) -> None:
    for name in ("doc-a", "doc-b", "doc-c"):
        store.add(document(client, name))
        store.delete(client, name)
    found = store.to_clean([client], datetime.now(UTC) + timedelta(minutes=2), limit=2)
    assert [remains.document.document_id for remains in found] == ["doc-a", "doc-b"]


def test_a_revived_document_is_looked_at_once_more(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    store.delete(client, "doc-1")
    store.add(document(client, blob="another"))
    assert due(store, client, minutes=30) == []
    (remains,) = due(store, client, hours=2)
    assert remains.deleted_at is None and remains.document.blob == "another"
    store.cleaned(remains, None)
    store.delete(client, "doc-1")
    (remains,) = due(store, client, minutes=2)
    store.cleaned(remains, None)
    store.add(document(client))
    assert due(store, client, days=1) == []  # its former life left nothing


def test_a_deleted_document_comes_back_empty(store: DocumentStore, client: str) -> None:
    old = ingest(store, client, [embedded(0, "old")])
    store.delete(client, "doc-1")
    again = document(client, size=99, created_at=START + timedelta(days=1))
    assert store.add(again) == (again, True)
    assert store.get(client, "doc-1") == again
    assert texts(store, client) == found(store, client) == []
    assert store.begin(client, "doc-1") > old


def test_a_task_of_the_former_life_cannot_write_into_the_new_one(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    generation = store.begin(client, "doc-1")
    store.delete(client, "doc-1")
    store.add(document(client))
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "zombie")])
    assert not activate(store, client, generation, 1)
    assert not activate(store, client, generation, 0)


def test_pages_are_newest_first_and_complete(store: DocumentStore, client: str) -> None:
    ages = [0, 1, 1, 1, 2]  # equal times are told apart by id
    for number, age in enumerate(ages):
        store.add(document(client, f"doc-{number}", created_at=START + timedelta(microseconds=age)))
    pages = list(walk(store, client, limit=2))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert list(itertools.chain(*pages)) == ["doc-4", "doc-3", "doc-2", "doc-1", "doc-0"]
    assert store.page(client, limit=5).next_cursor is None


def walk(store: DocumentStore, client: str, limit: int) -> Iterator[list[str]]:
    cursor = None
    while True:
        page = store.page(client, limit=limit, cursor=cursor)
        yield [item.document_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize("cursor", ["x", "%%%", "bnVsbA", "WzEsMl0", "WyJhIiwiYiJd", "ü", "W10", "Wy0xXQ"])
def test_a_foreign_cursor_is_refused(store: DocumentStore, client: str, cursor: str) -> None:
    with pytest.raises(InvalidPayload):
        store.page(client, cursor=cursor)
    with pytest.raises(InvalidPayload):
        store.chunks(client, "doc-1", cursor=cursor)


# --- generations -------------------------------------------------------------------------------------------


def test_chunks_are_invisible_until_their_generation_is_activated(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    generation = store.begin(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "new text")])
    for mode in ("vector", "text", "hybrid"):
        assert found(store, client, mode=mode, query="new text") == []
    assert texts(store, client) == []
    assert activate(store, client, generation, 1)
    for mode in ("vector", "text", "hybrid"):
        assert found(store, client, mode=mode, query="new text") == ["new text"]
    assert texts(store, client) == ["new text"]


def test_activation_says_what_the_document_is(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "a"), embedded(1, "b")])
    stored = store.get(client, "doc-1")
    assert stored is not None
    assert stored.updated_at > START
    assert stored == document(
        client,
        status=DocumentStatus.INGESTED,
        chunks=2,
        pages=3,
        title="A title",
        embedding_model=MODEL,
        markdown_blob=f"{client}/text/doc-1.md",
        size=34,
        sha256="ab" * 32,
        content_type="text/plain",
        updated_at=stored.updated_at,
    )


def test_the_old_text_is_searched_while_the_new_one_is_built(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "old"), embedded(1, "old tail")])
    generation = store.begin(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "new")])
    assert texts(store, client) == found(store, client) == ["old", "old tail"]
    assert activate(store, client, generation, 1)
    assert texts(store, client) == found(store, client) == ["new"]


def test_an_older_generation_cannot_be_activated(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    older = store.begin(client, "doc-1")
    store.write(client, "doc-1", older, MODEL, [embedded(0, "older")])
    newer = store.begin(client, "doc-1")
    assert newer > older
    assert not activate(store, client, older, 1)
    assert store.get(client, "doc-1") == document(client)
    store.write(client, "doc-1", newer, MODEL, [embedded(0, "newer")])
    assert activate(store, client, newer, 1)
    assert not activate(store, client, older, 1)
    assert texts(store, client) == ["newer"]


def test_activating_twice_is_the_same_as_once(store: DocumentStore, client: str) -> None:
    generation = ingest(store, client, [embedded(0, "a")])
    before = store.get(client, "doc-1")
    assert activate(store, client, generation, 1)
    assert store.get(client, "doc-1") == before


def test_nothing_is_activated_when_chunks_are_missing(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    generation = store.begin(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "a"), embedded(2, "c")])
    assert not activate(store, client, generation, 3)
    assert store.get(client, "doc-1") == document(client)
    store.write(client, "doc-1", generation, MODEL, [embedded(1, "b")])
    assert activate(store, client, generation, 3)
    assert texts(store, client) == ["a", "b", "c"]


def test_nothing_is_activated_after_a_deletion(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    generation = store.begin(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "a")])
    store.delete(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "a")])
    assert not activate(store, client, generation, 1)
    assert found(store, client) == []
    assert store.known(client, MODEL, [embedded(0, "a").chunk.content_hash]) == {}


def test_writing_again_replaces(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    generation = store.begin(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "first"), embedded(1, "too many")])
    store.write(client, "doc-1", generation, MODEL, [embedded(0, "second", direction(7))])
    assert activate(store, client, generation, 1)
    assert texts(store, client) == ["second"]
    assert store.search(client, mode="vector", query="", model=MODEL, embedding=direction(7), top_k=1)[
        0
    ].score == pytest.approx(1, abs=1e-3)


def test_one_activation_wins_among_many(store: DocumentStore, client: str) -> None:
    store.add(document(client))

    def attempt(number: int) -> bool:
        generation = store.begin(client, "doc-1")
        store.write(client, "doc-1", generation, MODEL, [embedded(0, f"attempt {number}")])
        return activate(store, client, generation, 1)

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(attempt, range(16)))
    assert any(wins)
    assert len(texts(store, client)) == 1


def test_many_chunks_go_in_and_come_out_in_order(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(index, f"text {index}", direction(index % 384)) for index in range(430)])
    pages, cursor = [], None
    while True:
        page = store.chunks(client, "doc-1", limit=200, cursor=cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [len(page) for page in pages] == [200, 200, 30]
    chunks = list(itertools.chain(*pages))
    assert [chunk.chunk_index for chunk in chunks] == list(range(430))
    assert len({chunk.chunk_id for chunk in chunks}) == 430
    assert chunks[12].model_dump(exclude={"chunk_id"}) == {
        "document_id": "doc-1",
        "chunk_index": 12,
        "content": "text 12",
        "page": 13,
        "headings": ("Report",),
        "tokens": 7,
    }


def test_chunk_ids_do_not_depend_on_the_generation(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "a")])
    before = store.chunks(client, "doc-1").items
    ingest(store, client, [embedded(0, "a")])
    assert store.chunks(client, "doc-1").items == before


# --- known embeddings --------------------------------------------------------------------------------------


def test_embeddings_are_known_before_and_after_activation(store: DocumentStore, client: str) -> None:
    chunk = embedded(3, "paid for")
    store.add(document(client))
    generation = store.begin(client, "doc-1")
    store.write(client, "doc-1", generation, MODEL, [chunk])
    for _ in ("while it is built", "by the next attempt"):
        known = store.known(client, MODEL, [chunk.chunk.content_hash, "0" * 64])
        assert known == {chunk.chunk.content_hash: direction(3)}
        store.begin(client, "doc-1")


def test_embeddings_are_known_to_one_client_and_model_only(store: DocumentStore, client: str) -> None:
    chunk = embedded(0, "shared text")
    ingest(store, client, [chunk])
    hashes = [chunk.chunk.content_hash]
    assert store.known(client, MODEL, hashes)
    assert store.known(client, "another-model", hashes) == {}
    assert store.known(f"{client}-x", MODEL, hashes) == {}
    assert store.known(client, MODEL, []) == {}


def test_embeddings_keep_their_direction(store: DocumentStore, client: str) -> None:
    vector = tuple(((index * 37) % 101 - 50) / 1000 for index in range(1536))
    chunks = [embedded(index, f"text {index}", vector) for index in range(150)]
    ingest(store, client, chunks)
    known = store.known(client, MODEL, [chunk.chunk.content_hash for chunk in chunks])
    assert len(known) == 150
    assert known[chunks[149].chunk.content_hash] == pytest.approx(vector, abs=1e-4)


# --- search ------------------------------------------------------------------------------------------------


def slanted(near: float) -> tuple[float, ...]:
    """A unit vector whose cosine with the first axis is `near`."""
    return (near, (1 - near * near) ** 0.5, *(0.0,) * 382)


def test_vector_search_is_by_direction(store: DocumentStore, client: str) -> None:
    ingest(
        store,
        client,
        [
            embedded(0, "far", slanted(0.1)),
            embedded(1, "near", slanted(0.9)),
            embedded(2, "half", slanted(0.5)),
        ],
    )
    matches = store.search(client, mode="vector", query="", model=MODEL, embedding=direction(0), top_k=2)
    assert [match.content for match in matches] == ["near", "half"]
    assert [match.score for match in matches] == pytest.approx([0.9, 0.5], abs=1e-3)
    best = matches[0]
    assert (best.document_id, best.filename, best.page, best.chunk_index) == ("doc-1", "doc-1.pdf", 2, 1)
    assert best.headings == ("Report",)
    assert best.chunk_id == store.chunks(client, "doc-1").items[1].chunk_id


def test_text_search_takes_any_word_of_a_question(store: DocumentStore, client: str) -> None:
    ingest(
        store,
        client,
        [
            embedded(0, "The harbour was closed in winter."),
            embedded(1, "Turnover of the harbour rose by four percent."),
            embedded(2, "Staff and salaries."),
        ],
    )
    assert found(store, client, mode="text", query="harbour turnover percent", embedding=None) == [
        "Turnover of the harbour rose by four percent.",
        "The harbour was closed in winter.",
    ]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Die Häuser am Straßenrand", "Häuser"),
        ("Годовой отчёт компании", "отчёт"),
        ("التقرير السنوي للشركة", "السنوي"),
        ("L'été dernier à Besançon", "Besançon"),
        ("invoice 4711/b of O'Neill & Sons", "invoice 4711/b O'Neill"),
        ("path C:\\temp\\new", "C:\\temp\\new"),
    ],
)
def test_text_search_in_many_languages(store: DocumentStore, client: str, text: str, query: str) -> None:
    ingest(store, client, [embedded(0, text), embedded(1, "zzz")])
    assert found(store, client, mode="text", query=query) == [text]


def test_headings_are_searched_too(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "Up by four."), embedded(1, "Down.", headings=("Results", "Lisbon"))])
    assert found(store, client, mode="text", query="Lisbon") == ["Down."]


@pytest.mark.parametrize("query", ["", "   ", "?!", "' | & ! ( \\ :* <->", "\x00"])
def test_a_query_without_words_finds_nothing_by_text(store: DocumentStore, client: str, query: str) -> None:
    ingest(store, client, [embedded(0, "text")])
    assert found(store, client, mode="text", query=query) == []
    assert found(store, client, mode="hybrid", query=query) == ["text"]


def test_hybrid_search_joins_both(store: DocumentStore, client: str) -> None:
    ingest(
        store,
        client,
        [
            embedded(0, "meaning only", slanted(0.9)),
            embedded(1, "both: zebra", slanted(0.8)),
            embedded(2, "nothing", slanted(0.1)),
        ],
    )
    ingest(store, client, [embedded(0, "words only: zebra", direction(5, 1536))], "doc-2", "older-model")
    matches = store.search(
        client, mode="hybrid", query="zebra", model=MODEL, embedding=direction(0), top_k=10
    )
    assert matches[0].content == "both: zebra"
    assert {match.content for match in matches[1:]} == {"meaning only", "nothing", "words only: zebra"}
    scores = [match.score for match in matches]
    assert scores == sorted(scores, reverse=True)


def test_search_can_be_limited_to_one_document(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "zebra one")])
    ingest(store, client, [embedded(0, "zebra two")], "doc-2")
    for mode in ("vector", "text", "hybrid"):
        assert found(store, client, mode=mode, query="zebra", document_id="doc-2") == ["zebra two"]
        assert found(store, client, mode=mode, query="zebra", document_id="doc-3") == []


@pytest.mark.parametrize("dimensions", [384, 1536, 3072, 768])
def test_each_number_of_dimensions_has_its_place(store: DocumentStore, client: str, dimensions: int) -> None:
    ingest(store, client, [embedded(0, "small", direction(0))], "doc-small")
    ingest(store, client, [embedded(0, "wide", direction(0, dimensions))], "doc-wide", "wide-model")
    wide = found(store, client, model="wide-model", embedding=direction(0, dimensions))
    assert wide == ["wide"]
    assert found(store, client) == ["small"]
    assert found(store, client, embedding=direction(0, 1536)) == []


def test_models_are_kept_apart_in_vector_search_and_not_in_text_search(
    store: DocumentStore, client: str
) -> None:
    ingest(store, client, [embedded(0, "first zebra")], "doc-1", MODEL)
    ingest(store, client, [embedded(0, "second zebra")], "doc-2", "another-model")
    assert found(store, client, model="another-model") == ["second zebra"]
    assert sorted(found(store, client, mode="text", query="zebra")) == ["first zebra", "second zebra"]


def test_clients_never_see_one_another(store: DocumentStore, client: str) -> None:
    other = f"{client}-x"
    for name, text in ((client, "mine zebra"), (other, "theirs zebra")):
        ingest(store, name, [embedded(0, text)])
        store.save_summary(name, "task-1", summary(text))
    for mode in ("vector", "text", "hybrid"):
        assert found(store, client, mode=mode, query="zebra") == ["mine zebra"]
        assert found(store, client, mode=mode, query="zebra", document_id="doc-1") == ["mine zebra"]
    assert texts(store, client) == ["mine zebra"]
    store.delete(client, "doc-1")
    assert texts(store, other) == found(store, other) == ["theirs zebra"]
    kept = store.summary(other, "doc-1")
    assert kept is not None
    assert kept.summary == "theirs zebra"
    assert [item.client_id for item in store.page(other).items] == [other]


def test_a_search_by_meaning_needs_an_embedding(store: DocumentStore, client: str) -> None:
    with pytest.raises(ValueError, match="embedding"):
        store.search(client, mode="vector", query="a", model=MODEL, embedding=None, top_k=1)


def test_a_vector_without_direction_is_like_nothing(store: DocumentStore, client: str) -> None:
    nowhere = (0.0,) * 384
    ingest(store, client, [embedded(0, "somewhere"), embedded(1, "nowhere", nowhere)])
    for query in (nowhere, direction(0)):
        matches = store.search(client, mode="vector", query="", model=MODEL, embedding=query, top_k=5)
        assert {match.content: match.score for match in matches} == pytest.approx(
            {"somewhere": 1.0 if any(query) else 0.0, "nowhere": 0.0}, abs=1e-3
        )


def test_text_that_postgres_cannot_hold_is_stored_without_it(store: DocumentStore, client: str) -> None:
    ingest(store, client, [embedded(0, "before\x00after", headings=("\x00",))])
    assert len(texts(store, client)) == 1
    assert store.add(document(client, "doc-2", filename="a\x00\udfff.pdf"))[1]


# --- summaries ---------------------------------------------------------------------------------------------


def summary(text: str, age: int = 0) -> StoredSummary:
    created_at = START + timedelta(seconds=age)
    return StoredSummary(document_id="doc-1", summary=text, model="gpt", created_at=created_at)


def test_the_newest_summary_is_shown(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    store.save_summary(client, "task-2", summary("newest", 2))
    store.save_summary(client, "task-1", summary("older", 1))
    assert store.summary(client, "doc-1") == summary("newest", 2)


def test_a_repeated_task_leaves_one_summary(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    store.save_summary(client, "task-1", summary("first", 2))
    store.save_summary(client, "task-1", summary("second", 1))
    assert store.summary(client, "doc-1") == summary("second", 1)


def test_no_summary_is_kept_of_a_deleted_document(store: DocumentStore, client: str) -> None:
    store.add(document(client))
    store.delete(client, "doc-1")
    store.save_summary(client, "task-1", summary("late"))
    store.add(document(client))
    assert store.summary(client, "doc-1") is None


# --- all of it ---------------------------------------------------------------------------------------------


def test_it_answers(store: DocumentStore) -> None:
    store.ping(5)


# --- length of the embeddings ------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [256, 1000, 3072])
def test_embeddings_of_every_length_are_found_again(
    store: DocumentStore, client: str, dimensions: int
) -> None:
    """1000 has no index of its own. 150 chunks of 3,072 dimensions are more than one call takes."""
    chance = Random(dimensions)
    vectors = [unit(chance, dimensions) for _ in range(150)]
    ingest(store, client, [embedded(n, f"chunk {n}", vector) for n, vector in enumerate(vectors)])
    for _ in range(3):
        asked = unit(chance, dimensions)
        nearest = sorted(range(150), key=lambda n: -sum(map(mul, vectors[n], asked)))[:10]
        names = found(store, client, embedding=asked)
        assert len({*names} & {f"chunk {n}" for n in nearest}) >= 9  # halves of a float round
    assert found(store, client, embedding=vectors[77])[0] == "chunk 77"
    hashes = [embedded(n, f"chunk {n}").chunk.content_hash for n in range(150)]
    assert {len(vector) for vector in store.known(client, MODEL, hashes).values()} == {dimensions}


def unit(chance: Random, dimensions: int) -> tuple[float, ...]:
    values = [chance.gauss(0, 1) for _ in range(dimensions)]
    length = math.hypot(*values)
    return tuple(value / length for value in values)
