-- A file that goes straight to storage: what was announced becomes what was found, once.

set search_path = public, extensions;

alter table documents add column if not exists etag text;

comment on column documents.etag is 'Of the file of an announced upload, as it was first seen; no other is read.';

create or replace function docmill_schema_version() returns integer
language sql immutable security invoker set search_path = public, extensions, pg_temp
as $$ select 3 $$;

-- The document, `stored` now if it was `pending`, or null when there is none or it was deleted. The first ETag
-- counts.
create or replace function docmill_document_stored(p_client text, p_document text, p_etag text) returns jsonb
language plpgsql security invoker set search_path = public, extensions, pg_temp
as $$
begin
    update documents set status = 'stored', etag = p_etag, updated_at = now()
    where client_id = p_client and document_id = p_document and deleted_at is null and status = 'pending';
    return docmill_get_document(p_client, p_document);
end $$;

-- As at the end of the search functions: Postgres lets everybody execute a new function.
revoke execute on function docmill_document_stored(text, text, text) from public, anon, authenticated;
grant execute on function docmill_document_stored(text, text, text) to service_role;

notify pgrst, 'reload schema';

reset search_path;
