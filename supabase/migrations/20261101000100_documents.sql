-- The functions that write, and the two that list. Each is one transaction.
--
-- A structured argument is JSON as text: every PostgREST-compatible server passes text unchanged.

set search_path = public, extensions;

create or replace function docmill_schema_version() returns integer
language sql immutable security invoker set search_path = public, extensions, pg_temp
as $$ select 1 $$;

-- {"document": row, "new": whether it was not there (or was deleted)}
create or replace function docmill_add_document(p_document text) returns jsonb
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
declare
    given documents := jsonb_populate_record(null::documents, p_document::jsonb);
    stored documents;
begin
    -- A revived document gets a new generation, so that no task of its former life can activate its chunks.
    insert into documents as d (client_id, document_id, filename, content_type, size, sha256, status, pages,
        chunks, embedding_model, title, blob, markdown_blob, created_at, updated_at)
    values (given.client_id, given.document_id, given.filename, given.content_type, given.size, given.sha256,
        given.status, given.pages, given.chunks, given.embedding_model, given.title, given.blob,
        given.markdown_blob, given.created_at, given.updated_at)
    on conflict (client_id, document_id) do update set
        filename = excluded.filename, content_type = excluded.content_type, size = excluded.size,
        sha256 = excluded.sha256, status = excluded.status, pages = excluded.pages,
        chunks = excluded.chunks, embedding_model = excluded.embedding_model, title = excluded.title,
        blob = excluded.blob, markdown_blob = excluded.markdown_blob, created_at = excluded.created_at,
        updated_at = excluded.updated_at, deleted_at = null, generation = 0,
        newest_generation = d.newest_generation + 1
    where d.deleted_at is not null
    returning * into stored;
    if found then
        return jsonb_build_object('document', to_jsonb(stored), 'new', true);
    end if;
    select * into stored from documents
    where client_id = given.client_id and document_id = given.document_id;
    return jsonb_build_object('document', to_jsonb(stored), 'new', false);
end $$;

-- The document, or null when there is none or it was deleted.
create or replace function docmill_get_document(p_client text, p_document text) returns jsonb
language sql stable security invoker set search_path = public, extensions, pg_temp
as $$
    select to_jsonb(d) from documents d
    where client_id = p_client and document_id = p_document and deleted_at is null
$$;

-- JSON array, newest first.
create or replace function docmill_page_documents(
    p_client text, p_limit integer, p_before_time timestamptz default null, p_before_id text default null
) returns jsonb
language sql stable security invoker
set search_path = public, extensions, pg_temp
set plan_cache_mode = force_custom_plan
as $$
    select coalesce(jsonb_agg(to_jsonb(d) order by d.created_at desc, d.document_id desc), '[]')
    from (
        select * from documents
        where client_id = p_client and deleted_at is null
            and (p_before_time is null or (created_at, document_id) < (p_before_time, p_before_id))
        order by created_at desc, document_id desc
        limit p_limit
    ) d
$$;

-- The document as it was, also when it was deleted before, or null when there never was one.
-- The tombstone comes first: it locks out every writer of chunks.
create or replace function docmill_delete_document(p_client text, p_document text) returns jsonb
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
declare
    deleted documents;
begin
    update documents set deleted_at = now(), updated_at = now(), generation = 0
    where client_id = p_client and document_id = p_document and deleted_at is null
    returning * into deleted;
    if not found then
        select * into deleted from documents where client_id = p_client and document_id = p_document;
        return case when found then to_jsonb(deleted) end;
    end if;
    delete from chunks where client_id = p_client and document_id = p_document;
    delete from summaries where client_id = p_client and document_id = p_document;
    return to_jsonb(deleted);
end $$;

-- The number of the new generation, or null when there is no such document.
create or replace function docmill_begin_generation(p_client text, p_document text) returns bigint
language sql volatile security invoker set search_path = public, extensions, pg_temp
as $$
    update documents set newest_generation = newest_generation + 1
    where client_id = p_client and document_id = p_document and deleted_at is null
    returning newest_generation
$$;

-- `p_hashes`: JSON array. Any generation counts, also one that failed half-way: a retry does not pay twice.
create or replace function docmill_known_embeddings(p_client text, p_model text, p_hashes text)
returns table (content_hash text, embedding text)
language sql stable security invoker set search_path = public, extensions, pg_temp
as $$
    select distinct on (c.content_hash) c.content_hash, c.embedding::text
    from chunks c
    where c.client_id = p_client and c.model = p_model
        and c.content_hash = any (array(select jsonb_array_elements_text(p_hashes::jsonb)))
    order by c.content_hash
