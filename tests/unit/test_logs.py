"""One line an event, in text or JSON."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from shared.logs import JsonLines, TextLines, about, configure
from shared.settings import read_settings
from shared.tasks import new_task, utc_now


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("test").makeRecord("test", logging.INFO, "f", 1, message, (), None, extra=extra)


def test_json_names_the_task() -> None:
    task = new_task("acme", "ingestion", {"secret": "hunter2"}, utc_now())
    line = JsonLines().format(record("Started.", **about(task)))
    told = json.loads(line)
    assert told["message"] == "Started." and told["level"] == "INFO" and told["time"].endswith("Z")
    assert (told["task_id"], told["client_id"], told["attempt"]) == (task.task_id, "acme", 0)
    assert "hunter2" not in line and "\n" not in line


def test_json_names_the_trace_of_the_task() -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    task = new_task("acme", "ingestion", {}, utc_now(), traceparent=f"00-{trace}-{span}-01")
    told = json.loads(JsonLines().format(record("Started.", **about(task))))
    assert (told["trace_id"], told["span_id"]) == (trace, span)


def test_json_holds_a_traceback_in_one_line() -> None:
    failed = record("It failed.")
    try:
        raise ValueError("x")
    except ValueError:
        failed.exc_info = sys.exc_info()
    line = JsonLines().format(failed)
    assert "ValueError" in json.loads(line)["exception"] and "\n" not in line


def test_text_names_the_task_on_its_first_line() -> None:
    line = TextLines().format(record("Started.", client_id="acme"))
    assert line.endswith("INFO    Started. [client_id=acme]")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_level_and_the_format_are_settings(root: logging.Logger) -> None:
    configure(read_settings({"LOG_LEVEL": "ERROR", "LOG_FORMAT": "json"}))
    assert root.level == logging.ERROR and isinstance(root.handlers[0].formatter, JsonLines)
    configure(read_settings({}))
    assert root.level == logging.INFO and isinstance(root.handlers[0].formatter, TextLines)
