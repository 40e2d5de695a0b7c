"""The app with the task type that does nothing: a folder that `python -m worker --app-root` takes."""

from __future__ import annotations

import shutil
from pathlib import Path

from local.stack import ROOT

_MODULE = f"""
import importlib.util

import handlers

handlers.HANDLERS["noop"] = "benchmarks.noop"
_spec = importlib.util.spec_from_file_location("docmill_app", {str(ROOT / "function_app.py")!r})
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
app = _module.app
"""


def make(folder: Path) -> Path:
    """Everything else of it is function_app.py and host.json as they are."""
    folder.mkdir()
    (folder / "function_app.py").write_text(_MODULE)
    shutil.copy(ROOT / "host.json", folder)
    return folder
