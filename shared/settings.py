"""Settings: the only place that reads the environment, and never at import.

`read_settings()` gives all of them; `trigger_clients()` gives what the app needs to register its triggers.
A wrong value raises SettingsError, whose text is one line: which setting, what is wrong, an example.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.account import CONFIG, AccountSettings
from shared.endpoints import SERVICES

CLIENT_ID = re.compile(r"^(?=.{3,40}$)[a-z0-9]+(-[a-z0-9]+)*$")
_EMPTY_HAS_MEANING = "TASK_TRIGGER_CLIENTS"
LocalEmbeddings = Literal["minilm", "e5-small"]
Pause = Annotated[float, Field(ge=0, le=604800)]
"""Seconds; a message can wait in a queue for a week at most."""

OCR_MODELS = (
    "PP-OCRv6_tiny",
    "PP-OCRv6_small",
    "PP-OCRv6_medium",
    "PP-OCRv5_mobile",
    "PP-OCRv5_server",
    "PP-OCRv4_mobile",
    "PP-OCRv4_server",
)
_LANGUAGES = """
    af arabic az bs ca ch ch_doc chinese_cht cs cy cyrillic da de devanagari el en es eslav et eu fi
    fr french ga german gl hr hu id is it japan ka korean ku la latin lb lt lv mi ms mt nl no oc pl
    pt qu rm ro rs_latin sk sl sq sv sw ta te th tl tr uz vi
