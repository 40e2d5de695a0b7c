"""Runs the benchmarks that ONLY names (separated by commas), or all: tables first, then one line of JSON."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

from benchmarks import BENCHMARKS
from benchmarks.report import Report


def main() -> None:
    names = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.")
    reports = {name: _run(name) for name in names}
    print(json.dumps({name: report.figures() for name, report in reports.items()}, ensure_ascii=False))


def _run(name: str) -> Report:
    report: Report = import_module(BENCHMARKS[name]).run()
    print(report.text(), end="\n\n")
    return report


if __name__ == "__main__":
    main()
