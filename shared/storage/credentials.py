"""The identity of this process, as queues, tables and blobs use it: one credential, one cache of tokens."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from shared.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    Credential = DefaultAzureCredential | ManagedIdentityCredential

T = TypeVar("T")
TIMEOUTS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 10}
"""Seconds for one request for a token. The SDK's own are minutes, and every call to storage waits for it."""

_AADSTS = re.compile(r"AADSTS\d+")
_UNREACHED = re.compile(r"Failed to (resolve|establish)|Unable to connect|timed out|Connection aborted")
_NO_MANAGED_IDENTITY = (
    "There is no managed identity to use. Turn on the identity of the app, or assign the one that "
    "AzureWebJobsStorage__clientId or __managedIdentityResourceId names to it. "
    "Outside Azure unset AzureWebJobsStorage__credential."
)
_NO_IDENTITY = (
    "No identity was found for the storage account. In Azure turn on the managed identity of the app and set "
    "AzureWebJobsStorage__credential=managedidentity; elsewhere run `az login`, or set AZURE_CLIENT_ID, "
    "AZURE_TENANT_ID and AZURE_CLIENT_SECRET."
)
_NO_AUTHORITY = (
    "The place that gives tokens does not answer. Check DNS and firewall from here, and that "
    "AZURE_AUTHORITY_HOST, if set, is the cloud of the storage account."
)
_REFUSED = (
    "Microsoft Entra ID refuses the identity ({}). Check tenant, client id and secret, or sign in again."
)


class NoToken(Exception):
    """The identity gave no token; the text is for the operator.

    No AzureError, on purpose: the storage SDKs would ask again and again.
    """


def identity(settings: Settings) -> Identity:
    """The one of this process for these settings, whoever asks."""
    return _identity(
        settings.storage_credential,
        settings.storage_client_id,
        settings.storage_resource_id,
        settings.authority,
    )


@cache
def _identity(
    kind: str | None, client_id: str | None, resource_id: str | None, authority: str | None
) -> Identity:
    if kind == "managedidentity":
        return Identity(lambda: _managed(client_id, resource_id), _NO_MANAGED_IDENTITY)
    return Identity(lambda: _chain(authority), _NO_IDENTITY)


def _managed(client_id: str | None, resource_id: str | None) -> ManagedIdentityCredential:
    from azure.identity import ManagedIdentityCredential

    config = {"resource_id": resource_id} if resource_id else None
    return ManagedIdentityCredential(client_id=client_id, identity_config=config, **TIMEOUTS)


def _chain(authority: str | None) -> DefaultAzureCredential:
    """No client id and no authority unless we have one: None would hide the SDK's own variables."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(**TIMEOUTS, **({"authority": authority} if authority else {}))


class Identity:
    """A TokenCredential of the Azure SDK. Safe to use from many threads; made at the first call, and once
    more at the first call after `close`. Raises NoToken."""

    def __init__(self, make: Callable[[], Credential], advice: str) -> None:
        self._make = make
        self._advice = advice
        self._lock = threading.Lock()
        self._made: Credential | None = None

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return self._asked(lambda: self._credential.get_token(*scopes, **options))

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        return self._asked(lambda: self._credential.get_token_info(*scopes, options=options))

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made:
            made.close()

    @property
    def _credential(self) -> Credential:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _asked(self, ask: Callable[[], T]) -> T:
        from azure.core.exceptions import AzureError

        try:
            return ask()
        except AzureError as error:
            raise NoToken(self._told(error)) from error
        except ValueError as error:
            raise NoToken("The AZURE_* variables of the Azure SDK contradict each other.") from error

    def _told(self, error: Exception) -> str:
        """Our own words for it. The chain joins what each of its members says; the last one decided."""
        from azure.core.exceptions import ClientAuthenticationError

        if code := _AADSTS.search(str(error)):
            return _REFUSED.format(code.group())
        last = str(error).split("\n\t")[-1]
        if not isinstance(error, ClientAuthenticationError) or _UNREACHED.search(last):
            return _NO_AUTHORITY
        return self._advice
