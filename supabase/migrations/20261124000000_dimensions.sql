-- Indexes for the other lengths that embedding models commonly have. Nothing in the code needs them: without
-- this file, such lengths are searched exactly, which takes longer for clients of many chunks.

set search_path = public, extensions;

-- Empty ones cost nothing: a row is looked at by the indexes of its own length alone.
create index if not exists chunks_embedding_256 on chunks
    using hnsw ((embedding::halfvec(256)) halfvec_cosine_ops) where dimensions = 256;
create index if not exists chunks_embedding_512 on chunks
    using hnsw ((embedding::halfvec(512)) halfvec_cosine_ops) where dimensions = 512;
create index if not exists chunks_embedding_768 on chunks
    using hnsw ((embedding::halfvec(768)) halfvec_cosine_ops) where dimensions = 768;
create index if not exists chunks_embedding_1024 on chunks
    using hnsw ((embedding::halfvec(1024)) halfvec_cosine_ops) where dimensions = 1024;
create index if not exists chunks_embedding_2048 on chunks
    using hnsw ((embedding::halfvec(2048)) halfvec_cosine_ops) where dimensions = 2048;

-- Loads pgvector into this session. Before that, only a superuser may name its settings (hnsw.…) below.
select '[1]'::vector;

-- As in the first search functions, which say why it is so, but for the lengths that have an index.
create or replace function docmill_nearest(
    p_client text, p_model text, p_embedding halfvec, p_limit integer, p_document text
) returns table (document_id text, generation bigint, chunk_index integer, distance double precision)
language plpgsql stable security invoker
set search_path = public, extensions, pg_temp
set plan_cache_mode = force_custom_plan
set hnsw.ef_search = 200
set hnsw.iterative_scan = relaxed_order
set hnsw.max_scan_tuples = 100000
as $$
#variable_conflict use_column
declare
    asked integer := vector_dims(p_embedding);
    large boolean := p_document is null and asked in (256, 384, 512, 768, 1024, 1536, 2048, 3072) and 10000 < (
        select count(*) from (
            select from chunks c where c.client_id = p_client and c.model = p_model limit 10001
        ) counted
    );
begin
    if not large then
        -- "+ 0" hides the order from the planner, which might otherwise take an HNSW index.
        return query
        select c.document_id, c.generation, c.chunk_index, (c.embedding <=> p_embedding) + 0 as distance
        from chunks c
        join documents d using (client_id, document_id, generation)
        where c.client_id = p_client and c.model = p_model and c.dimensions = asked
            and d.deleted_at is null and (p_document is null or c.document_id = p_document)
        order by distance, c.document_id, c.chunk_index
        limit p_limit;
        return;
    end if;
    -- A partial index is used only when the query holds its length as a literal. A join with documents would
    -- let the planner leave the order of the index, and with `c.generation = (select …)` it would expect that
    -- one row in 200 passes and scan all; of a bare boolean it expects one half.
    return query execute format($query$
        with near as materialized (
            select c.document_id, c.generation, c.chunk_index,
                c.embedding::halfvec(%1$s) <=> $1::halfvec(%1$s) as distance
            from chunks c
            where c.client_id = $2 and c.model = $3 and c.dimensions = %1$s
                and (
                    select d.generation = c.generation from documents d
                    where d.client_id = $2 and d.document_id = c.document_id and d.deleted_at is null
                )
            order by c.embedding::halfvec(%1$s) <=> $1::halfvec(%1$s)
            limit greatest(4 * $4, 100)
        )
        select * from near order by distance + 0, document_id, chunk_index limit $4
    $query$, asked) using p_embedding, p_client, p_model, p_limit;
end $$;

-- As at the end of the search functions: Postgres lets everybody execute a new function.
revoke execute on function docmill_nearest(text, text, halfvec, integer, text) from public, anon, authenticated;
grant execute on function docmill_nearest(text, text, halfvec, integer, text) to service_role;

notify pgrst, 'reload schema';

reset search_path;
