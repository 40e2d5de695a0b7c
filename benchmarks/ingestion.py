"""Ingestion from the upload to the final row, beside the bare sum of the parts in one process.

Rounds, in each of which these take turns with the same files: the bare parts; the same with the model called
as Docmill calls it; a worker that does one task at a time, with the files of more than five pages; a worker
as host.json has it, with all files at once. Each round has other text and other clients: nothing is embedded
already.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import documents, parts
from benchmarks.documents import Source
from benchmarks.report import Figure, Report, Table, at_most, below
from benchmarks.service import Service, service, uploaded
from local.process import base_environment
from local.stack import ROOT
from shared.tasks import Task

ROUNDS = 2
LONG = 5
"""Pages: what has more is long."""
STAGES = ("download", *parts.STAGES)
ONE_AT_A_TIME = {
    "AzureFunctionsJobHost__extensions__queues__batchSize": "1",
    "AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "0",
}


@dataclass
class Found:
    """Seconds of all rounds. `stages`: by who and by stage, of the long files alone."""

    pages: int = 0
    long_pages: int = 0
    files: int = 0
    bare: float = 0
    bare_long: float = 0
    ours_long: float = 0
    serial: float = 0
    batch: float = 0
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    formats: dict[str, list[float]] = field(default_factory=dict)

    def add(self, who: str, stage: str, seconds: float) -> None:
        stages = self.stages.setdefault(who, {})
        stages[stage] = stages.get(stage, 0) + seconds


def run() -> Report:
    found = Found()
    with ExitStack() as stack:
        contest = stack.enter_context(Contest.started())
        for number in range(ROUNDS + 1):
            contest.round(number, found if number else Found())
    return report(found)


class Contest:
    """Bare parts and workers, all started and warm after a first round, which counts for nothing."""

    def __init__(self, running: Service, bare: Bare) -> None:
        self._service, self._bare = running, bare

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Contest]:
        serial = [f"serial-{number}" for number in range(ROUNDS + 1)]
        batch = [f"batch-{number}" for number in range(ROUNDS + 1)]
        with (
            service([*serial, *batch]) as running,
            Bare.started(running) as bare,
            running.worker("--only", "http", "--only", "queues", "--clients", ",".join(batch)),
            running.worker("--only", "queues", "--clients", ",".join(serial), environ=ONE_AT_A_TIME),
        ):
            running.wait_until_ready()
            yield cls(running, bare)

    def round(self, number: int, found: Found) -> None:
        """Round 0 is short: it brings imports, models and connections."""
        sources = documents.collection(number)
        if number == 0:
            sources = (
                sources[:: len(documents.SIZES)] + sources[len(documents.SIZES) - 1 :: len(documents.SIZES)]
            )
        long = [source for source in sources if source.pages > LONG]
        turns: list[Callable[[], None]] = [
            lambda: self._parts(sources, found),
            lambda: self._our_parts(long, found),
            lambda: self._one_at_a_time(f"serial-{number}", long, found),
            lambda: self._all_at_once(f"batch-{number}", sources, found),
        ]
        for turn in turns[number % 4 :] + turns[: number % 4]:
            turn()
        found.files += len(sources)
        found.pages += sum(source.pages for source in sources)
        found.long_pages += sum(source.pages for source in long)

    def _parts(self, sources: Sequence[Source], found: Found) -> None:
        for source, seconds in zip(sources, self._bare.run("bare", sources), strict=True):
            found.bare += sum(seconds)
            pages, before = found.formats.get(source.format, [0.0, 0.0])
            found.formats[source.format] = [pages + source.pages, before + seconds[0]]
            if source.pages > LONG:
                found.bare_long += sum(seconds)
                for stage, value in zip(parts.STAGES, seconds, strict=True):
                    found.add("bare parts", stage, value)

    def _our_parts(self, sources: Sequence[Source], found: Found) -> None:
        for seconds in self._bare.run("ours", sources):
            found.ours_long += sum(seconds)
            for stage, value in zip(parts.STAGES, seconds, strict=True):
                found.add("bare parts, our way to embed", stage, value)

    def _one_at_a_time(self, client: str, sources: Sequence[Source], found: Found) -> None:
        seconds, tasks = self._ingested(client, sources)
        found.serial += seconds
        for task in tasks:
            result = json.loads(self._service.core.blobs.read(str(task.result_blob)))
            for stage, value in result["timings"].items():
                found.add("Docmill", stage, value)

    def _all_at_once(self, client: str, sources: Sequence[Source], found: Found) -> None:
        found.batch += self._ingested(client, sources)[0]

    def _ingested(self, client: str, sources: Sequence[Source]) -> tuple[float, list[Task]]:
        """Seconds from the first request to the last final row."""
        self._wake(client)
        with self._service.client(client) as http:
            began = time.time()
            answers = [uploaded(http, source.filename, source.content) for source in sources]
        tasks = self._service.ended(client, [answer["task"]["task_id"] for answer in answers])
        return max(task.finished_at.timestamp() for task in tasks if task.finished_at) - began, tasks

    def _wake(self, client: str) -> None:
        """A queue that had nothing for long is looked at every two seconds, which is not what is measured."""
        with self._service.client(client) as http:
            made = uploaded(http, "wake.txt", b"The harbour wakes up.")
        self._service.ended(client, [made["task"]["task_id"]])


class Bare:
    """The process of the bare parts."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        folder.mkdir()

    @classmethod
    @contextmanager
    def started(cls, running: Service) -> Iterator[Bare]:
        environment = running.environment
        command = [
            sys.executable,
            "-m",
            "benchmarks.parts",
            environment["SUPABASE_URL"],
            environment["SUPABASE_KEY"],
        ]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=base_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield cls(process, running.folder / "bare")
            finally:
                process.kill()

    def run(self, how: str, sources: Sequence[Source]) -> list[list[float]]:
        """Seconds of each, by stage. `how`: as parts.py says."""
        paths = [self._folder / source.filename for source in sources]
        for path, source in zip(paths, sources, strict=True):
            path.write_bytes(source.content)
        if not self._process.stdin or not self._process.stdout:
            raise RuntimeError("The process has no pipes.")
        self._process.stdin.write(json.dumps({"embed": how, "files": [str(path) for path in paths]}) + "\n")
        self._process.stdin.flush()
        answer: list[list[float]] = json.loads(self._process.stdout.readline())
        return answer


