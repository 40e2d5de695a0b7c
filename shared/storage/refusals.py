"""What a storage service means when it refuses us, and what the operator can do about it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

log = logging.getLogger(__name__)

ROLES = {
    "blob": "Storage Blob Data Owner",
    "queue": "Storage Queue Data Contributor",
    "table": "Storage Table Data Contributor",
}
TELL_EVERY = 60.0

_NO_ROLE = (
    "The identity may not use the {service} service of the storage account. Give it the role {role} on the "
    "account; a new role takes up to 10 minutes to hold."
)
_NO_RIGHT = (
    "The SAS in the connection string does not allow this in the {service} service. Make one for all "
    "resource types with read, write, delete, list, add, create, update and process, or use an identity."
)
_WRONG_KEY = (
    "The {service} service of the storage account refuses the connection string: the key is not the "
    "account's (any more), or the clock here is more than 15 minutes off. Copy it again from the account."
)
_NOT_ACCEPTED = (
    "The {service} service of the storage account does not accept the identity's token. Check that the "
    "identity and the account belong to the same tenant and the same cloud, and the clock here."
)
_NO_KEYS = (
    "The storage account allows no access by key. Unset the connection string, set "
    "AzureWebJobsStorage__accountName, and give the identity its roles."
)
_FIREWALL = (
    "The network rules of the storage account keep us from its {service} service. Allow this network or "
    "address in them, or go by a private endpoint for {service}; a role does not help."
)
_DISABLED = "The storage account is disabled. Look at its subscription."
_SILENT = (
    "The {service} service of the storage account does not answer. Check the account's name or the address "
    "in the settings, DNS and firewall, and its private endpoint."
)
_IDENTITY = {
    "AuthorizationPermissionMismatch": _NO_ROLE,
    "InsufficientAccountPermissions": _NO_ROLE,
    "AuthenticationFailed": _NOT_ACCEPTED,
    "InvalidAuthenticationInfo": _NOT_ACCEPTED,
    "NoAuthenticationInformation": _NOT_ACCEPTED,
}
_KEY = {
    "AuthorizationPermissionMismatch": _NO_RIGHT,
    "AuthorizationResourceTypeMismatch": _NO_RIGHT,
    "AuthorizationServiceMismatch": _NO_RIGHT,
    "InsufficientAccountPermissions": _NO_RIGHT,
    "AuthenticationFailed": _WRONG_KEY,
    "InvalidAuthenticationInfo": _WRONG_KEY,
    "NoAuthenticationInformation": _WRONG_KEY,
    "KeyBasedAuthenticationNotPermitted": _NO_KEYS,
}
_EITHER = {
    "AuthorizationFailure": _FIREWALL,
    "AuthorizationSourceIPMismatch": _FIREWALL,
    "AccountIsDisabled": _DISABLED,
}


def advice_on(error: AzureError, service: str) -> str | None:
    """What to do about an error of an SDK; None when nobody here can do anything.

    `service`: blob, queue or table. The text holds nothing that the service or the SDK said.
    """
    from azure.core.exceptions import ClientAuthenticationError

    response = getattr(error, "response", None)
    if isinstance(error, ClientAuthenticationError) and response is None:
        return _WRONG_KEY.format(service=service)  # nothing can be signed with it
    if response is None:
        return _SILENT.format(service=service)
    by_token = str(response.request.headers.get("Authorization", "")).startswith("Bearer ")
    known = {**(_IDENTITY if by_token else _KEY), **_EITHER}
    text = known.get(_code(error))
    if text is None and response.status_code in {401, 403}:
        text = known[
            "AuthenticationFailed" if response.status_code == 401 else "InsufficientAccountPermissions"
        ]
    return text.format(service=service, role=ROLES[service]) if text else None


def _code(error: AzureError) -> str:
    """The service's own word for it, like AuthorizationFailure."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


_told: dict[str, float] = {}
"""When each advice was last logged: whoever polls meets the same refusal every second."""


def tell(advice: str) -> None:
    """Logs it, unless it was logged within the last minute."""
    now = time.monotonic()
    if now - _told.get(advice, -TELL_EVERY) >= TELL_EVERY:
        _told[advice] = now
        log.error("%s", advice)
