"""A handler for tests: reads its document's file, and then meets the errors that its payload names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from shared import errors
from shared.handler import Context
from shared.source import SourcePayload, fetched, locate

STAGES = {"download": 100}


class Payload(SourcePayload):
    """`errors`: the error class that each attempt raises, once the file was read."""

    errors: list[str] = Field(default=[])


class Result(BaseModel):
    text: str


def run(payload: Payload, ctx: Context) -> Result:
    with fetched(locate(payload, ctx), ctx) as file:
        text = file.path.read_text()
    if ctx.attempt <= len(payload.errors):
        kind: Any = getattr(errors, payload.errors[ctx.attempt - 1])
        raise kind
    return Result(text=text)
