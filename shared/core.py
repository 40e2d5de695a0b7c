"""The composition root: everything wired from the settings, each part made on first touch.

`core()` is the one of this process. Nothing is read and no SDK is imported before a part is touched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from handlers import HANDLERS
from shared import VERSION
from shared.audience import Audience
from shared.backlog import QueueBacklog
from shared.errors import BlobNotFound, DocmillError
from shared.measures import Bounded, Bounds, codes
from shared.names import DELIVERIES_QUEUE, all_queues
from shared.ports import (
    Backlog,
    BlobStore,
    Converter,
    DeadLetterStore,
    DeliveryStore,
    DocumentStore,
    KeyStore,
    LanguageModel,
    Lock,
    ReceiverStore,
    SecretStore,
    Sender,
    SubscriptionStore,
    TaskQueue,
    TaskStore,
)
from shared.rounds import Rounds
from shared.settings import Settings, SettingsError, read_settings
from shared.telemetry import Telemetry, install, installed

if TYPE_CHECKING:
    from shared.keys import Authenticator
    from shared.providers.conversion.request import Recognition
    from shared.providers.docling import DoclingConverter
    from shared.providers.tiers import Reader
    from shared.storage.blobs import AzureBlobStore
    from shared.storage.tables import Tables

T = TypeVar("T")
log = logging.getLogger(__name__)


class Core:
    """All services of one app. Safe to use from many threads; `close` ends what holds connections."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._parts: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._preparing = threading.Lock()
        self._prepared = False

    def _part(self, name: str, make: Callable[[], T]) -> T:
        """Each part once, whichever thread comes first. One that is there waits for none that is being made,
        which may take seconds of imports."""
        if name in (parts := self._parts):
            return cast(T, parts[name])
        with self._lock:
            if name not in self._parts:
                self._parts[name] = make()
            return cast(T, self._parts[name])

    def close(self) -> None:
        with self._lock:
            parts, self._parts = list(self._parts.values()), {}
        for part in parts:
            if hasattr(part, "close"):
                part.close()
        from shared.storage.credentials import identity

        identity(self.settings).close()  # all storage clients share it, so none of them closes it

    def prepare(self) -> None:
        """Makes the queues, tables and the container that are missing: triggers never do."""
        self._tables.ensure()
        self._blobs.ensure()
        for queue in all_queues(self.settings.client_ids):
            self.queues.ensure(queue)

    def prepare_once(self) -> None:
        """`prepare`, until it has worked once. Storage out of reach is logged, and tried at the next call."""
        with self._preparing:
            if self._prepared:
                return
            try:
                self.prepare()
                self._prepared = True
            except DocmillError as error:
                log.warning("Storage could not be prepared: %s", error)

    def checks(self) -> dict[str, str | None]:
        """What is wrong with each dependency, None where nothing is. Makes no paid call."""
        found = {
            "storage": self.storage_problem(),
            "supabase": _problem(lambda: self.documents.ping(5)),
            "models": _problem(lambda: self.models.ping(5)),
        }
        if self.settings.docling_pipeline != "native":  # which depends on nothing outside
            found["converter"] = _problem(lambda: self.converter.ping(5))
        return found

    def storage_problem(self) -> str | None:
        """What is wrong with storage alone, which is all that a worker needs to take messages."""
        return _problem(self._reach_storage)

    def _reach_storage(self) -> None:
        """Each of its services: they have roles, network rules and addresses of their own."""
        self._tables.ping()
        self.queues.depth(DELIVERIES_QUEUE)
        with suppress(BlobNotFound):
            self.blobs.info(".locks/none")

    @property
    def _tables(self) -> Tables:
        from shared.storage.accounts import table_service
        from shared.storage.tables import Tables

        return self._part("tables", lambda: Tables(table_service(self.settings)))

    @property
    def _blobs(self) -> AzureBlobStore:
        from shared.storage.accounts import blob_service
        from shared.storage.blobs import AzureBlobStore

        return self._part("blobs", lambda: AzureBlobStore(blob_service(self.settings)))

    @property
    def tasks(self) -> TaskStore:
        from shared.storage.tables import AzureTaskStore

        return self._part("tasks", lambda: AzureTaskStore(self._tables))

    @property
    def keys(self) -> KeyStore:
        from shared.storage.tables import AzureKeyStore

        return self._part("keys", lambda: AzureKeyStore(self._tables))

    @property
    def secrets(self) -> SecretStore:
        from shared.storage.webhook_tables import AzureSecretStore

        return self._part("secrets", lambda: AzureSecretStore(self._tables))

    @property
    def subscriptions(self) -> SubscriptionStore:
        from shared.storage.webhook_tables import AzureSubscriptionStore

        return self._part("subscriptions", lambda: AzureSubscriptionStore(self._tables))

    @property
    def receivers(self) -> ReceiverStore:
        from shared.storage.webhook_tables import AzureReceiverStore

        return self._part("receivers", lambda: AzureReceiverStore(self._tables))

    @property
    def deliveries(self) -> DeliveryStore:
        from shared.storage.delivery_tables import AzureDeliveryStore

        return self._part("deliveries", lambda: AzureDeliveryStore(self._tables))

    @property
    def dead_letters(self) -> DeadLetterStore:
        from shared.storage.tables import AzureDeadLetterStore

        return self._part("dead_letters", lambda: AzureDeadLetterStore(self._tables))

    @property
    def blobs(self) -> BlobStore:
        return self._blobs

    @property
    def lock(self) -> Lock:
        return self._blobs

    @property
    def telemetry(self) -> Telemetry:
        """Whom this process tells: `shared.telemetry.install` says it."""
        return installed()

    @property
    def queues(self) -> TaskQueue:
        from shared.storage.accounts import queue_service
        from shared.storage.queues import AzureTaskQueue

        return self._part("queues", lambda: AzureTaskQueue(queue_service(self.settings)))

    @property
    def backlog(self) -> Backlog:
        limit = self.settings.max_queued_tasks_per_client
        return self._part("backlog", lambda: QueueBacklog(self.queues, limit))

    @property
    def audience(self) -> Audience:
        return self._part("audience", Audience)

    @property
    def rounds(self) -> Rounds:
        return self._part("rounds", Rounds)

    @property
    def documents(self) -> DocumentStore:
        return self._part("documents", lambda: _documents(self.settings))

    @property
    def converter(self) -> Converter:
        return self._part("converter", lambda: _converter(self.settings))

    @property
    def models(self) -> LanguageModel:
        return self._part("models", lambda: _models(self.settings))

    @property
    def sender(self) -> Sender:
        from shared.providers.outbound import HttpSender

        settings = self.settings
        return self._part(
            "sender",
            lambda: HttpSender(
                allow_http=settings.webhook_allow_http,
                allow_private=settings.webhook_allow_private_networks,
            ),
        )

    @property
    def authenticator(self) -> Authenticator:
        from shared.keys import Authenticator

        return self._part("authenticator", lambda: Authenticator(self.keys))


