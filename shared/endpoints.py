"""Addresses of storage services: what is legal, and which cloud they belong to."""

from __future__ import annotations

from urllib.parse import urlsplit

SERVICES = ("blob", "queue", "table")
AUTHORITIES = {
    ".core.windows.net": "login.microsoftonline.com",
    ".core.usgovcloudapi.net": "login.microsoftonline.us",
    ".core.chinacloudapi.cn": "login.chinacloudapi.cn",
}
"""Who gives the tokens of a cloud, by how the addresses of its storage accounts end."""


def service_address(address: str, service: str) -> str:
    """The address without its last slash. Raises ValueError with what is wrong about it."""
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("the address of a storage service begins with https://: no token goes over http://")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("it is more than the address of a service: leave out SAS and key")
    labels = set(parts.hostname.split("."))
    other = labels & {*SERVICES, "file", "dfs", "web"} - {service}
    if other and service not in labels:
        raise ValueError(f"it is the address of the {other.pop()} service")
    return address.rstrip("/")


def authority_of(address: str) -> str | None:
    """Who gives tokens for it. None where the name does not tell, like one of your own."""
    host = urlsplit(address).hostname or ""
    return next((authority for suffix, authority in AUTHORITIES.items() if host.endswith(suffix)), None)