$$;

-- Upserts `p_chunks` (JSON array) and says how many rows were written: none when the document was deleted
-- or a newer generation was begun, for then nobody may see them. The lock makes deletion wait for us.
create or replace function docmill_write_chunks(
    p_client text, p_document text, p_generation bigint, p_model text, p_chunks text
) returns integer
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
declare
    written integer;
begin
    perform from documents
    where client_id = p_client and document_id = p_document
        and newest_generation = p_generation and deleted_at is null
    for share;
    if not found then
        return 0;
    end if;
    insert into chunks (client_id, document_id, generation, chunk_index, chunk_id, content, page, headings,
        tokens, content_hash, model, embedding)
    select p_client, p_document, p_generation, g.chunk_index, g.chunk_id, g.content, g.page, g.headings,
        g.tokens, g.content_hash, p_model, g.embedding::halfvec
    from json_to_recordset(p_chunks::json) as g (chunk_index integer, chunk_id text, content text,
        page integer, headings jsonb, tokens integer, content_hash text, embedding text)
    on conflict (client_id, document_id, generation, chunk_index) do update set
        chunk_id = excluded.chunk_id, content = excluded.content, page = excluded.page,
        headings = excluded.headings, tokens = excluded.tokens, content_hash = excluded.content_hash,
        model = excluded.model, embedding = excluded.embedding;
    get diagnostics written = row_count;
    return written;
end $$;

-- Makes a generation the visible one and removes all others. False, and nothing changed, when a newer one
-- was begun, when the document was deleted, or when chunks are missing.
create or replace function docmill_activate_generation(
    p_client text, p_document text, p_generation bigint, p_model text, p_chunks integer, p_pages integer,
    p_title text, p_markdown_blob text, p_size bigint, p_sha256 text, p_content_type text
) returns boolean
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
declare
    present documents;
begin
    select * into present from documents
    where client_id = p_client and document_id = p_document and deleted_at is null
    for update;
    if not found then
        return false;
    end if;
    if present.generation = p_generation then
        return true;
    end if;
    if present.newest_generation <> p_generation then
        return false;
    end if;
    if p_chunks > (
        select count(*) from chunks
        where client_id = p_client and document_id = p_document and generation = p_generation
            and model = p_model and chunk_index < p_chunks
    ) then
        return false;
    end if;
    update documents set generation = p_generation, status = 'ingested', embedding_model = p_model,
        chunks = p_chunks, pages = p_pages, title = p_title, markdown_blob = p_markdown_blob, size = p_size,
        sha256 = p_sha256, content_type = p_content_type, updated_at = now()
    where client_id = p_client and document_id = p_document;
    delete from chunks
    where client_id = p_client and document_id = p_document
        and (generation <> p_generation or chunk_index >= p_chunks);
    return true;
end $$;

create or replace function docmill_page_chunks(
    p_client text, p_document text, p_limit integer, p_after integer default -1
) returns table (
    chunk_id text, document_id text, chunk_index integer, content text, page integer, headings jsonb,
    tokens integer
)
language sql stable security invoker set search_path = public, extensions, pg_temp
as $$
    select c.chunk_id, c.document_id, c.chunk_index, c.content, c.page, c.headings, c.tokens
    from documents d
    join chunks c using (client_id, document_id, generation)
    where d.client_id = p_client and d.document_id = p_document and d.deleted_at is null
        and c.chunk_index > p_after
    order by c.chunk_index
    limit p_limit
$$;

-- False, and nothing is kept, when the document was deleted. The lock makes deletion wait for us.
create or replace function docmill_save_summary(
    p_client text, p_task text, p_document text, p_summary text, p_model text, p_created_at timestamptz
) returns boolean
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
declare
    deleted boolean;
begin
    select deleted_at is not null into deleted from documents
    where client_id = p_client and document_id = p_document
    for share;
    if deleted then
        return false;
    end if;
    insert into summaries (client_id, task_id, document_id, summary, model, created_at)
    values (p_client, p_task, p_document, p_summary, p_model, p_created_at)
    on conflict (client_id, task_id) do update set
        document_id = excluded.document_id, summary = excluded.summary, model = excluded.model,
        created_at = excluded.created_at;
    return true;
end $$;

-- The newest summary of a document, or null.
create or replace function docmill_newest_summary(p_client text, p_document text) returns jsonb
language sql stable security invoker set search_path = public, extensions, pg_temp
as $$
    select to_jsonb(s) from summaries s
    where client_id = p_client and document_id = p_document
    order by created_at desc, task_id desc
    limit 1
$$;

reset search_path;