def _documents(settings: Settings) -> DocumentStore:
    from shared.storage.supabase import SupabaseDocuments

    if settings.supabase_url is None or settings.supabase_key is None:
        missing = "SUPABASE_URL" if settings.supabase_url is None else "SUPABASE_KEY"
        raise SettingsError(f"{missing}: is not set. Example: {missing}={_SUPABASE[missing]}")
    return SupabaseDocuments(settings.supabase_url, settings.supabase_key.get_secret_value())


_SUPABASE = {"SUPABASE_URL": "https://<project>.supabase.co", "SUPABASE_KEY": "sb_secret_..."}


def _converter(settings: Settings) -> Converter:
    from shared.providers.tiers import AutoConverter, TieredConverter

    own = _own_converter(settings)
    reader = _reader(settings, own)
    if reader is None:
        return own
    return AutoConverter(own, reader) if settings.docling_pipeline == "auto" else TieredConverter(own, reader)


def _reader(settings: Settings, own: DoclingConverter) -> Reader | None:
    """Who reads PDFs and images in place of `own`, or beside it. `auto` takes the best that there is."""
    from shared.providers.conversion.standard import missing
    from shared.providers.docling_serve import DoclingServe
    from shared.providers.tiers import StandardReader

    wanted = settings.docling_pipeline
    path = settings.docling_artifacts_path
    artifacts = Path(path).expanduser().resolve() if path else None
    if settings.docling_serve_url and wanted in {"remote", "auto"}:
        key = settings.docling_serve_api_key
        return DoclingServe(settings.docling_serve_url, key.get_secret_value() if key else None, own)
    if wanted == "standard" or (wanted == "auto" and missing(artifacts) is None):
        return StandardReader(own, artifacts)
    return None


