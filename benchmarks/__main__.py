"""Runs the benchmarks that ONLY names (separated by commas), or all.

Prints the figures of each, all that have a goal once more, and one line of JSON. Keeps them in results/.
PAGE=1 writes them into docs/performance.md.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from importlib import import_module

from benchmarks import BENCHMARKS, results
from benchmarks.report import Report


def main() -> None:
    names = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.")
    reports = {name: report for name in names if (report := _run(name))}
    figures = [figure for report in reports.values() for figure in report.figures if figure.goal]
    if len(names) > 1 and figures:
        print(Report("Goals", figures).text(), end="\n\n")
    if os.environ.get("PAGE"):
        results.write_page()
    print(json.dumps({name: report.data() for name, report in reports.items()}, ensure_ascii=False))
    sys.exit(len(reports) < len(names))


def _run(name: str) -> Report | None:
    """None when it failed: the others still run."""
    began = time.perf_counter()
    try:
        report: Report = import_module(BENCHMARKS[name]).run()
    except Exception:
        traceback.print_exc()
        return None
    seconds = time.perf_counter() - began
    results.keep(name, report, seconds)
    print(report.text(), f"({seconds:.0f} s)", sep="\n\n", end="\n\n", flush=True)
    return report


if __name__ == "__main__":
    main()
