"""One line per event on stderr: text, or JSON where LOG_FORMAT says so.

Log calls give their task by `extra=about(task)`; no secret and no document text is ever an argument.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from shared.settings import Settings
from shared.tasks import Task
from shared.telemetry import ids_of

FIELDS = ("task_id", "client_id", "task_type", "attempt")
DEPTH_FIELDS = ("queue", "depth", "oldest_seconds", "dead_letters")
"""Of the depth lines, as JSON only: their text holds them."""
TRACE = ("trace_id", "span_id")
"""Of JSON lines alone: nobody reads them."""
_JSON_FIELDS = (*FIELDS, *DEPTH_FIELDS, *TRACE)
_NOISY = ("azure", "httpx", "httpcore", "openai", "hpack", "urllib3", "uvicorn.access", "apscheduler")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in _JSON_FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        told = " ".join(f"{name}={getattr(record, name)}" for name in FIELDS if hasattr(record, name))
        head, newline, rest = text.partition("\n")
        return f"{head} [{told}]{newline}{rest}" if told else text


def configure(settings: Settings) -> None:
    """Sets up the root logger. For hosts of our own: on Azure the Functions worker has done it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    quiet()


def quiet() -> None:
    """Keeps libraries that log every request to warnings."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A page for each token that was not given. We say what it means; the page is there at LOG_LEVEL=DEBUG.
    detailed = logging.getLogger().isEnabledFor(logging.DEBUG)
    logging.getLogger("azure.identity").setLevel(logging.WARNING if detailed else logging.ERROR)


def about(task: Task) -> dict[str, Any]:
    """The `extra` of a log call about a task."""
    return {**{name: getattr(task, name) for name in FIELDS}, **traced(task.traceparent)}


def traced(traceparent: str | None) -> dict[str, str]:
    """Where in which trace something happens; nothing where there is none."""
    ids = ids_of(traceparent)
    return dict(zip(TRACE, ids, strict=True)) if ids else {}
