"""One attempt of one task, as its handler sees it: a Context over services, lease and deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, TypeVar, cast

from shared import deadline, measures
from shared.errors import TaskTimeout
from shared.handler import Handler
from shared.lease import Lease
from shared.ports import BlobStore, Converter, DocumentStore, LanguageModel, Services
from shared.tasks import Progress, Task, utc_now
from shared.telemetry import Telemetry

T = TypeVar("T")
SHOWN = frozenset({"activate", "save_summary", "delete"})
"""Calls that others see the effect of, and what follows them: a wish to cancel comes too late for these."""


class Attempt:
    """The Context of one attempt: what its handler may touch. Used as a context manager around the handler,
    whose last stage ends with it."""

    def __init__(self, services: Services, lease: Lease, task: Task, handler: Handler) -> None:
        self._services = services
        self._lease = lease
        self._task = task
        self._stages = handler.STAGES
        self._percent = 0
        self._until = time.monotonic() + services.settings.task_timeout_seconds
        self.stage: str | None = None
        self._stage_began = time.monotonic(), utc_now()

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end_stage(measures.reason_of(error))

    @property
    def client_id(self) -> str:
        return self._task.client_id

    @property
    def task_id(self) -> str:
        return self._task.task_id

    @property
    def attempt(self) -> int:
        return self._task.attempt

    @property
    def max_bytes(self) -> int:
        return self._services.settings.max_upload_bytes

    @cached_property
    def blobs(self) -> BlobStore:
        return self._watched(self._services.blobs, {"put", "info", "read", "download", *SHOWN})

    @cached_property
    def documents(self) -> DocumentStore:
        return self._watched(
            self._services.documents, {"add", "get", "stored", "begin", "known", "write", *SHOWN}
        )

    @cached_property
    def converter(self) -> Converter:
        return self._services.converter

    @cached_property
    def models(self) -> LanguageModel:
        return self._watched(self._services.models, {"embed", "summarize"})

    @property
    def spent(self) -> Mapping[str, int]:
        return self._lease.spent

    def spend(self, **amounts: int) -> None:
        self._lease.spend(amounts)
        for kind, amount in amounts.items():
            self.telemetry.count("docmill_tokens_total", amount, kind=kind)

    @property
    def telemetry(self) -> Telemetry:
        return self._services.telemetry

    def progress(self, stage: str, done: int, total: int, message: str) -> None:
        if stage != self.stage:
            self._begin_stage(stage)
        self._percent = max(self._percent, self._overall(stage, done, total))
        self._lease.report(
            Progress(stage=stage, current=done, total=total, percent=self._percent, message=message)
        )
        self.remaining()

    def _begin_stage(self, stage: str) -> None:
        """The first one began with the attempt."""
        if self.stage is not None:
            self._end_stage()
            self._stage_began = time.monotonic(), utc_now()
        self.stage = stage

    def _end_stage(self, failed: str = "") -> None:
        if self.stage is None:
            return
        name = self.stage if self.stage in self._stages else measures.OTHER
        began, since = self._stage_began
        measures.stage(self.telemetry, self._task, name, since, time.monotonic() - began, failed)

    def remaining(self) -> float:
        self._lease.check()
        return self._left()

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TaskTimeout
        return left

    @property
    def pinned(self) -> str | None:
        return self._lease.pinned

    def pin(self, etag: str) -> str:
        return self._lease.pin(etag)

    def commit(self, write: Callable[[], bool]) -> bool:
        return self._lease.commit(write)

    def _watched(self, part: T, calls: Collection[str]) -> T:
        return cast(
            T, _Watched(part, {name: self._left if name in SHOWN else self.remaining for name in calls})
        )

    def _overall(self, stage: str, done: int, total: int) -> int:
        """Percent of the whole task, 99 at most: only a succeeded task is at 100."""
        before = 0
        for name, share in self._stages.items():
            if name == stage:
                return min(99, before + int(share * min(done, total) / max(total, 1)))
            before += share
        return self._percent


class _Watched:
    """A store or model whose calls end with the attempt. `checks`: by name of the call, what ends it."""

    def __init__(self, part: object, checks: dict[str, Callable[[], float]]) -> None:
        self._part = part
        self._checks = checks

    def __getattr__(self, name: str) -> Any:
        found, check = getattr(self._part, name), self._checks.get(name)
        if check is None:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            return deadline.watched(lambda: found(*arguments, **named), check)

        return call
