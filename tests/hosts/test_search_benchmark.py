"""The benchmark of search runs, small, and leaves the index as it found it."""

from __future__ import annotations

import psycopg

from benchmarks import search
from local.stack import Stack

INDEXES = "select indexname, indexdef from pg_indexes where tablename = 'chunks' order by indexname"


def test_it_measures_every_mode_and_the_recall_of_every_client(stack: Stack) -> None:
    size = search.Size({"bench-large": 150, "bench-small": 7}, questions=2, documents=1)
    with psycopg.connect(stack.postgres.url) as database:
        before = database.execute(INDEXES).fetchall()
    found = search.measured(stack, size)
    with psycopg.connect(stack.postgres.url) as database:
        assert database.execute(INDEXES).fetchall() == before
    assert {mode: (len(pair.app), len(pair.bare)) for mode, pair in found.modes.items()} == dict.fromkeys(
        search.MODES, (4, 4)
    )
    assert found.recall == {"bench-large": 1.0, "bench-small": 1.0}
    figures = search.report(found).data()["figures"]
    assert len([figure for figure in figures if figure["goal"]]) == 4
    assert all(figure["value"] is not None for figure in figures)
