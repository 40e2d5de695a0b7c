"""The function app: `function_app` imported and indexed once, as the host's Python worker does it."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import AppError

if TYPE_CHECKING:
    from azure.functions import FunctionRegister

log = logging.getLogger(__name__)

MODULE = "function_app"


@dataclass(frozen=True)
class FunctionContext:
    """What a function's `context` parameter gets."""

    function_name: str
    function_directory: str
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace_context: None = None
    retry_context: None = None
    thread_local_storage: threading.local = field(default_factory=threading.local)


@dataclass(frozen=True)
class Function:
    """One indexed function. `trigger` is its trigger's binding in the form of function.json."""

    name: str
    trigger: dict[str, Any]
    call: Callable[..., Any]
    app_root: Path

    def arguments(self, argument: object) -> dict[str, object]:
        """Of one call, by what triggered it."""
        arguments = {str(self.trigger["name"]): argument}
        if "context" in inspect.signature(self.call).parameters:
            arguments["context"] = FunctionContext(self.name, str(self.app_root))
        return arguments


@dataclass(frozen=True)
class FunctionApp:
    functions: tuple[Function, ...]
    asgi: Any | None
    """The ASGI application of an AsgiFunctionApp."""


def load(app_root: Path) -> FunctionApp:
    """Imports `function_app` from the folder and lists its functions. Raises AppError: like in the host, one
    error here hides them all."""
    register = _register(_imported(app_root))
    try:
        # Once and never again: a second call fails, since it finds each name in use.
        indexed = register.get_functions()
    except Exception as error:
        raise AppError(f"{MODULE}.py: its functions cannot be listed: {error}") from error
    functions = tuple(function for one in indexed if (function := _function(one, app_root)) is not None)
    # The middleware keeps the application private, and its own way in buffers whole requests and answers.
    middleware = getattr(register, "middleware", None)
    return FunctionApp(functions, getattr(middleware, "_app", None))


def _imported(app_root: Path) -> Any:
    if not (app_root / f"{MODULE}.py").is_file():
        raise AppError(f"{MODULE}.py: there is none in {app_root}. Name the app's folder: --app-root DIR")
    sys.path.insert(0, str(app_root))
    try:
        return importlib.import_module(MODULE)
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise AppError(
            f"{MODULE}.py: the import failed in {at.filename}, line {at.lineno}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _register(module: Any) -> FunctionRegister:
    from azure.functions import FunctionRegister

    found = [value for value in vars(module).values() if isinstance(value, FunctionRegister)]
    distinct = {id(value): value for value in found}
    if len(distinct) != 1:
        raise AppError(
            f"{MODULE}.py: exactly one FunctionApp is needed at its top level, it has {len(distinct)}"
        )
    return found[0]


def _function(indexed: Any, app_root: Path) -> Function | None:
    """None, with an error in the log, for a function that this worker cannot run; the others run on."""
    name = indexed.get_function_name()
    bindings = [json.loads(text) for text in indexed.get_raw_bindings()]
    trigger = next(binding for binding in bindings if str(binding["type"]).lower().endswith("trigger"))
    function = Function(name, trigger, indexed.get_user_function(), app_root)
    if trigger["type"] == "httpTrigger":
        return function
    if len(bindings) > 1:
        log.error("Function %s is skipped: this worker has no input or output bindings", name)
        return None
    parameters = set(inspect.signature(function.call).parameters) - {"context"}
    if parameters != {trigger["name"]}:
        # The host refuses the whole app then, so this one should not run here and fail there.
        raise AppError(
            f"{MODULE}.py: {name} has parameters {sorted(parameters)}, its trigger is {trigger['name']!r}"
        )
    return function
