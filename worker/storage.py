"""The storage account behind a trigger's `connection`, which is the name of a setting or their prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from azure.storage.queue import QueueServiceClient

DEFAULT = "AzureWebJobsStorage"


class Services:
    """One client for each connection."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings, self._environ = settings, environ
        self._clients: dict[str, QueueServiceClient] = {}

    def get(self, connection: str) -> QueueServiceClient:
        """Raises SettingsError when no account is set for the default connection, ValueError for another."""
        from shared.storage.accounts import queue_service

        if connection not in self._clients:
            self._clients[connection] = queue_service(self._settings_of(connection))
        return self._clients[connection]

    def _settings_of(self, connection: str) -> Settings:
        if connection.lower() == DEFAULT.lower():
            return self._settings
        # The same suffixes hold for every connection: <name>, <name>__accountName and so on.
        named = {
            DEFAULT + name[len(connection) :]: value
            for name, value in self._environ.items()
            if name == connection or name.startswith(f"{connection}__")
        }
        if not named:
            raise ValueError(f"its connection {connection} is not set")
        try:
            return read_settings(named)
        except SettingsError as error:
            raise ValueError(f"its connection {connection} is wrong: {error}") from error
