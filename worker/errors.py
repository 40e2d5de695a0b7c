"""What stops the worker before it runs, and what may become of a call. Texts are one line for people."""

from __future__ import annotations


class StartError(Exception):
    """The worker cannot start. `status` is its exit status: 2 wrong set-up, 1 an app that does not load."""

    status = 2


class AppError(StartError):
    """`function_app` cannot be imported, or its functions cannot be listed."""

    status = 1


class CallFailed(Exception):
    """The function failed, ran for too long, or ended its process: its message is released and counted."""


class NotBegun(Exception):
    """The function was never called: there was no process for it."""


class CutOff(Exception):
    """The function was cut off for no fault of its own: its message is left to its lease."""
