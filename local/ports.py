"""Ports on 127.0.0.1 for what we start."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from local.process import StackError

DEFAULTS = {
    "DOCMILL_PORT": 7071,
    "DOCMILL_BLOB_PORT": 10000,
    "DOCMILL_QUEUE_PORT": 10001,
    "DOCMILL_TABLE_PORT": 10002,
    "DOCMILL_POSTGRES_PORT": 54322,
    "DOCMILL_SUPABASE_PORT": 54321,
}
# What to give as the environment for ports that nobody else has.
ANY = dict.fromkeys(DEFAULTS, "0")
# Below the range from which systems take ports for outgoing connections, so that none is lost to one
# between our looking and the service's listening.
FREE_RANGE = range(15000, 32000)


def choose(environ: Mapping[str, str]) -> dict[str, int]:
    """A port for every name of DEFAULTS, each another one.

    A number in the environment is taken or refused, 0 means any free port, and without a setting it is the
    default or, when that is busy, any free port. Raises StackError.
    """
    chosen: dict[str, int] = {}
    for name, default in DEFAULTS.items():
        chosen[name] = _one(name, environ.get(name, ""), default, set(chosen.values()))
    return chosen


def _one(name: str, given: str, default: int, taken: set[int]) -> int:
    if not given:
        return default if default not in taken and free(default) else _any_free(taken)
    if not given.isdecimal() or int(given) > 65535:
        raise StackError(f"{name}={given} is not a port. Give a number up to 65535, or 0 for any free one.")
    if int(given) == 0:
        return _any_free(taken)
    if int(given) in taken or not free(int(given)):
        raise StackError(f"Port {given} is in use. Stop what uses it, or set {name}=0 for any free one.")
    return int(given)


def _any_free(taken: set[int]) -> int:
    for port in random.sample(FREE_RANGE, len(FREE_RANGE)):
        if port not in taken and free(port):
            return port
    raise StackError("There is no free port left on 127.0.0.1.")


def free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
