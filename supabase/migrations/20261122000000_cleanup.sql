-- A tombstone remembers that the files of its document have to go, until they are gone.

set search_path = public, extensions;

do $$
begin
    if not exists (
        select from information_schema.columns
        where table_schema = 'public' and table_name = 'documents' and column_name = 'cleanup_due'
    ) then
        alter table documents add column cleanup_due timestamptz;
        -- What was deleted before has left what could not be reached then.
        update documents set cleanup_due = now() where deleted_at is not null;
    end if;
end $$;

comment on column documents.cleanup_due is 'When files of this or a former life are looked for; null for none.';

create index if not exists documents_cleanup on documents (client_id, cleanup_due)
    where cleanup_due is not null;

create or replace function docmill_schema_version() returns integer
language sql immutable security invoker set search_path = public, extensions, pg_temp
as $$ select 2 $$;

-- As before. A document that is revived before its former life was cleaned up is looked at again in an hour,
-- when no upload that was under way can be taken for a file that nobody knows.
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
        newest_generation = d.newest_generation + 1,
        cleanup_due = case when d.cleanup_due is not null then now() + interval '1 hour' end
    where d.deleted_at is not null
    returning * into stored;
    if found then
        return jsonb_build_object('document', to_jsonb(stored), 'new', true);
    end if;
    select * into stored from documents
    where client_id = given.client_id and document_id = given.document_id;
    return jsonb_build_object('document', to_jsonb(stored), 'new', false);
end $$;

-- The document as it was, also when it was deleted before, or null when there never was one.
-- The tombstone comes first: it locks out every writer of chunks. Its files are looked for a minute later,
-- since a worker may have been writing one.
create or replace function docmill_delete_document(p_client text, p_document text) returns jsonb
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
declare
    deleted documents;
begin
    update documents set deleted_at = coalesce(deleted_at, now()), generation = 0,
        updated_at = case when deleted_at is null then now() else updated_at end,
        cleanup_due = now() + interval '1 minute'
    where client_id = p_client and document_id = p_document
    returning * into deleted;
    if not found then
        return null;
    end if;
    delete from chunks where client_id = p_client and document_id = p_document;
    delete from summaries where client_id = p_client and document_id = p_document;
    return to_jsonb(deleted);
end $$;

-- JSON array of documents. `p_clients`: JSON array.
create or replace function docmill_documents_to_clean(p_clients text, p_now timestamptz, p_limit integer)
returns jsonb
language sql stable security invoker
set search_path = public, extensions, pg_temp
set plan_cache_mode = force_custom_plan
as $$
    select coalesce(jsonb_agg(to_jsonb(d) order by d.cleanup_due), '[]')
    from (
        select * from documents
        where client_id = any (array(select jsonb_array_elements_text(p_clients::jsonb)))
            and cleanup_due <= p_now
        order by cleanup_due
        limit p_limit
    ) d
$$;

-- The document as it is, deleted or not, or null.
create or replace function docmill_document_remains(p_client text, p_document text) returns jsonb
language sql stable security invoker set search_path = public, extensions, pg_temp
as $$
    select to_jsonb(d) from documents d where client_id = p_client and document_id = p_document
$$;

-- Nothing is left when `p_again` is null. `p_due` is what it was: whoever deleted it meanwhile wrote another.
create or replace function docmill_document_cleaned(
    p_client text, p_document text, p_due timestamptz, p_again timestamptz
) returns boolean
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
begin
    update documents set cleanup_due = p_again
    where client_id = p_client and document_id = p_document and cleanup_due = p_due;
    return found;
end $$;

-- As at the end of the search functions: Postgres lets everybody execute a new function.
do $$
declare
    signature regprocedure;
begin
    for signature in
        select oid from pg_proc
        where pronamespace = 'public'::regnamespace and proname like 'docmill\_%'
    loop
        execute format('revoke execute on function %s from public, anon, authenticated', signature);
        execute format('grant execute on function %s to service_role', signature);
    end loop;
end $$;

notify pgrst, 'reload schema';

reset search_path;
