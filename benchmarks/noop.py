"""A task that does nothing: what is measured is everything around it. Benchmarks alone register it."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict

from shared.handler import Context

NAME = "noop"
STAGES = {"work": 100}


class Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = 0
    seconds: float = 0
    """It takes a nap."""


class Result(BaseModel):
    number: int


def run(payload: Payload, ctx: Context) -> Result:  # noqa: ARG001 - it does nothing
    time.sleep(payload.seconds)
    return Result(number=payload.number)