def report(found: Found) -> Report:
    return Report(
        "Ingestion",
        [
            Figure(
                "one at a time / bare parts, documents of more than 5 pages",
                found.serial / found.bare_long,
                at_most(1.1),
                "upload to final row",
            ),
            Figure(
                "the same / bare parts with our way to embed",
                found.serial / found.ours_long,
                note="what the protocol costs",
            ),
            Figure(
                f"all {found.files // ROUNDS} at once / bare parts",
                found.batch / found.bare,
                below(1.0),
                "upload to final row, 2 to 4 tasks at a time",
            ),
        ],
        [_speeds(found), _stages(found), _formats(found)],
    )


def _speeds(found: Found) -> Table:
    rows: Mapping[str, Sequence[Any]] = {
        "bare parts, one process": (found.bare, found.pages / found.bare),
        "bare parts, more than 5 pages": (found.bare_long, found.long_pages / found.bare_long),
        "Docmill, one at a time, more than 5 pages": (found.serial, found.long_pages / found.serial),
        "Docmill, all at once": (found.batch, found.pages / found.batch),
    }
    return Table("speed", ("seconds", "pages/s"), rows)


def _stages(found: Found) -> Table:
    """`rest`: what the clock says beyond the stages, which is the protocol around the handler."""
    rows = {}
    totals = {"bare parts": found.bare_long, "bare parts, our way to embed": found.ours_long}
    for who, total in {**totals, "Docmill": found.serial}.items():
        stages = found.stages[who]
        values = [stages.get(stage) for stage in STAGES]
        rows[who] = [*values, total - sum(stages.values())]
    return Table("stages, seconds, more than 5 pages, one at a time", (*STAGES, "rest"), rows)


def _formats(found: Found) -> Table:
    rows = {name: (pages / seconds,) for name, (pages, seconds) in found.formats.items()}
    return Table("bare conversion", ("pages/s",), rows)
