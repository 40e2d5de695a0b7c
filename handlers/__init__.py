"""The registry: one line for each task type. Its module is imported when the first such task comes."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from shared.errors import UnknownTaskType
from shared.handler import Handler

HANDLERS = {
    "ingestion": "handlers.ingestion",
    "summarization": "handlers.summarization",
}


def load(task_type: str) -> Handler:
    """Raises UnknownTaskType, naming those that there are."""
    module = HANDLERS.get(task_type)
    if module is None:
        known = ", ".join(sorted(HANDLERS))
        raise UnknownTaskType(f"There is no task type {task_type[:64]!r}. Use one of: {known}.")
    return cast(Handler, import_module(module))
