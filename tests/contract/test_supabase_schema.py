"""What the schema promises beyond the DocumentStore: who may see it, and that search finds what is there."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pytest

from local.stack import Stack
from shared.storage.supabase import SCHEMA_VERSION
from tests.conftest import SupabaseService

TABLES = ("documents", "chunks", "summaries")
SIZES = {"recall-small": 50, "recall-middle": 500, "recall-large": 10_500}
DIMENSIONS = 384
INDEX = f"chunks_embedding_{DIMENSIONS}"
INDEXED = (256, 384, 512, 768, 1024, 1536, 2048, 3072)
MODEL = "synthetic"
TOP = 10
QUERIES = 20


@pytest.fixture(scope="module")
def database(supabase: SupabaseService) -> Iterator[psycopg.Connection]:
    """Postgres itself, as superuser."""
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def service(supabase: SupabaseService) -> Iterator[psycopg.Connection]:
    """What the service key can reach, without the server between."""
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        connection.execute("set role service_role")
        yield connection


@pytest.fixture(scope="module")
def browser(supabase: SupabaseService, services: Stack) -> Iterator[httpx.Client]:
    """What somebody with the publishable key can reach."""
    headers = {"apikey": services.secrets.supabase.publishable}
    with httpx.Client(base_url=f"{supabase.url}/rest/v1", headers=headers, timeout=20) as client:
        yield client


# --- who may see it ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def something(database: psycopg.Connection) -> None:
    """A row in every table."""
    database.execute(
        "insert into documents (client_id, document_id, filename, content_type, size, status, blob,"
        " generation, newest_generation, created_at, updated_at)"
        " values ('seen', 'doc', 'a.pdf', 'application/pdf', 1, 'stored', 'b', 1, 1, now(), now())"
    )
    database.execute(
        "insert into chunks (client_id, document_id, generation, chunk_index, chunk_id, content, tokens,"
        " content_hash, model, embedding)"
        " values ('seen', 'doc', 1, 0, 'doc-0000', 'text', 1, 'h', 'm', '[1]')"
    )
    database.execute("insert into summaries values ('seen', 'task', 'doc', 'text', 'm', now())")


@pytest.mark.usefixtures("something")
@pytest.mark.parametrize("table", TABLES)
def test_the_publishable_key_sees_no_row_and_writes_none(
    browser: httpx.Client, database: psycopg.Connection, table: str
) -> None:
    seen = browser.get(f"/{table}")
    assert seen.is_error or seen.json() == []
    browser.delete(f"/{table}", params={"client_id": "eq.seen"})
    browser.patch(f"/{table}", params={"client_id": "eq.seen"}, json={"client_id": "mine"})
    rows = database.execute(f"select count(*) from {table} where client_id = 'seen'").fetchone()
    assert rows == (1,)


def functions(database: psycopg.Connection) -> list[str]:
    rows = database.execute(
        "select oid::regprocedure::text from pg_proc"
        " where pronamespace = 'public'::regnamespace and proname like 'docmill%'"
    )
    return [name for (name,) in rows]


def test_functions_are_for_the_service_role_alone(database: psycopg.Connection) -> None:
    assert len(functions(database)) >= 14
    for function in functions(database):
        for role in ("anon", "authenticated", "service_role"):
            allowed = database.execute(
                "select has_function_privilege(%s, %s, 'execute')", (role, function)
            ).fetchone()
            assert allowed == (role == "service_role",), (function, role)


def test_functions_run_with_the_rights_of_the_caller_and_a_fixed_path(database: psycopg.Connection) -> None:
    unsafe = database.execute(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace and proname like 'docmill%'"
        " and (prosecdef or not exists (select from unnest(proconfig) c where c like 'search_path=%'))"
    )
    assert unsafe.fetchall() == []


def test_the_publishable_key_may_not_search(browser: httpx.Client) -> None:
    arguments = {"p_client": "seen", "p_mode": "text", "p_query": "text", "p_model": "m", "p_embedding": None}
    answer = browser.post("/rpc/docmill_search", json={**arguments, "p_top": 5})
    assert answer.status_code in {401, 403}
    assert answer.json()["code"] == "42501"


@pytest.mark.parametrize("table", TABLES)
def test_row_level_security_is_on_without_a_policy(database: psycopg.Connection, table: str) -> None:
    row = database.execute(
        "select relrowsecurity from pg_class where oid = %s::regclass", (table,)
    ).fetchone()
    assert row == (True,)
    policies = database.execute("select count(*) from pg_policies where tablename = %s", (table,)).fetchone()
    assert policies == (0,)


def test_every_key_and_index_begins_with_the_client(database: psycopg.Connection) -> None:
    """But for those that cannot hold a text: HNSW and GIN."""
    rows = database.execute(
        "select i.indexrelid::regclass::text, a.attname from pg_index i"
        " join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam"
        " left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
        " where m.amname = 'btree' and i.indrelid = any (%s::regclass[])",
        (list(TABLES),),
    ).fetchall()
    assert len(rows) >= 6
    assert {column for _, column in rows} == {"client_id"}


def test_the_migrations_can_be_applied_again(database: psycopg.Connection) -> None:
    migrate(database)


def migrate(database: psycopg.Connection) -> None:
    files = sorted((Path(__file__).parents[2] / "supabase" / "migrations").glob("*.sql"))
    assert files
    for file in files:
        database.execute(file.read_text())


def test_the_migrations_need_no_superuser(supabase: SupabaseService, database: psycopg.Connection) -> None:
    """Hosted Supabase: the owner is none, and has pgvector installed for it."""
    name = f"hosted_{uuid.uuid4().hex[:8]}"
    database.execute(f"create role {name} login password 'hosted'")
    database.execute(f"create database {name} owner {name}")
    try:
        with psycopg.connect(supabase.database_url, dbname=name, autocommit=True) as superuser:
            superuser.execute("create schema extensions")
            superuser.execute("create extension vector with schema extensions")
            superuser.execute("grant usage on schema extensions to public")
        with psycopg.connect(
            supabase.database_url, dbname=name, user=name, password="hosted", autocommit=True
        ) as owner:
            migrate(owner)
            assert owner.execute("select docmill_schema_version()").fetchone() == (SCHEMA_VERSION,)
    finally:
        database.execute(f"drop database {name} with (force)")
        database.execute(f"drop role {name}")


# --- recall ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vectors(database: psycopg.Connection) -> dict[str, np.ndarray]:
    """Chunks of three clients, one document each, in the table; client -> its vectors, row by row."""
    made = {client: synthetic(rows, seed) for seed, (client, rows) in enumerate(SIZES.items())}
    definition = database.execute("select pg_get_indexdef(%s::regclass)", (INDEX,)).fetchone()
    assert definition is not None
    with database.transaction():
        # Building the index at the end is ten times faster than filling it row by row.
        database.execute(f"drop index {INDEX}")
        for client, rows in made.items():
            load(database, client, rows)
        database.execute(definition[0])
    database.execute("analyze chunks")
    return made


def synthetic(rows: int, seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Unit vectors that fill 24 of the dimensions, as embeddings of text do, with some noise in all."""
    projection = np.random.default_rng(99).normal(size=(24, dimensions))
    generator = np.random.default_rng(seed)
    made = generator.normal(size=(rows, 24)) @ projection + generator.normal(size=(rows, dimensions))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def load(database: psycopg.Connection, client: str, vectors: np.ndarray, document: str = "doc") -> None:
    database.execute(
        "insert into documents (client_id, document_id, filename, content_type, size, status, blob,"
        " generation, newest_generation, created_at, updated_at)"
        " values (%s, %s, 'a.pdf', 'application/pdf', 1, 'ingested', 'b', 1, 1, now(), now())",
        (client, document),
    )
    copy_chunks = (
        "copy chunks (client_id, document_id, generation, chunk_index, chunk_id, content, tokens,"
        " content_hash, model, embedding) from stdin (format binary)"
    )
    with database.cursor().copy(copy_chunks) as copy:
        copy.set_types(["text", "text", "int8", "int4", "text", "text", "int4", "text", "text", "bytea"])
        for index, vector in enumerate(vectors):
            name = f"{document}-{index:04d}"
            copy.write_row((client, document, 1, index, name, "text", 1, name, MODEL, as_binary(vector)))


