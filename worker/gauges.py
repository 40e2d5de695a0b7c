"""What the worker is asked for at a scrape: queues, dead letters, the size of its processes.

A gauge that cannot be read is left out, never repeated: `docmill_storage_up` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.depths import depth_of_tasks
from shared.errors import DocmillError
from worker.kept import Kept

if TYPE_CHECKING:
    from shared.ports import DeadLetterStore, TaskQueue

LOOK_SECONDS = 30.0
"""Queues are looked at this often at most, and only while somebody scrapes: three requests a client."""
PATIENCE_SECONDS = 2.0
GOOD_SECONDS = 90.0

HELP = {
    "docmill_queue_depth": "Messages on the task queue of a client, waiting or being run.",
    "docmill_queue_oldest_seconds": "Age of the oldest message that waits on it; 0 when none does.",
    "docmill_dead_letters_open": "Dead letters of a client that were not retried, 1000 at most.",
    "docmill_process_resident_bytes": "Resident memory of the processes of this worker, by what they do.",
    "docmill_storage_up": "Whether the storage account answered when its queues were last looked at.",
    "docmill_up_info": "1 while the worker lives, with its version.",
}


@dataclass(frozen=True)
class Sample:
    """One value. `name` is one of HELP."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class QueueGauges:
    """The queues of some clients. All workers of an account see the same ones."""

    def __init__(self, queues: TaskQueue, dead_letters: DeadLetterStore, clients: Iterable[str]) -> None:
        self._queues, self._dead_letters, self._clients = queues, dead_letters, tuple(clients)
        self._kept: Kept[list[Sample] | None] = Kept(
            self._look, seconds=LOOK_SECONDS, patience=PATIENCE_SECONDS, good_for=GOOD_SECONDS, idle=None
        )

    def __call__(self) -> list[Sample]:
        found = self._kept.latest()
        return [Sample("docmill_storage_up", float(found is not None)), *(found or [])]

    def _look(self) -> list[Sample] | None:
        """None when storage does not answer."""
        with suppress(DocmillError):
            return [sample for client in self._clients for sample in self._of(client)]
        return None

    def _of(self, client: str) -> Iterator[Sample]:
        found, labels = depth_of_tasks(self._queues, self._dead_letters, client), {"client": client}
        yield Sample("docmill_queue_depth", found.depth, labels)
        yield Sample("docmill_queue_oldest_seconds", found.oldest_seconds, labels)
        yield Sample("docmill_dead_letters_open", found.dead_letters, labels)


class ProcessGauges:
    """Resident size. Children of the functions processes are those that convert."""

    def __init__(self, functions: Callable[[], Iterable[int]]) -> None:
        """`functions`: the process ids of the functions processes that live at this moment."""
        self._functions = functions

    def __call__(self) -> list[Sample]:
        import psutil

        functions = [child for pid in self._functions() if (child := _process(pid))]
        converting: list[Any] = []
        for child in functions:
            with suppress(psutil.Error):
                converting += child.children(recursive=True)
        sizes = {
            "host": _resident([psutil.Process()]),
            "functions": _resident(functions),
            "conversion": _resident(converting),
        }
        return [
            Sample("docmill_process_resident_bytes", size, {"process": name}) for name, size in sizes.items()
        ]


def _process(pid: int) -> Any:
    import psutil

    with suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _resident(processes: Iterable[Any]) -> float:
    """Together, in bytes. Memory that they share counts for each."""
    import psutil

    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it ended meanwhile
            total += process.memory_info().rss
    return float(total)


def worker_gauges(queues: QueueGauges, processes: ProcessGauges, version: str) -> Callable[[], list[Sample]]:
    """All of a worker's gauges in one."""
    up = Sample("docmill_up_info", 1.0, {"version": version})
    return lambda: [up, *processes(), *queues()]
