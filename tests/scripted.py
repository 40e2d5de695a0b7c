"""A handler for tests: its payload says what it does, attempt by attempt."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared import errors
from shared.handler import Context

STAGES = {"work": 100}


class Payload(BaseModel):
    """`errors`: the error class that each attempt raises; after the last it succeeds.

    `seconds` of work with checkpoints, then `stubborn` ones without, then a commit that takes `committing`
    ones and says what `commit` says, or breaks when that is None.
    """

    model_config = ConfigDict(extra="forbid")

    errors: list[str] = []
    seconds: float = 0
    stubborn: float = 0
    committing: float | None = None
    commit: bool | None = True
    retry_after: float | None = None


class Result(BaseModel):
    attempt: int


def run(payload: Payload, ctx: Context) -> Result:
    ctx.progress("work", 0, 1, "Working")
    until = time.monotonic() + payload.seconds
    while time.monotonic() < until:
        time.sleep(0.02)
        ctx.progress("work", 0, 1, "Working")
    ctx.progress("work", 1, 1, "Worked")
    time.sleep(payload.stubborn)
    if payload.committing is not None and not ctx.commit(lambda: _commit(payload)):
        raise errors.IndexUnavailable("refused")
    if ctx.attempt <= len(payload.errors):
        raise _error(payload.errors[ctx.attempt - 1], payload.retry_after)
    return Result(attempt=ctx.attempt)


def _commit(payload: Payload) -> bool:
    time.sleep(payload.committing or 0)
    if payload.commit is None:
        raise errors.IndexUnavailable("no answer")
    return payload.commit


def _error(name: str, retry_after: float | None) -> Exception:
    kind: Any = getattr(errors, name, None)
    if kind is None:
        return RuntimeError("secret detail")
    return kind(retry_after=retry_after) if retry_after else kind()