def as_binary(vector: np.ndarray) -> bytes:
    """pgvector's binary form of a halfvec: its length, two bytes unused, big-endian halves."""
    return struct.pack(">hh", len(vector), 0) + vector.astype(">f2").tobytes()


def as_text(vector: np.ndarray) -> str:
    return json.dumps([round(float(value), 6) for value in vector])


def nearest(service: psycopg.Connection, client: str, query: np.ndarray) -> list[int]:
    rows = service.execute(
        "select chunk_index from docmill_search(%s, 'vector', '', %s, %s, %s)",
        (client, MODEL, as_text(query), TOP),
    )
    return [index for (index,) in rows]


@pytest.mark.parametrize("client", SIZES)
def test_search_finds_the_nearest_of_every_client(
    service: psycopg.Connection, vectors: dict[str, np.ndarray], client: str
) -> None:
    hits = 0
    for query in synthetic(QUERIES, seed=7):
        truth = np.argsort(-(vectors[client] @ query))[:TOP]
        hits += len({*nearest(service, client, query)} & {*truth.tolist()})
    assert hits / (QUERIES * TOP) >= 0.98


@pytest.mark.parametrize(
    ("client", "scans"), [("recall-small", 0), ("recall-middle", 0), ("recall-large", 1)]
)
def test_the_index_serves_the_large_client_only(
    service: psycopg.Connection, vectors: dict[str, np.ndarray], client: str, scans: int
) -> None:
    before = index_scans(service)
    assert len(nearest(service, client, vectors[client][0])) == TOP
    assert index_scans(service) - before == scans


