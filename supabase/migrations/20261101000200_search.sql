-- Search by meaning, by words, and both. Only active generations of documents that are not deleted.

set search_path = public, extensions;

-- Loads pgvector into this session. Before that, only a superuser may name its settings (hnsw.…) below.
select '[1]'::vector;

-- The nearest chunks of one client and model, nearest first; distance is cosine distance.
--
-- Up to 10,000 rows of this client and model every distance is computed, which takes milliseconds. HNSW
-- filters after it has searched, so it would miss nearly everything of a small client in a large table.
-- Above that HNSW pays: the scan goes on until enough rows of this client turned up. Being in relaxed order,
-- more than asked for are taken and sorted again, outside of a CTE that the planner must not dissolve.
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
    large boolean := p_document is null and asked in (384, 1536, 3072) and 10000 < (
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

-- The chunks of one client that hold any word of the query, best first. Of any model, since words do not
-- depend on it: documents stay findable when the embedding model is changed.
create or replace function docmill_matching(p_client text, p_query text, p_limit integer, p_document text)
returns table (document_id text, generation bigint, chunk_index integer, rank double precision)
language plpgsql stable security invoker
set search_path = public, extensions, pg_temp
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    -- Joined by "or": websearch_to_tsquery demands every word of a question, which finds nothing.
    words tsquery := (
        select string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery
        from (select lexeme from unnest(to_tsvector('english', p_query)) limit 64) lexemes
    );
begin
    return query
    select c.document_id, c.generation, c.chunk_index, ts_rank(c.fts, words, 1)::double precision as rank
    from chunks c
    join documents d using (client_id, document_id, generation)
    where c.client_id = p_client and c.fts @@ words
        and d.deleted_at is null and (p_document is null or c.document_id = p_document)
    order by rank desc, c.document_id, c.chunk_index
    limit p_limit;
end $$;

-- `p_mode`: vector, text or hybrid. Hybrid is reciprocal rank fusion with k = 60 (Cormack, Clarke and
-- Buettcher, SIGIR 2009): a chunk scores 1 / (60 + rank) in each list that it is in.
create or replace function docmill_search(
    p_client text, p_mode text, p_query text, p_model text, p_embedding text, p_top integer,
    p_document text default null
) returns table (
    chunk_id text, document_id text, filename text, content text, score double precision, page integer,
    headings jsonb, chunk_index integer
)
language sql stable security invoker
set search_path = public, extensions, pg_temp
as $$
    with depth as (
        select case p_mode when 'hybrid' then greatest(4 * p_top, 40) else p_top end as rows
    ),
    near as (
        select n.*, row_number() over (order by n.distance, n.document_id, n.chunk_index) as place
        from depth, docmill_nearest(p_client, p_model, p_embedding::halfvec, depth.rows, p_document) n
        where p_mode <> 'text'
    ),
    matching as (
        select m.*, row_number() over (order by m.rank desc, m.document_id, m.chunk_index) as place
        from depth, docmill_matching(p_client, p_query, depth.rows, p_document) m
        where p_mode <> 'vector'
    ),
    found as (
        select document_id, generation, chunk_index,
            case p_mode
                -- A vector of length zero has no direction: its distance is not a number.
                when 'vector' then 1 - coalesce(nullif(n.distance, 'NaN'), 1)
                when 'text' then m.rank
                else coalesce(1.0 / (60 + n.place), 0) + coalesce(1.0 / (60 + m.place), 0)
            end as score
        from near n full join matching m using (document_id, generation, chunk_index)
        order by score desc, document_id, chunk_index
        limit p_top
    )
    select c.chunk_id, c.document_id, d.filename, c.content, f.score, c.page, c.headings, c.chunk_index
    from found f
    join chunks c on c.client_id = p_client and c.document_id = f.document_id
        and c.generation = f.generation and c.chunk_index = f.chunk_index
    join documents d on d.client_id = p_client and d.document_id = f.document_id
    order by f.score desc, c.document_id, c.chunk_index
$$;

-- Postgres lets everybody execute a new function, and Supabase grants it to anon and authenticated by name.
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

-- Tells a running PostgREST that there is something new.
notify pgrst, 'reload schema';

reset search_path;