def _own_converter(settings: Settings) -> DoclingConverter:
    from shared.providers.conversion.request import Limits
    from shared.providers.docling import DoclingConverter

    return DoclingConverter(
        processes=settings.conversion_processes,
        memory_mb=settings.conversion_memory_mb,
        limits=Limits(pages=settings.max_pages, expanded_bytes=settings.max_expanded_bytes),
        recognition=recognition(settings),
    )


def recognition(settings: Settings) -> Recognition:
    """How OCR reads, by the settings."""
    from shared.providers.conversion.request import Recognition

    return Recognition(
        language=settings.ocr_language, model=settings.ocr_model, models=settings.ocr_model_dir
    )


def _models(settings: Settings) -> LanguageModel:
    if settings.provider == "local":
        from shared.providers.local import LocalModel

        return LocalModel(settings.local_embedding_model)
    from shared.providers.openai import OpenAIModel

    key, azure_key = settings.openai_api_key, settings.azure_openai_api_key
    return OpenAIModel(
        api_key=key.get_secret_value() if key else None,
        base_url=settings.openai_base_url,
        chat_model=settings.openai_chat_model,
        embedding_model=settings.openai_embedding_model,
        dimensions=settings.openai_embedding_dimensions,
        azure_endpoint=settings.azure_openai_endpoint,
        azure_api_key=azure_key.get_secret_value() if azure_key else None,
        azure_client_id=settings.azure_client_id or settings.storage_client_id,
        concurrency=settings.openai_concurrency,
    )


def _problem(check: Callable[[], object]) -> str | None:
    """What to tell an operator: our own words, never an exception's."""
    try:
        check()
    except DocmillError as error:
        return error.advice or error.message
    except SettingsError as error:
        return str(error)
    except Exception as error:
        return f"It failed with {type(error).__name__}: see the log."
    return None


def core() -> Core:
    """The core of this process, whichever thread asks first. Raises SettingsError."""
    with _making:  # until the first call ends, `cache` lets others make more
        return _core()


_making = threading.Lock()


@cache
def _core() -> Core:
    settings = read_settings()
    warn_of_open_doors(settings)
    install_telemetry(settings)
    return Core(settings)


def install_telemetry(settings: Settings) -> None:
    """Whoever the settings name hears of this process from now on."""
    if settings.otel_exporter_otlp_endpoint or settings.applicationinsights_connection_string:
        from shared.providers.opentelemetry import OpenTelemetry

        install(Bounded(OpenTelemetry(settings, VERSION), label_bounds(settings)))


def label_bounds(settings: Settings) -> Bounds:
    """Which values the labels of metrics may have, whatever a message or a client says."""
    from shared.providers.conversion.formats import KEYS

    return {
        "client": frozenset(settings.client_ids),
        "task_type": frozenset(HANDLERS),
        "format": frozenset(KEYS),
        "code": codes(),
    }


def warn_of_open_doors(settings: Settings) -> None:
    if settings.webhook_allow_private_networks:
        log.warning(
            "WEBHOOK_ALLOW_PRIVATE_NETWORKS is on: whoever may submit can reach everything that this app "
            "can reach. It is for the local stack only."
        )
    if settings.webhook_allow_http:
        log.warning(
            "WEBHOOK_ALLOW_HTTP is on: webhooks may go over the network unencrypted. "
            "It is for the local stack only."
        )
