"""A task type that does next to nothing, and notes in the file that NAPS_FILE names who did it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.handler import Context

TASK_TYPE = "nap"
STAGES = {"nap": 100}


class Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Result(BaseModel):
    worker: int


def run(payload: Payload, ctx: Context) -> Result:
    time.sleep(0.05)
    ctx.progress("nap", 1, 1, "Slept")
    with Path(os.environ["NAPS_FILE"]).open("a") as file:
        file.write(f"{ctx.task_id} {os.getppid()}\n")
    return Result(worker=os.getppid())
