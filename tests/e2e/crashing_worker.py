"""`python -m tests.e2e.crashing_worker ...`: `python -m worker ...` that gets a signal at one point.

CRASH_AT names the point, CRASH_SIGNAL the signal (SIGKILL unless set; SIGSTOP makes a zombie), CRASH_CLIENT
whose deliveries matter. The worker is the real one: in its functions process one method of one class is
wrapped before it starts, nothing is replaced. The signal goes to the process group, which is the whole worker
when it was started as a session of its own.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any


@dataclass(frozen=True)
class Point:
    """The `nth` call of `method` for which `matters` holds: its start, or its end when `after`."""

    module: str
    owner: str
    method: str
    after: bool = False
    nth: int = 1
    matters: Callable[..., bool] = lambda *_, **__: True


def _of_the_result(_: Any, name: str, *__: Any) -> bool:
    return "/results/" in name


def _succeeded(_: Any, __: Any, task: Any) -> bool:
    return str(task.status) == "succeeded"


def _delivery(_: Any, queue: str, *__: Any, **___: Any) -> bool:
    return queue == "webhook-deliveries"


def _for_the_client(_: Any, *what: Any, **__: Any) -> bool:
    return os.environ["CRASH_CLIENT"] in str(what)


TABLES, BLOBS, QUEUES = "shared.storage.tables", "shared.storage.blobs", "shared.storage.queues"
SUPABASE, RECORDS = "shared.storage.supabase", "shared.storage.delivery_tables"
OUTBOUND = "shared.providers.outbound"
POINTS = {
    "claimed": Point(TABLES, "AzureTaskStore", "save", after=True),
    "download": Point(BLOBS, "AzureBlobStore", "download"),
    # Its child is at work: the request is with it, and it is the answer that is waited for.
    "convert": Point("shared.providers.docling", "DoclingConverter", "_result"),
    "chunk": Point("shared.providers.local", "LocalModel", "count_tokens"),
    "embed": Point(SUPABASE, "SupabaseDocuments", "write", after=True, nth=2),
    "index": Point(SUPABASE, "SupabaseDocuments", "activate"),
    "indexed": Point(SUPABASE, "SupabaseDocuments", "activate", after=True),
    "result": Point(BLOBS, "AzureBlobStore", "put", after=True, matters=_of_the_result),
    "before the result": Point(BLOBS, "AzureBlobStore", "put", matters=_of_the_result),
    "before the row": Point(TABLES, "AzureTaskStore", "save", matters=_succeeded),
    "row": Point(TABLES, "AzureTaskStore", "save", after=True, matters=_succeeded),
    "announced": Point(RECORDS, "AzureDeliveryStore", "add", after=True),
    "delivery": Point(QUEUES, "AzureTaskQueue", "put", after=True, matters=_delivery),
    # Of a worker that does nothing but deliver.
    "taken": Point(OUTBOUND, "HttpSender", "post", matters=_for_the_client),
    "sent": Point(OUTBOUND, "HttpSender", "post", after=True, matters=_for_the_client),
    "next": Point(QUEUES, "AzureTaskQueue", "put", after=True, matters=_for_the_client),
    "recorded": Point(RECORDS, "AzureDeliveryStore", "save", after=True, matters=_for_the_client),
    "marked": Point(TABLES, "AzureTaskStore", "save", after=True, matters=_for_the_client),
}


def arm(point: Point, number: signal.Signals) -> None:
    owner = getattr(importlib.import_module(point.module), point.owner)
    method, calls = getattr(owner, point.method), 0

    @wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        matters = point.matters(*args, **kwargs)
        calls += matters
        now = matters and calls == point.nth
        if now and not point.after:
            strike(number)
        answer = method(*args, **kwargs)
        if now and point.after:
            strike(number)
        return answer

    setattr(owner, point.method, wrapped)


def strike(number: signal.Signals) -> None:
    os.killpg(0, number)
    time.sleep(0.3)  # another thread may be the one that takes the signal: this one must not go on meanwhile


def functions() -> None:
    """The functions process."""
    arm(POINTS[os.environ["CRASH_AT"]], signal.Signals[os.environ.get("CRASH_SIGNAL", "SIGKILL")])
    from worker.functions import main

    main()


if __name__ == "__main__":
    from tests.e2e import crashing_functions
    from worker import process
    from worker.__main__ import main

    process.MODULE = crashing_functions.__name__
    sys.exit(main())
