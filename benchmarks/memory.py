"""Peak memory of the process that serves and works (the parent) and of its conversion child.

The app runs as `python -m worker` starts it, one task after the other, and is looked at every few
milliseconds. The models are the local ones, which live in the parent: with a model behind an API it holds
about 200 MB less. The sheet alone is cut into the largest chunks, or most of the time would go into embedding
them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import documents
from benchmarks.report import Figure, Report, Table, below
from benchmarks.service import Service, service, uploaded

if TYPE_CHECKING:
    import httpx
    import psutil

PAGES, ROWS, MEGABYTES = 500, 50_000, 100
WARM = 4
"""Small files before anything is measured: a process takes some memory once and for all."""
LARGEST_CHUNKS = 2000
EVERY_SECONDS = 0.01
BLOCK = 4 * 2**20
_MODULES = {"parent": "worker.functions", "child": "shared.providers.conversion.child"}


@dataclass
class Peak:
    """Resident megabytes. `both`: at one and the same moment."""

    parent: float = 0
    child: float = 0
    both: float = 0
    seconds: float = 0

    def see(self, parent: float, child: float) -> None:
        self.parent, self.child = max(self.parent, parent), max(self.child, child)
        self.both = max(self.both, parent + child)


def run() -> Report:
    with service() as running, running.worker() as process:
        running.wait_until_ready()
        with running.client("default") as client:
            peaks = {name: measured(process.pid, work) for name, work in works(running, client).items()}
    return report(peaks)


def works(running: Service, client: httpx.Client) -> dict[str, Callable[[], None]]:
    """In this order, from small to large: a process keeps what it once has taken."""

    def ingest(name: str, content: bytes, chunk_tokens: int = 400) -> None:
        ingested(running, client, uploaded(client, name, content, task=None)["document_id"], chunk_tokens)

    for number in range(WARM):
        ingest(f"warm-{number}.docx", documents.make("docx", 10, f"warm-{number}").content)
    book, sheet, large = documents.book(PAGES), documents.sheet(ROWS), running.folder / "large.docx"
    documents.scanned(large, MEGABYTES)
    small = documents.make("docx", 10, "small").content
    return {
        "a Word file of 10 pages": lambda: ingest("small.docx", small),
        f"a Word file of {MEGABYTES} MB, straight to storage": lambda: straight(running, client, large),
        f"a PDF of {PAGES} pages": lambda: ingest("book.pdf", book),
        f"a sheet of {ROWS:,} rows": lambda: ingest("sheet.xlsx", sheet, LARGEST_CHUNKS),
    }


def straight(running: Service, client: httpx.Client, path: Path) -> None:
    """As a client does it: announce, put to the address that was given, submit."""
    import httpx

    wish = {"filename": path.name, "size": path.stat().st_size}
    found = client.post("/api/documents/uploads", json=wish).raise_for_status().json()
    upload = found["upload"]
    with path.open("rb") as file:
        headers = {**upload["headers"], "Content-Length": str(wish["size"])}
        httpx.put(
            upload["url"], headers=headers, content=file, timeout=120, trust_env=False
        ).raise_for_status()
    ingested(running, client, found["document"]["document_id"])


def ingested(running: Service, client: httpx.Client, document_id: str, chunk_tokens: int = 400) -> None:
    payload = {"document_id": document_id, "options": {"chunk_tokens": chunk_tokens}}
    body = {"task_type": "ingestion", "payload": payload}
    task = client.post("/api/tasks", json=body).raise_for_status().json()
    running.ended("default", [task["task_id"]])


def report(peaks: dict[str, Peak]) -> Report:
    small, large, book, _ = peaks.values()
    added = large.parent - small.parent
    return Report(
        "Memory",
        [
            Figure(f"PDF of {PAGES} pages, parent and child, MB", book.both, below(700)),
            Figure(
                f"what a file of {MEGABYTES} MB adds to the parent, MB",
                added,
                below(32),
                "to a small file's peak",
            ),
        ],
        [
            Table(
                "peak, MB",
                ("parent", "child", "both at once", "seconds"),
                {name: (peak.parent, peak.child, peak.both, peak.seconds) for name, peak in peaks.items()},
            )
        ],
    )


def measured(pid: int, work: Callable[[], None]) -> Peak:
    peak, began = Peak(), time.perf_counter()
    with _watched(pid, peak):
        work()
    peak.seconds = time.perf_counter() - began
    return peak


@contextmanager
def _watched(pid: int, peak: Peak) -> Iterator[None]:
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(Family(pid), peak, over))
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(family: Family, peak: Peak, over: threading.Event) -> None:
    while not over.wait(EVERY_SECONDS):
        peak.see(family.resident("parent"), family.resident("child"))


@dataclass
class Family:
    """The processes below a worker, by what they run."""

    pid: int
    _known: dict[str, psutil.Process] = field(default_factory=dict)

    def resident(self, role: str) -> float:
        """Megabytes; 0 while there is none."""
        import psutil

        with suppress(psutil.Error):
            if role in self._known:
                return float(self._known[role].memory_info().rss / 2**20)
        self._known.pop(role, None)
        with suppress(psutil.Error):
            for process in psutil.Process(self.pid).children(recursive=True):
                if _MODULES[role] in process.cmdline():
                    self._known[role] = process
        return 0
