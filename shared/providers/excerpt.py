"""What is kept of a receiver's answer: enough to see the reason of a failure, and safe to print."""

from __future__ import annotations

import re
from typing import Final

MAX_EXCERPT: Final = 1024

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def excerpt(body: bytes) -> str:
    """The beginning of a body as text: at most MAX_EXCERPT bytes in UTF-8, whole characters.

    What is not UTF-8, and control characters but line feeds and tabs, become U+FFFD.
    """
    text = body.decode("utf-8", "replace").replace("\r\n", "\n")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).encode()[:MAX_EXCERPT].decode("utf-8", "ignore")
