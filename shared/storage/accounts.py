"""Clients of one storage account: queues, tables, blobs, by connection string or by identity.

Every call of theirs has a connect and a read timeout and the SDK's exponential retry, set here and nowhere
else. SDKs are imported inside functions: importing the app must not pay for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shared import deadline
from shared.errors import DocmillError, StorageUnavailable, TaskTimeout
from shared.settings import Settings, SettingsError
from shared.storage.credentials import NoToken, identity
from shared.storage.refusals import advice_on, tell

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.data.tables import TableServiceClient
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueServiceClient

CONNECT_SECONDS = 5
READ_SECONDS = 20
RETRIES = 3
BACKOFF: dict[str, Any] = {
    "initial_backoff": 0,
    "increment_base": 2,
    "random_jitter_range": 1,
    "retry_total": RETRIES,
}
"""At once, then after about 2 and 4 seconds: longer outages are the queue's to retry."""

_DEVELOPMENT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    # The well-known key of the storage emulator, the same on every machine.
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)
_EMULATOR_API = "2026-06-06"
"""The newest REST version that the emulator knows; the SDKs are ahead of it."""


def queue_service(settings: Settings) -> QueueServiceClient:
    from azure.storage.queue import ExponentialRetry, QueueServiceClient

    options = {**_options(settings), "retry_policy": ExponentialRetry(**BACKOFF)}
    if connection := connection_string(settings):
        return QueueServiceClient.from_connection_string(connection, **options)
    return QueueServiceClient(_uri(settings, "queue"), credential=identity(settings), **options)


def blob_service(settings: Settings) -> BlobServiceClient:
    from azure.storage.blob import BlobServiceClient, ExponentialRetry

    options = {
        **_options(settings),
        "retry_policy": ExponentialRetry(**BACKOFF),
        # Blocks of 4 MiB: an upload or download holds one of them, whatever the size of the file.
        "max_single_put_size": 4 * 1024 * 1024,
        "max_block_size": 4 * 1024 * 1024,
        "max_single_get_size": 4 * 1024 * 1024,
        "max_chunk_get_size": 4 * 1024 * 1024,
    }
    if connection := connection_string(settings):
        return BlobServiceClient.from_connection_string(connection, **options)
    return BlobServiceClient(_uri(settings, "blob"), credential=identity(settings), **options)


def table_service(settings: Settings) -> TableServiceClient:
    from azure.data.tables import TableServiceClient

    options: dict[str, Any] = {
        **_sending(),
        "retry_total": RETRIES,
        "retry_connect": RETRIES,
        "retry_read": RETRIES,
        "retry_status": RETRIES,
        "retry_backoff_factor": 0.4,
        "retry_backoff_max": 5,
    }
    if connection := connection_string(settings):
        return TableServiceClient.from_connection_string(connection, **options)
    return TableServiceClient(_uri(settings, "table"), credential=identity(settings), **options)


def connection_string(settings: Settings) -> str | None:
    """The connection string, with the emulator's short form written out."""
    if settings.azure_storage_connection_string is None:
        return None
    text = settings.azure_storage_connection_string.get_secret_value()
    return _DEVELOPMENT if "usedevelopmentstorage=true" in text.lower() else text


def is_emulator(settings: Settings) -> bool:
    text = connection_string(settings) or ""
    return "devstoreaccount1" in text


def _sending() -> dict[str, Any]:
    return {
        "transport": _transport(),
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }


def _transport() -> RequestsTransport:
    """The SDK's own. What the environment says is read once, and not with each request, unless it names
    proxies, which depend on the host."""
    from urllib.request import getproxies

    from azure.core.pipeline.transport import RequestsTransport

    from shared.storage.session import PlainSession

    if getproxies().keys() - {"no"}:  # NO_PROXY is among them
        return RequestsTransport()
    session = PlainSession()
    found = session.merge_environment_settings("https://core.windows.net", {}, False, True, None)
    return RequestsTransport(session=session, connection_verify=found["verify"])


def _options(settings: Settings) -> dict[str, Any]:
    options = _sending()
    if is_emulator(settings):
        options["api_version"] = _EMULATOR_API
    return options


def _uri(settings: Settings, service: str) -> str:
    uri: str | None = getattr(settings, f"storage_{service}_uri")
    if uri:
        return uri
    if settings.storage_account_name:
        return f"https://{settings.storage_account_name}.{service}.core.windows.net"
    raise SettingsError(
        "AZURE_STORAGE_CONNECTION_STRING: no storage account is set. "
        "Example: AZURE_STORAGE_CONNECTION_STRING=UseDevelopmentStorage=true"
    )


@contextmanager
def storage_errors(service: str = "blob") -> Iterator[None]:
    """Turns what the SDKs raise for an account out of reach into our error; the rest is the caller's.

    `service`: blob, queue or table. What the operator can do about it is in the log and in the error's
    `advice`, never in its message, which clients read.
    """
    from azure.core.exceptions import (
        AzureError,
        HttpResponseError,
        ResourceExistsError,
        ResourceModifiedError,
        ResourceNotFoundError,
    )

    try:
        yield
    except (ResourceExistsError, ResourceNotFoundError, ResourceModifiedError):
        raise
    except HttpResponseError as error:
        if error.status_code in {404, 409, 412}:
            raise
        raise _out_of_reach(advice_on(error, service)) from error
    except AzureError as error:
        raise _out_of_reach(advice_on(error, service)) from error
    except NoToken as error:
        raise _out_of_reach(str(error)) from error


def _out_of_reach(advice: str | None) -> DocmillError:
    if deadline.passed():
        return TaskTimeout()
    if advice:
        tell(advice)
    return StorageUnavailable(advice=advice)


def patience() -> dict[str, Any]:
    """Options for one call, when it has less time than usual. Raises TaskTimeout when it has none."""
    seconds = deadline.left(READ_SECONDS)
    if seconds == READ_SECONDS:
        return {}
    return {"connection_timeout": min(CONNECT_SECONDS, seconds), "read_timeout": seconds, "retry_total": 0}


def status_of(error: Exception) -> int | None:
    code: int | None = getattr(error, "status_code", None)
    return code
