"""The benchmarks run, and what they measure does not fall below what was reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import BENCHMARKS, pdf, results
from benchmarks.papers import names, paper
from benchmarks.report import Figure, Report, Table, at_least, at_most, below
from shared.documents import Block

# A fall of a hundredth in one paper is a paragraph or a cell that was right and no longer is.
FLOORS = {
    "recall": 0.995,
    "precision": 0.995,
    "order": 0.995,
    "blocks": 0.94,
    "headings recall": 1.0,
    "headings precision": 1.0,
    "cells": 1.0,
    "tables precision": 1.0,
    "labels": 1.0,
}


@pytest.fixture(scope="module")
def table() -> Table:
    (table,) = pdf.run().tables
    return table


@pytest.mark.parametrize("name", [*names(), "all"])
def test_the_structure_of_each_paper_is_found(table: Table, name: str) -> None:
    figures = table.data()[name]
    low = {
        key: value for key, floor in FLOORS.items() if (value := figures[key]) is not None and value < floor
    }
    assert low == {}


def test_every_figure_has_a_floor(table: Table) -> None:
    assert set(FLOORS) | {"words"} == set(table.columns)


def test_figures_tell_a_bad_result_from_a_good_one() -> None:
    ruled = paper("ruled tables")
    good = pdf.converted(ruled)
    bad = good.model_copy(
        update={"blocks": tuple(Block(kind="text", text=b.text) for b in good.blocks[::-1])}
    )
    best, worst = pdf.score(ruled, good), pdf.score(ruled, bad)
    assert (best.cells.value, worst.cells.value, worst.headings_recall.value) == (1.0, 0.0, 0.0)
    assert (worst.order.value or 1) < 0.6 < (best.order.value or 0)


def test_a_longest_common_sequence() -> None:
    assert (
        pdf.common_length(["the", "mill", "by", "the", "river"], ["by", "the", "mill", "the", "river"]) == 4
    )
    assert pdf.common_length([], ["a"]) == pdf.common_length(["a"], []) == 0


def run(only: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        env={**os.environ, "ONLY": only},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_a_table_and_json() -> None:
    done = run("pdf")
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout.splitlines()[-1])["pdf"]["tables"]
    assert set(tables["papers"]["all"]) == set(pdf.COLUMNS)
    kept = json.loads((results.RESULTS / "pdf.json").read_text())
    assert kept["tables"] == tables
    assert kept["commit"]


def test_an_unknown_benchmark_is_named() -> None:
    done = run("nothing")
    assert done.returncode == 1
    assert all(name in done.stderr for name in ("nothing", *BENCHMARKS))


def test_a_figure_is_held_to_its_goal() -> None:
    assert Figure("ratio", 0.8, at_least(0.8)).verdict == "met"
    assert Figure("ratio", 1.11, at_most(1.1)).verdict == "missed"
    assert Figure("seconds", 1.5, below(1.5)).verdict == "missed"
    assert Figure("seconds", None, below(1.5)).verdict == "missed"
    assert Figure("seconds", 1.5).verdict == ""


def test_a_report_is_a_table_for_people_and_data_for_programs() -> None:
    report = Report(
        "Start",
        [Figure("ratio", 3.25, at_most(3.5), "of two | three"), Figure("modules", 700)],
        [Table("imports", ["seconds"], {"app": [0.42], "bare": [None]})],
    )
    assert "ratio    3.250  at most 3.5  met  of two | three\nmodules    700\n" in report.text()
    assert "bare        -" in report.text()
    found = report.data()
    assert found["figures"][0]["verdict"] == "met"
    assert found["tables"] == {"imports": {"app": {"seconds": 0.42}, "bare": {"seconds": None}}}
    page = results.table({"start": {**found, "at": "today", "commit": "1", "machine": "m", "seconds": 1.0}})
    assert "| ratio | 3.250 | at most 3.5 | met | of two \\| three |\n| modules | 700 |  |  |  |" in page
    assert "| app | 0.420 |\n| bare | - |" in page
