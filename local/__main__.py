"""`python -m local up` starts the stack and the app; `python -m local demo` shows what they do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from local.process import StackError


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 success, 1 something cannot start, 2 wrong usage."""
    if list(arguments) not in (["up"], ["demo"]):
        print("usage: python -m local up|demo", file=sys.stderr)
        return 2
    from shared.settings import SettingsError

    try:
        return _run(arguments[0])
    except (StackError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: str) -> int:
    if command == "up":
        from local.app import up

        return up()
    from local.demo import main as demo

    return demo()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
