-- Exact search without a copy of all that it compares. The planner keeps what it has joined, for the case that
-- a document comes up again; here each comes up once, so it copied every embedding of a client for nothing,
-- which took up to a third of the time. Nothing in the code needs this file.

set search_path = public, extensions;

alter function docmill_nearest(text, text, halfvec, integer, text) set enable_memoize = off;

reset search_path;
