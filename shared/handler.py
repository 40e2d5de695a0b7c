"""What a task handler is, and all that it may touch.

A handler is a module in `handlers/` with four names:

    STAGES   {"download": 5, "convert": 55, ...}: its stages in order, with their share of the work in percent
    Payload  a pydantic model: what a caller sends (unknown members are refused)
    Result   a pydantic model: what `run` returns, stored as the task's result
    run      (payload, ctx) -> Result

It raises errors of `shared.errors`; the runner decides what becomes of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import BaseModel

from shared.ports import BlobStore, Converter, DocumentStore, LanguageModel
from shared.telemetry import Telemetry


class Context(Protocol):
    """One attempt of one task. Nothing here outlives it."""

    @property
    def client_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def max_bytes(self) -> int:
        """How large a file may be."""

    @property
    def blobs(self) -> BlobStore: ...
    @property
    def documents(self) -> DocumentStore: ...
    @property
    def converter(self) -> Converter: ...
    @property
    def models(self) -> LanguageModel: ...

    @property
    def telemetry(self) -> Telemetry:
        """Counts what a handler has made. Stages, tokens and the attempt itself are told already."""

    @property
    def spent(self) -> Mapping[str, int]:
        """What was paid for, by kind: by this attempt and by those before it, as far as the row says."""

    def spend(self, **amounts: int) -> None:
        """Adds to `spent`. Written with the next heartbeat, or with the attempt's end."""

    def progress(self, stage: str, done: int, total: int, message: str) -> None:
        """Says how far the stage is, and is the checkpoint: raises TaskTimeout after the deadline, and what
        stops the attempt when the task was cancelled or its lease lost. Cheap enough for every page."""

    def remaining(self) -> float:
        """Seconds until the deadline of this attempt; raises like `progress` when there are none."""

    @property
    def pinned(self) -> str | None:
        """The ETag that `pin` gave to an attempt of this task; None before."""

    def pin(self, etag: str) -> str:
        """Says which file this task works on: the ETag that counts is that of the first attempt to say so.

        Written into the task's row at once. Raises like `progress`.
        """

    def commit(self, write: Callable[[], bool]) -> bool:
        """Calls `write`, the one call that makes the work visible; gives its answer, whether it did.

        A checkpoint before it. After it the work wins: a wish to cancel comes too late, and is not raised
        any more.
        """


class Handler(Protocol):
    """A module of `handlers/`, as the registry hands it out."""

    STAGES: Mapping[str, int]
    Payload: type[BaseModel]
    Result: type[BaseModel]

    def run(self, payload: Any, ctx: Context) -> BaseModel: ...