"""
OCR_LANGUAGES = frozenset(_LANGUAGES.split())
"""Models and names of languages as RapidOCR has them: a test compares, since it may not be installed."""


class SettingsError(Exception):
    """A setting is wrong. The text is one line for the operator."""


EXAMPLES = {
    "AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true",
    "AzureWebJobsStorage__accountName": "mydocuments",
    "AzureWebJobsStorage__blobServiceUri": "https://mydocuments.blob.core.usgovcloudapi.net",
    "AzureWebJobsStorage__queueServiceUri": "https://mydocuments.queue.core.usgovcloudapi.net",
    "AzureWebJobsStorage__tableServiceUri": "https://mydocuments.table.core.usgovcloudapi.net",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": "00000000-1111-2222-3333-444444444444",
    "AzureWebJobsStorage__managedIdentityResourceId": "/subscriptions/.../userAssignedIdentities/docmill",
    "AZURE_AUTHORITY_HOST": "login.microsoftonline.us",
    "CLIENT_IDS": "default,acme",
    "TASK_TRIGGER_CLIENTS": "acme",
    "MODEL_PROVIDER": "local",
    "OPENAI_EMBEDDING_DIMENSIONS": "1536",
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "DOCLING_SERVE_URL": "https://docling.example.com",
    "SUPABASE_URL": "https://<project>.supabase.co",
    "SUPABASE_KEY": "sb_secret_...",
    "DOCLING_PIPELINE": "native",
    "OCR_LANGUAGE": "en",
    "OCR_MODEL": "PP-OCRv6_small",
    "OCR_MODEL_DIR": "/srv/ocr-models",
    "MAINTENANCE_SCHEDULE": "0 * * * * *",
    "WORKER_MONITOR_PORT": "9464",
    "SECRETS_KEY": "the output of: docmill secrets-key",
    "WEBHOOK_RETRY_SECONDS": "5,300,1800,7200,18000,36000,36000",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=...;IngestionEndpoint=https://...",
}


class TriggerSettings(BaseModel):
    """The two settings that are read while the app is imported."""

    model_config = CONFIG

    client_ids: tuple[str, ...] = Field(
        default=("default",), validation_alias=AliasChoices("CLIENT_IDS", "CLIENT_ID")
    )
    task_trigger_clients: tuple[str, ...] | None = None

    @field_validator("client_ids", "task_trigger_clients", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("client_ids", "task_trigger_clients")
    @classmethod
    def _legal(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if not CLIENT_ID.match(name):
                raise ValueError(
                    f"{name[:50]!r} is not a client id: 3 to 40 of a-z, 0-9 and hyphen, "
                    "no hyphen first, last or doubled"
                )
        if value and len(set(value)) != len(value):
            raise ValueError("a client is named twice")
        return value

    @model_validator(mode="after")
    def _known(self) -> TriggerSettings:
        for name in self.task_trigger_clients or ():
            if name not in self.client_ids:
                raise ValueError(f"TASK_TRIGGER_CLIENTS names {name!r}, which is not in CLIENT_IDS")
        return self

    @property
    def triggers(self) -> tuple[str, ...]:
        """Clients whose queues this app listens to."""
        return self.client_ids if self.task_trigger_clients is None else self.task_trigger_clients


class Settings(AccountSettings, TriggerSettings):
    """All settings. Field names are the variables' names in lower case unless an alias says otherwise."""

    model_provider: Literal["openai", "local"] | None = None
    local_embedding_model: LocalEmbeddings = "minilm"
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    openai_chat_model: str = "gpt-4.1-mini"
    openai_embedding_model: str = "text-embedding-3-small"
    openai_embedding_dimensions: int | None = Field(default=None, ge=1, le=4000)
    azure_openai_endpoint: str | None = None
    azure_openai_api_key: SecretStr | None = None
    azure_client_id: str | None = None
    openai_concurrency: int = Field(default=8, ge=1, le=64)

    supabase_url: str | None = None
    supabase_key: SecretStr | None = None

    docling_pipeline: Literal["native", "standard", "remote", "auto"] = "native"
    docling_serve_url: str | None = None
    docling_serve_api_key: SecretStr | None = None
    docling_artifacts_path: str | None = None
    conversion_processes: int = Field(default=1, ge=1, le=32)
    conversion_memory_mb: int = Field(default=2048, ge=256)
    ocr_language: str = "en"
    ocr_model: str | None = None
    ocr_model_dir: Path | None = None

    task_timeout_seconds: float = Field(default=1500, gt=0)
    task_max_attempts: int = Field(default=5, ge=1, le=100)
    task_lease_seconds: float = Field(default=60, ge=2, le=3600)
    maintenance_schedule: str = "0 * * * * *"
    worker_lease_seconds: float = Field(default=600, ge=2, le=604800)
    worker_drain_seconds: float = Field(default=10, ge=0, le=86400)
    worker_monitor_port: int | None = Field(default=None, ge=0, le=65535)

    max_multipart_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    max_upload_bytes: int = Field(default=1024 * 1024 * 1024, ge=1)
    max_pages: int = Field(default=5000, ge=1)
    max_expanded_bytes: int = Field(default=2 * 1024 * 1024 * 1024, ge=1)
    max_queued_tasks_per_client: int = Field(default=10000, ge=1)
    result_ttl_days: int = Field(default=30, ge=1)

    webhook_allow_http: bool = False
    webhook_allow_private_networks: bool = False
    webhook_retry_seconds: tuple[Pause, ...] = (5, 300, 1800, 7200, 18000, 36000, 36000)
    webhook_timeout_seconds: float = Field(default=15, gt=0, le=60)
    webhook_cooldown_seconds: float = Field(default=30, ge=0, le=600)
    webhook_disable_after_seconds: float = Field(default=432000, gt=0)
    secrets_key: SecretStr | None = None

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    otel_exporter_otlp_endpoint: str | None = None
    otel_service_name: str = "docmill"
    applicationinsights_connection_string: SecretStr | None = None

    @field_validator("webhook_retry_seconds", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("ocr_language")
    @classmethod
    def _language(cls, value: str) -> str:
        if value not in OCR_LANGUAGES:
            raise ValueError("it is no language by RapidOCR's names: docs/ocr.md lists them")
        return value

    @field_validator("ocr_model")
    @classmethod
    def _model(cls, value: str | None) -> str | None:
        if value is not None and value not in OCR_MODELS:
            raise ValueError(f"it is none of {', '.join(OCR_MODELS)}")
        return value

    @field_validator("ocr_model_dir")
    @classmethod
    def _folder(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("there is no such folder")
        return value

    @field_validator("maintenance_schedule")
    @classmethod
    def _schedule(cls, value: str) -> str:
        if len(value.split()) != 6:
            raise ValueError("an NCRONTAB expression has six fields: second minute hour day month weekday")
        return value

    @field_validator(
        "supabase_url",
        "openai_base_url",
        "azure_openai_endpoint",
        "docling_serve_url",
        "otel_exporter_otlp_endpoint",
    )
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("a URL begins with https:// (or http:// on this machine)")
        return value

    @field_validator("secrets_key")
    @classmethod
    def _fernet(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            key = base64.urlsafe_b64decode(value.get_secret_value())
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ValueError("it is not a key: 32 bytes in url-safe base64")
        return value

    @model_validator(mode="after")
    def _served(self) -> Settings:
        if self.docling_pipeline == "remote" and self.docling_serve_url is None:
            raise ValueError(
                "DOCLING_SERVE_URL: is not set, and DOCLING_PIPELINE=remote needs it. "
                f"Example: DOCLING_SERVE_URL={EXAMPLES['DOCLING_SERVE_URL']}"
            )
        return self

    @property
    def provider(self) -> Literal["openai", "local"]:
        if self.model_provider:
            return self.model_provider
        configured = self.openai_api_key or self.openai_base_url or self.azure_openai_endpoint
        return "openai" if configured else "local"


def environment_names() -> dict[str, list[str]]:
    """Field name -> the environment variables that set it, the preferred one first."""
    return {name: _variables(name, Settings) for name in Settings.model_fields}


def trigger_clients(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Clients whose queues get a trigger. Reads CLIENT_IDS and TASK_TRIGGER_CLIENTS, nothing else."""
    return _read(TriggerSettings, environ).triggers


def read_settings(
    environ: Mapping[str, str] | None = None, *, services: Collection[str] = SERVICES
) -> Settings:
    """All settings of an environment (the process's own by default). Raises SettingsError.

    `services`: which of a storage account must have an address, when one is given by addresses.
    """
    settings = _read(Settings, environ)
    if lacking := settings.lacking(services):
        missing, given = lacking
        raise SettingsError(f"{missing}: is not set, but {given} is. Example: {missing}={EXAMPLES[missing]}")
    return settings


def _variables(name: str, kind: type[TriggerSettings]) -> list[str]:
    alias = kind.model_fields[name].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]


S = TypeVar("S", bound=TriggerSettings)


def _read(kind: type[S], environ: Mapping[str, str] | None) -> S:
    """An empty variable counts as unset, but for the one where empty has a meaning."""
    given = {name.upper(): value for name, value in (os.environ if environ is None else environ).items()}
    values: dict[str, str] = {}
    for name in kind.model_fields:
        for variable in _variables(name, kind):
            value = given.get(variable.upper())
            if value or (value is not None and variable == _EMPTY_HAS_MEANING):
                values[name] = value.strip()
                break
    try:
        return kind.model_validate(values, by_alias=False, by_name=True)
    except ValidationError as error:
        raise SettingsError(_one_line(error, kind)) from None


def _one_line(error: ValidationError, kind: type[TriggerSettings]) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    message = first["msg"].removeprefix("Value error, ")
    if not field:
        return message
    variable = _variables(field, kind)[0]
    example = EXAMPLES.get(variable) or kind.model_fields[field].default
    return f"{variable}: {message}. Example: {variable}={_shown(example)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
