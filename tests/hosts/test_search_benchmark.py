"""The benchmark of search runs, small, and leaves the index as it found it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg

from benchmarks import search
from benchmarks.service import Service
from local import ports
from local.app import credentials
from local.stack import Stack
from shared.core import Core
from shared.settings import read_settings

SIZE = search.Size({"bench-large": 150, "bench-small": 7}, questions=2, recalls=3, documents=1)
INDEXES = "select indexname, indexdef from pg_indexes where tablename = 'chunks' order by indexname"


def measured(stack: Stack, folder: Path) -> search.Found:
    port = str(ports.choose(ports.ANY)["DOCMILL_PORT"])  # the stack's own may be another app's
    address = {"DOCMILL_PORT": port, "DOCMILL_URL": f"http://127.0.0.1:{port}"}
    environment = {**stack.environment(), **address, "CLIENT_IDS": ",".join(SIZE.clients)}
    environment |= credentials(environment, known={})
    with closing(Core(read_settings(environment))) as core:
        return search.measured(Service(core, environment, folder, stack.postgres.url), SIZE)


def indexes(stack: Stack) -> list[tuple[str, str]]:
    with psycopg.connect(stack.postgres.url) as database:
        return database.execute(INDEXES).fetchall()


def test_it_measures_every_mode_and_the_recall_of_every_client(stack: Stack, tmp_path: Path) -> None:
    before = indexes(stack)
    found = measured(stack, tmp_path)
    assert indexes(stack) == before
    times = {mode: (len(pair.app), len(pair.bare)) for mode, pair in found.modes.items()}
    assert times == dict.fromkeys(search.MODES, (4, 4))
    assert found.recall == {"bench-large": 1.0, "bench-small": 1.0}
    figures = search.report(found).data()["figures"]
    assert len([figure for figure in figures if figure["goal"]]) == 4
    assert all(figure["value"] is not None for figure in figures)
