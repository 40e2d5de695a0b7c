"""What a URL of a receiver may look like. Nothing is resolved here.

Two readers of one URL must not find two hosts in it, so whatever is not the plain form of an authority is
refused: user names, zones, percent-encoding, numbers in the forms that only C libraries read.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from shared.errors import InvalidPayload
from shared.providers.addresses import Address, is_public

MAX_URL: Final = 2048
STANDARD_PORTS: Final = {"https": 443, "http": 80}

_VISIBLE_ASCII = re.compile(r"[!-~]+")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([1-9][0-9]{0,4}))?", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*")
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)\Z")


@dataclass(frozen=True)
class ReceiverUrl:
    """`host` is a name in lower case without a last dot, or an address in its usual form without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == STANDARD_PORTS[self.scheme] else f"{host}:{self.port}"


def receiver_url(url: str, *, allow_http: bool, allow_private: bool) -> ReceiverUrl:
    """Raises InvalidPayload."""
    parts = _split(url)
    if parts.scheme not in (("https", "http") if allow_http else ("https",)):
        raise InvalidPayload("The webhook URL must begin with https://.")
    host, port = _host_and_port(parts)
    if not allow_private:
        _check_public(host, port, parts.scheme)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ReceiverUrl(parts.scheme, host, port, target)


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL:
        raise InvalidPayload(f"The webhook URL is longer than {MAX_URL} characters.")
    if not _VISIBLE_ASCII.fullmatch(url) or "\\" in url:
        raise InvalidPayload(
            "The webhook URL holds spaces, backslashes, control or non-ASCII characters: percent-encode "
            "them, and write an international host name in its xn-- form."
        )
    try:
        return urlsplit(url)
    except ValueError:
        raise InvalidPayload("The webhook URL is not a valid URL.") from None


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    if "@" in parts.netloc:
        raise InvalidPayload("The webhook URL must not hold a user name or password.")
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise InvalidPayload("The webhook URL has no valid host and port.")
    port = int(found[2] or STANDARD_PORTS[parts.scheme])
    if port > 65535:
        raise InvalidPayload("The port of the webhook URL is above 65535.")
    return _host(found[1].lower().removesuffix(".")), port


def _host(host: str) -> str:
    address = _address(host)
    if address is not None:
        return str(address)
    if not _NAME.fullmatch(host):
        raise InvalidPayload("The host of the webhook URL is not a valid name.")
    return host


def _address(host: str) -> Address | None:
    """None for a name. IPv4 has one form: `0x7f.1` and `2130706433` are refused, whatever they mean."""
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1])
        return ipaddress.IPv4Address(host) if _ENDS_IN_NUMBER.search(host) else None
    except ValueError:
        raise InvalidPayload(
            "The host of the webhook URL is not a valid address: IPv4 is written as four decimal numbers."
        ) from None


def _check_public(host: str, port: int, scheme: str) -> None:
    if port != STANDARD_PORTS[scheme] and port <= 1023:
        raise InvalidPayload("The port of the webhook URL must be the standard one or above 1023.")
    try:
        public = is_public(ipaddress.ip_address(host))
    except ValueError:
        public = host != "localhost" and not host.endswith(".localhost")
    if not public:
        raise InvalidPayload("The host of the webhook URL is not on the public internet.")
