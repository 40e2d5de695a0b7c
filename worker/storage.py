"""The storage account behind a trigger's `connection`, which is the name of a setting or their prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from azure.storage.queue import QueueServiceClient

DEFAULT = "AzureWebJobsStorage"


def queue_service_of(connection: str, settings: Settings, environ: Mapping[str, str]) -> QueueServiceClient:
    """A new client. Raises SettingsError when no account is set for the default connection, ValueError when
    none is for another."""
    from shared.storage.accounts import queue_service

    if connection.lower() == DEFAULT.lower():
        return queue_service(settings)
    return queue_service(_settings_of(connection, environ))


def _settings_of(connection: str, environ: Mapping[str, str]) -> Settings:
    """The same suffixes hold for every connection: <name>, <name>__accountName and so on."""
    named = {
        DEFAULT + name[len(connection) :]: value
        for name, value in environ.items()
        if name == connection or name.startswith(f"{connection}__")
    }
    if not named:
        raise ValueError(f"its connection {connection} is not set")
    try:
        return read_settings(named, services=("queue",))
    except SettingsError as error:
        raise ValueError(f"its connection {connection} is wrong: {error}") from error
