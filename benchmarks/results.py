"""Where the last figures stand: a file for each benchmark, the table of all, and docs/performance.md.

A benchmark may be run alone, so each file says which commit and which machine it is of.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS
from benchmarks.report import Report, shown

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
PAGE = ROOT / "docs/performance.md"
PICTURES = ROOT / "docs/pictures"
BEGIN, END = "<!-- the last run, written by make bench PAGE=1 -->", "<!-- end of the last run -->"


def keep(name: str, report: Report, seconds: float) -> None:
    """Writes the figures of one benchmark, and the table of all that there are."""
    RESULTS.mkdir(exist_ok=True)
    found = {**report.data(), "seconds": round(seconds, 1), **_circumstances()}
    (RESULTS / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(kept()))


def kept() -> dict[str, dict[str, Any]]:
    paths = {name: RESULTS / f"{name}.json" for name in BENCHMARKS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def table(results: dict[str, dict[str, Any]]) -> str:
    return "\n".join(_sections(results)).strip() + "\n"


def _sections(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, found in results.items():
        yield f"### {found['title']} (`{name}`)\n"
        yield f"{found['at']}, commit {found['commit']}, {found['seconds']:.0f} s on {found['machine']}.\n"
        if found["figures"]:
            yield _row(["figure", "value", "goal", "", "note"])
            yield _row(["---", "---:", "---", "---", "---"])
            yield from (_row(_cells(figure)) for figure in found["figures"])
            yield ""
        for title, rows in found["tables"].items():
            columns = list(next(iter(rows.values()))) if rows else []
            yield _row([title, *columns])
            yield _row(["---", *("---:" for _ in columns)])
            yield from (_row([name, *map(shown, row.values())]) for name, row in rows.items())
            yield ""


def _cells(figure: dict[str, Any]) -> list[str]:
    goal, verdict = figure["goal"] or "", figure["verdict"] or ""
    return [figure["name"], shown(figure["value"]), goal, verdict, figure["note"]]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def picture(name: str, svg: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.svg").write_text(svg)


def write_page() -> None:
    """Puts the table into docs/performance.md, between its two comments, and the pictures beside it."""
    PICTURES.mkdir(exist_ok=True)
    for path in RESULTS.glob("*.svg"):
        shutil.copy(path, PICTURES)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(kept())}\n{END}{after}")


def _circumstances() -> dict[str, str]:
    return {"commit": _commit(), "machine": _machine(), "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def _commit() -> str:
    """With a star when the files differ from it. A folder without history has none."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=*", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def _machine() -> str:
    """Kind of processor, cores, memory, Python: nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    version = platform.python_version()
    return f"{_processor()}, {cores} cores, {memory:.0f} GB, {platform.system()}, Python {version}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
