"""host.json: what the worker obeys of it, with the Functions host's names, defaults and limits.

Source: learn.microsoft.com/azure/azure-functions/functions-host-json. Names match in any case, and a variable
`AzureFunctionsJobHost__extensions__queues__batchSize` replaces the value at that place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from worker.errors import StartError

_OVERRIDE = "azurefunctionsjobhost__"
_DEVELOPMENT_POLL = timedelta(seconds=2)


def _time_span(value: object) -> object:
    """.NET writes days as `1.02:03:04`, pydantic reads `1 days, 02:03:04`."""
    return re.sub(r"^(\d+)\.(\d+:)", r"\1 days, \2", value) if isinstance(value, str) else value


def _unbounded(value: object) -> object:
    return None if value == "-1" else _time_span(value)


TimeSpan = Annotated[timedelta, BeforeValidator(_time_span)]
Timeout = Annotated[timedelta | None, BeforeValidator(_unbounded)]
"""`-1` is none."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=lambda name: name.replace("_", ""),
        validate_by_name=False,
    )


class QueueOptions(_Section):
    """`extensions.queues`. Concurrency of one function is batch_size + new_batch_threshold."""

    max_polling_interval: TimeSpan | None = Field(default=None, ge=timedelta(milliseconds=100))
    visibility_timeout: TimeSpan = Field(default=timedelta(0), ge=timedelta(0), le=timedelta(days=7))
    batch_size: int = Field(default=16, ge=1, le=32)
    new_batch_threshold: int | None = Field(default=None, ge=0)
    max_dequeue_count: int = Field(default=5, ge=1)
    message_encoding: Literal["base64", "none"] = "base64"

    @property
    def threshold(self) -> int:
        """In-flight messages at or below which the next batch is fetched (the host's default for one CPU)."""
        return self.batch_size // 2 if self.new_batch_threshold is None else self.new_batch_threshold

    def poll_cap(self, *, development: bool) -> float:
        """Longest pause between two polls of an empty queue, in seconds."""
        default = _DEVELOPMENT_POLL if development else timedelta(minutes=1)
        return (self.max_polling_interval or default).total_seconds()


class HostJson(_Section):
    """`function_timeout` is what the host takes on every plan but the oldest when nothing is said."""

    version: Literal["2.0"]
    function_timeout: Timeout = Field(default=timedelta(minutes=30), ge=timedelta(seconds=1))
    queues: QueueOptions = QueueOptions()


def read_host_json(app_root: Path, environ: Mapping[str, str]) -> HostJson:
    """Raises StartError where the Functions host would refuse to start."""
    path = app_root / "host.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise StartError(
            f"host.json: there is none in {app_root}. Name the app's folder: --app-root DIR"
        ) from None
    except ValueError as error:
        raise StartError(f"host.json: not valid JSON ({error})") from None
    if not isinstance(given, dict):
        raise StartError("host.json: not a JSON object")
    return _validated(_overridden(_folded(given), environ))


def _folded(value: Any) -> Any:
    """Member names in lower case: .NET configuration does not tell cases apart."""
    if isinstance(value, dict):
        return {name.lower(): _folded(member) for name, member in value.items()}
    return value


def _overridden(given: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    for name, value in environ.items():
        if name.lower().startswith(_OVERRIDE):
            *parents, last = name.lower().removeprefix(_OVERRIDE).split("__")
            place = given
            for parent in parents:
                if not isinstance(place.get(parent), dict):
                    place[parent] = {}
                place = place[parent]
            place[last] = value
    return given


def _set(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _validated(given: dict[str, Any]) -> HostJson:
    extensions = given.get("extensions")
    queues = extensions.get("queues") if isinstance(extensions, dict) else None
    try:
        return HostJson.model_validate({**_set(given), "queues": queues or {}})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StartError(f"host.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