@pytest.fixture(scope="module")
def of_all_lengths(database: psycopg.Connection) -> dict[int, np.ndarray]:
    """A large client with some chunks of each length that has an index, and many of one that has none."""
    made = {length: synthetic(120, seed=length, dimensions=length) for length in INDEXED}
    with database.transaction():
        load(database, "lengths", np.ones((10_001, 1)), "filler")
        for length, rows in made.items():
            load(database, "lengths", rows, f"doc-{length}")
    database.execute("analyze chunks")
    return made


@pytest.mark.parametrize("length", INDEXED)
def test_each_usual_length_has_an_index_that_finds_the_nearest(
    service: psycopg.Connection, of_all_lengths: dict[int, np.ndarray], length: int
) -> None:
    name = f"chunks_embedding_{length}"
    before, hits, queries = index_scans(service, name), 0, synthetic(5, 7, length)
    for query in queries:
        truth = np.argsort(-(of_all_lengths[length] @ query))[:TOP]
        hits += len({*nearest(service, "lengths", query)} & {*truth.tolist()})
    assert hits / (len(queries) * TOP) >= 0.98
    assert index_scans(service, name) - before == len(queries)


def test_the_indexes_are_built_with_care(database: psycopg.Connection) -> None:
    """With pgvector's own 64, a large client misses one of a hundred, or two."""
    built = database.execute(
        "select c.relname, reloptions from pg_class c join pg_am m on m.oid = c.relam where m.amname = 'hnsw'"
    ).fetchall()
    assert dict(built) == {f"chunks_embedding_{length}": ["ef_construction=128"] for length in INDEXED}


def index_scans(service: psycopg.Connection, index: str = INDEX) -> int:
    service.execute("select pg_stat_force_next_flush()")
    row = service.execute(
        "select idx_scan from pg_stat_user_indexes where indexrelname = %s", (index,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_large_client_gets_what_it_asks_for_in_order(
    service: psycopg.Connection, vectors: dict[str, np.ndarray]
) -> None:
    rows = service.execute(
        "select score, chunk_index from docmill_search('recall-large', 'vector', '', %s, %s, 50)",
        (MODEL, as_text(vectors["recall-large"][17])),
    ).fetchall()
    assert len(rows) == 50
    assert rows[0][1] == 17
    assert rows == sorted(rows, reverse=True)
