"""Where the packages of `package.json` are, and how a program of theirs is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from local.process import StackError


def modules() -> Path:
    """The `node_modules` beside this file, or the one that DOCMILL_NODE_MODULES names."""
    beside = Path(__file__).with_name("node_modules")
    elsewhere = os.environ.get("DOCMILL_NODE_MODULES")
    return beside if beside.is_dir() or not elsewhere else Path(elsewhere)


def script(name: str) -> list[str]:
    """The command for a package's program, by node itself: npx would stand between us and its pid."""
    node = shutil.which("node")
    if node is None:
        raise StackError("Node.js is missing. Install Node 20 or newer and run make again.")
    program = modules() / ".bin" / name
    if not program.exists():
        raise StackError(f"The Node package of {name} is missing. Run: make test, or: npm ci in local/")
    return [node, str(program)]
