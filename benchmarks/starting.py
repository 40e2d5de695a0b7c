"""A process measured while it starts: `python -m benchmarks.starting KIND [ARGUMENT]`, one line of JSON.

It is as bare as can be until it has measured: what it imports itself, nobody pays for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

OURS = ("function_app", "api", "handlers", "shared")


def bare(_: str) -> None:
    import azure.functions  # noqa: F401


def app(_: str) -> None:
    import function_app  # noqa: F401


def everything(_: str) -> None:
    """All of our modules, and all that they import anywhere, inside functions too."""
    import function_app  # noqa: F401

    for name in sorted(names()):
        _try(name)


def request(path: str) -> None:
    """As the host's Python worker does it: import, index, call."""
    import asyncio
    import os

    import azure.functions as func

    import function_app

    functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}
    headers = {"x-api-key": os.environ["DOCMILL_API_KEY"]}
    asked = func.HttpRequest("GET", f"http://127.0.0.1{path}", headers=headers, body=b"")
    answer = asyncio.run(functions["http_app_func"](asked, None))
    if answer.status_code != 200:
        raise SystemExit(f"{path}: {answer.status_code} {answer.get_body().decode()}")


def message(body: str) -> None:
    import function_app

    functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}

    import handlers
    from worker.message import queue_message

    handlers.HANDLERS["noop"] = "benchmarks.noop"
    functions["tasks_default"](queue_message(body, {"Id": "1", "DequeueCount": "1"}))


KINDS: dict[str, Callable[[str], None]] = {
    "bare": bare,
    "app": app,
    "everything": everything,
    "request": request,
    "message": message,
}


def names() -> set[str]:
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    files = [root / "function_app.py"]
    for folder in OURS[1:]:
        files += sorted((root / folder).rglob("*.py"))
    ours = {".".join(file.relative_to(root).with_suffix("").parts) for file in files}
    return {name for file in files for name in _imported(file.read_text())} | ours


def _imported(text: str) -> Iterator[str]:
    import ast

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _try(name: str) -> None:
    """What is not installed, nobody can import."""
    import importlib
    from contextlib import suppress

    with suppress(ImportError):
        importlib.import_module(name)


def main(kind: str, argument: str = "") -> None:
    began = time.perf_counter()
    KINDS[kind](argument)
    ended, seconds, modules = time.time(), time.perf_counter() - began, len(sys.modules)
    print(_line(seconds=seconds, ended=ended, modules=modules))


def _line(**figures: Any) -> str:
    import json

    import psutil

    return json.dumps({**figures, "megabytes": psutil.Process().memory_info().rss / 2**20})


if __name__ == "__main__":
    main(*sys.argv[1:])
