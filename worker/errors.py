"""What stops the worker before it runs. The text is one line for the operator."""

from __future__ import annotations


class StartError(Exception):
    """The worker cannot start. `status` is its exit status: 2 wrong set-up, 1 an app that does not load."""

    status = 2


class AppError(StartError):
    """`function_app` cannot be imported, or its functions cannot be listed."""

    status = 1
