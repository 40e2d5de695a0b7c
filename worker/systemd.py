"""What a service of type `notify` tells systemd, in its protocol: one datagram for each state, sd_notify(3).

Without systemd nothing is set in the environment, and nothing is done.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Sends a state: `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=...`; several are separated by newlines.

    `NOTIFY_SOCKET` is the path of a socket, or `@` and its abstract name. Never raises and never waits: what
    systemd does not hear must not stop the work.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return  # not set; or vsock:, which only the manager of a virtual machine hears
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd was not told %s: %s", state.partition("\n")[0], error)


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Within this time systemd wants to hear `WATCHDOG=1`; tell it twice as often. None: no watchdog.

    sd_watchdog_enabled(3): `WATCHDOG_USEC`, and `WATCHDOG_PID` names the process that is meant, if it is set.
    """
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdecimal()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000
