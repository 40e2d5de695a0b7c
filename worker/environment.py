"""The app's environment, as `func start` makes it: local.settings.json below what is really set."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import StartError

if TYPE_CHECKING:
    from shared.settings import Settings

DEFAULT_PORT = 7071


def prepare(app_root: Path) -> Mapping[str, str]:
    """Adds local.settings.json to this process's environment and returns that. Raises StartError."""
    for name, value in _local_settings(app_root / "local.settings.json").items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    return os.environ


def resolvable(settings: Settings) -> None:
    """Gives what triggers name as `%SETTING%` its default: only the environment is looked up for those."""
    os.environ.setdefault("MAINTENANCE_SCHEDULE", settings.maintenance_schedule)


def port(environ: Mapping[str, str]) -> int:
    return _number(environ, "DOCMILL_PORT", lowest=0, highest=65535) or DEFAULT_PORT


def threads(environ: Mapping[str, str]) -> int | None:
    """Threads for functions; None: as many as Python's own pool takes, like the host's worker."""
    return _number(environ, "PYTHON_THREADPOOL_THREAD_COUNT", lowest=1, highest=1000)


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Replaces every `%SETTING%`. Raises KeyError with the name of one that is not set."""
    return re.sub(r"%([^%]+)%", lambda match: environ[match[1]], text)


def _number(environ: Mapping[str, str], name: str, *, lowest: int, highest: int) -> int | None:
    value = environ.get(name)
    if not value:
        return None
    if not value.strip().isdecimal() or not lowest <= int(value) <= highest:
        raise StartError(
            f"{name}: a number from {lowest} to {highest} is needed. Example: {name}={lowest or 7071}"
        )
    return int(value)


def _local_settings(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise StartError(f"local.settings.json: not valid JSON ({error})") from None
    if not isinstance(given, dict) or given.get("IsEncrypted", True):
        raise StartError('local.settings.json: encrypted values cannot be read. Set "IsEncrypted": false')
    values = given.get("Values") or {}
    for name, value in values.items():
        if not isinstance(value, str):
            raise StartError(f"local.settings.json: Values.{name} must be a string, in quotes")
    return dict(values)
