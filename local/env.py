"""The dotenv file of a running stack, for shells (`set -a; . .local/env`) and for python-dotenv."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from local.secrets import write_private


def write(file: Path, values: Mapping[str, str]) -> None:
    """One NAME='value' line each, readable by its owner only."""
    write_private(file, "".join(f"{name}={_quoted(value)}\n" for name, value in values.items()))


def read(file: Path) -> dict[str, str]:
    """What `write` wrote; empty when there is no such file."""
    if not file.exists():
        return {}
    pairs = (line.split("=", 1) for line in shlex.split(file.read_text()))
    return dict(pairs)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
