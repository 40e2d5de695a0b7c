-- Documents, their chunks with embeddings, and summaries.
--
-- Every key, index and query begins with client_id. Row level security is on and there is no policy: whoever
-- is not service_role (or the owner) sees no row. The service key never leaves the back end.

create schema if not exists extensions;
create extension if not exists vector with schema extensions;

-- Hosted Supabase has these roles. A plain Postgres, or Supabase Lite before its first request, has not.
do $$
begin
    if not exists (select from pg_roles where rolname = 'anon') then
        create role anon nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'authenticated') then
        create role authenticated nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'service_role') then
        create role service_role nologin bypassrls;
    end if;
    if not has_schema_privilege('service_role', 'extensions', 'usage') then
        grant usage on schema extensions to service_role;
    end if;
end $$;

-- pgvector may have been installed in `public` before us, so its types are named without a schema.
set search_path = public, extensions;

create table if not exists documents (
    client_id text not null,
    document_id text not null,
    filename text not null,
    content_type text not null,
    size bigint not null,
    sha256 text,
    status text not null check (status in ('pending', 'stored', 'ingested')),
    pages integer,
    chunks integer,
    embedding_model text,
    title text,
    blob text not null,
    markdown_blob text,
    generation bigint not null default 0,
    newest_generation bigint not null default 0,
    deleted_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (client_id, document_id)
);

comment on table documents is 'One row per document and client; a deleted document stays as a tombstone.';
comment on column documents.generation is 'The generation of chunks that is searched and shown; 0 for none.';
comment on column documents.newest_generation is 'The generation begun last; older ones can not be activated.';

create index if not exists documents_newest_first
    on documents (client_id, created_at desc, document_id desc) where deleted_at is null;

-- One untyped halfvec column holds embeddings of every length: half the size of `vector`, and recall was
-- the same. The tuple target keeps a row of 3,072 dimensions (6 KB) out of the TOAST table, where each
-- distance would cost a look-up of its own.
create table if not exists chunks (
    client_id text not null,
    document_id text not null,
    generation bigint not null,
    chunk_index integer not null,
    chunk_id text not null,
    content text not null,
    page integer,
    headings jsonb not null default '[]',
    tokens integer not null,
    content_hash text not null,
    model text not null,
    embedding halfvec not null,
    dimensions integer generated always as (vector_dims(embedding)) stored,
    -- 'english' for text of any language. It drops English function words and joins English inflections;
    -- a word of another language passes the same rules here and in the query, so it still finds itself.
    -- 'simple' would treat other languages no better and would let "the" and "is" decide the ranking.
    fts tsvector generated always as (to_tsvector('english', headings) || to_tsvector('english', content)) stored,
    primary key (client_id, document_id, generation, chunk_index),
    foreign key (client_id, document_id) references documents on delete cascade
) with (toast_tuple_target = 8160);

-- Finds embeddings that a client has paid for already, and counts the rows of a client and model.
create index if not exists chunks_known on chunks (client_id, model, content_hash);

create index if not exists chunks_fts on chunks using gin (fts);

-- An index needs a fixed length, so one for each in use. Other lengths are searched exactly.
create index if not exists chunks_embedding_384 on chunks
    using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) where dimensions = 384;
create index if not exists chunks_embedding_1536 on chunks
    using hnsw ((embedding::halfvec(1536)) halfvec_cosine_ops) where dimensions = 1536;
create index if not exists chunks_embedding_3072 on chunks
    using hnsw ((embedding::halfvec(3072)) halfvec_cosine_ops) where dimensions = 3072;

create table if not exists summaries (
    client_id text not null,
    task_id text not null,
    document_id text not null,
    summary text not null,
    model text not null,
    created_at timestamptz not null,
    primary key (client_id, task_id)
);

create index if not exists summaries_newest_first
    on summaries (client_id, document_id, created_at desc, task_id desc);

alter table documents enable row level security;
alter table chunks enable row level security;
alter table summaries enable row level security;

revoke all on table documents, chunks, summaries from public, anon, authenticated;
grant select, insert, update, delete on table documents, chunks, summaries to service_role;

reset search_path;
