"""The settings of the storage account: a connection string, or an account that is reached by identity."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shared.endpoints import SERVICES, authority_of, service_address

CONFIG = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIX = "AzureWebJobsStorage__"
_NAMES = {
    "storage_account_name": "accountName",
    "storage_blob_uri": "blobServiceUri",
    "storage_queue_uri": "queueServiceUri",
    "storage_table_uri": "tableServiceUri",
    "storage_credential": "credential",
    "storage_client_id": "clientId",
    "storage_resource_id": "managedIdentityResourceId",
}
"""Fields of an account by identity -> what the Functions host calls them, behind the connection's name."""
_URIS = tuple(f"storage_{service}_uri" for service in SERVICES)


def _storage(suffix: str) -> Any:
    return AliasChoices(f"{_PREFIX}{suffix}")


def _named(field: str) -> str:
    return _PREFIX + _NAMES[field]


class AccountSettings(BaseModel):
    """`authority` and `lacking` look at them together."""

    model_config = CONFIG

    azure_storage_connection_string: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("AZURE_STORAGE_CONNECTION_STRING", "AzureWebJobsStorage")
    )
    storage_account_name: str | None = Field(default=None, validation_alias=_storage("accountName"))
    storage_blob_uri: str | None = Field(default=None, validation_alias=_storage("blobServiceUri"))
    storage_queue_uri: str | None = Field(default=None, validation_alias=_storage("queueServiceUri"))
    storage_table_uri: str | None = Field(default=None, validation_alias=_storage("tableServiceUri"))
    storage_credential: Literal["managedidentity"] | None = Field(
        default=None, validation_alias=_storage("credential")
    )
    storage_client_id: str | None = Field(default=None, validation_alias=_storage("clientId"))
    storage_resource_id: str | None = Field(
        default=None, validation_alias=_storage("managedIdentityResourceId")
    )
    azure_authority_host: str | None = None

    @field_validator("azure_storage_connection_string")
    @classmethod
    def _connection(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().lower() if value else "accountname="
        if not any(part in text for part in ("accountname=", "usedevelopmentstorage=true", "endpoint=")):
            raise ValueError("it is not the connection string of a storage account")
        return value

    @field_validator("storage_account_name")
    @classmethod
    def _account_name(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"[a-z0-9]{3,24}", value):
            raise ValueError(
                "it is not an account's name: 3 to 24 of a-z and 0-9, no address and no connection string"
            )
        return value

    @field_validator("storage_blob_uri", "storage_queue_uri", "storage_table_uri")
    @classmethod
    def _service_uri(cls, value: str | None, info: ValidationInfo) -> str | None:
        return service_address(value, str(info.field_name).split("_")[1]) if value else None

    @field_validator("storage_credential", mode="before")
    @classmethod
    def _credential(cls, value: object) -> object:
        if isinstance(value, str) and value.lower() != "managedidentity":
            raise ValueError(
                "it may only be managedidentity. Leave it unset for the Azure SDK's default chain: "
                "environment, workload identity, managed identity, az login"
            )
        return value.lower() if isinstance(value, str) else value

    @field_validator("storage_client_id")
    @classmethod
    def _identity_client_id(cls, value: str | None) -> str | None:
        if value and not _UUID.fullmatch(value):
            raise ValueError("it is not the client id of an identity, which is a UUID")
        return value

    @field_validator("storage_resource_id")
    @classmethod
    def _resource_id(cls, value: str | None) -> str | None:
        if value and not value.lower().startswith("/subscriptions/"):
            raise ValueError("it is not the resource id of an identity, which begins with /subscriptions/")
        return value

    @field_validator("azure_authority_host")
    @classmethod
    def _authority_host(cls, value: str | None) -> str | None:
        if value and value.startswith("http://"):
            raise ValueError("tokens are asked for by https:// only")
        return value

    @model_validator(mode="after")
    def _one_account(self) -> Self:
        """The halves of an account's settings fit together. Whether they are all there: `read_settings`."""
        identity = [name for name in _NAMES if getattr(self, name)]
        if identity and self.azure_storage_connection_string:
            raise ValueError(
                f"{_named(identity[0])}: a connection string is set too. "
                "Unset it (AZURE_STORAGE_CONNECTION_STRING, AzureWebJobsStorage) for an identity, "
                "or unset AzureWebJobsStorage__* for a connection string"
            )
        if self.storage_account_name and (given := [name for name in _URIS if getattr(self, name)]):
            raise ValueError(
                f"{_named(given[0])}: {_named('storage_account_name')} is set too, and the Functions host "
                "takes one of them. Keep the name in the public cloud, the three addresses elsewhere"
            )
        self._one_identity()
        if len(self._authorities) > 1:
            raise ValueError(f"{_named('storage_queue_uri')}: the addresses belong to different clouds")
        return self

    def _one_identity(self) -> None:
        for name in ("storage_client_id", "storage_resource_id"):
            if getattr(self, name) and not self.storage_credential:
                raise ValueError(
                    f"{_named(name)}: needs {_named('storage_credential')}=managedidentity beside it. "
                    "A service principal is set by AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
                )
        if self.storage_client_id and self.storage_resource_id:
            raise ValueError(f"{_named('storage_client_id')}: {_named('storage_resource_id')} is set too")

    @property
    def _authorities(self) -> set[str]:
        return {found for name in _URIS if (found := authority_of(getattr(self, name) or ""))}

    @property
    def authority(self) -> str | None:
        """The host that gives tokens for the storage account; None: the SDK's own choice."""
        return self.azure_authority_host or next(iter(self._authorities), None)

    def lacking(self, services: Collection[str]) -> tuple[str, str] | None:
        """A variable that is missing for these services of an account by identity, and one that is there."""
        given = [name for name in _NAMES if getattr(self, name)]
        if self.storage_account_name or not given:
            return None
        missing = [name for name in _URIS if not getattr(self, name) and name.split("_")[1] in services]
        if len(missing) == len(_URIS):
            missing = ["storage_account_name"]
        return (_named(missing[0]), _named(given[0])) if missing else None
