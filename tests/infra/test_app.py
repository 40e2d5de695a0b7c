"""The function app of infra/main.bicep: its settings are those that the code and the platform know."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import Any

import pytest

from shared.settings import Settings, environment_names, read_settings
from tests.infra.bicep import read
from tests.infra.deployment import Deployment
from tests.infra.docmill import ACCOUNT, APP, CLIENTS, GIVEN, MAIN, OPENAI, ROOT, deployed

PLATFORM = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the host and Microsoft's exporter take the identity by it",
    "AzureFunctionsJobHost__extensions__queues__batchSize": "the host, instead of host.json",
    "AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "the host, instead of host.json",
    "PYTHON_THREADPOOL_THREAD_COUNT": "the host's Python worker",
}
"""Settings that shared/settings.py does not know, and who reads them."""


def settings_of(found: Deployment) -> dict[str, str]:
    return found.one("Microsoft.Web/sites/config").properties


LIVE = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-1111-2222-3333-444444444444",
    "AZURE_OPENAI_ENDPOINT": "https://oai-docmill.openai.azure.com/",
    "AzureWebJobsStorage__clientId": "00000000-1111-2222-3333-444444444444",
    "SECRETS_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}
"""What only Azure knows, as it puts it in the place of an expression or a reference."""


def app_settings(found: Deployment) -> Settings:
    """As the app reads them there."""
    given = settings_of(found)
    return read_settings(given | {name: value for name, value in LIVE.items() if name in given})


def test_the_app_can_read_its_settings(made: Deployment) -> None:
    settings = app_settings(made)
    assert settings.client_ids == settings.triggers == tuple(CLIENTS)
    assert settings.storage_account_name == made.one(ACCOUNT).name
    assert settings.storage_credential == "managedidentity"
    assert settings.provider == "openai"
    assert settings.supabase_url == GIVEN["supabaseUrl"]


def test_every_setting_is_known_to_the_app_or_the_platform(made: Deployment) -> None:
    known = {name for names in environment_names().values() for name in names}
    assert set(settings_of(made)) - known == set(PLATFORM)


REQUIRED = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "CLIENT_IDS",
    "MAINTENANCE_SCHEDULE",
    "SECRETS_KEY",
    "SUPABASE_KEY",
    "SUPABASE_URL",
}
"""What has no default that would work on Azure."""


def test_every_setting_that_azure_needs_is_set(made: Deployment) -> None:
    assert set(settings_of(made)) >= REQUIRED
    assert "AzureWebJobsStorage" not in settings_of(made)  # the host refuses the mixture


def test_models_are_those_of_openai_or_of_the_account() -> None:
    plain, azure = settings_of(deployed()), settings_of(deployed(useAzureOpenAi=True))
    assert "AZURE_OPENAI_ENDPOINT" not in plain and "OPENAI_API_KEY" not in azure
    assert azure["AZURE_OPENAI_ENDPOINT"] == "account.properties.endpoint"
    found = deployed(useAzureOpenAi=True).of(f"{OPENAI}/deployments")
    made = {one.name.rpartition("/")[2] for one in found}
    assert made == {azure["OPENAI_CHAT_MODEL"], azure["OPENAI_EMBEDDING_MODEL"]}


def test_references_lead_to_secrets_that_the_vault_has() -> None:
    form = re.compile(r"@Microsoft\.KeyVault\(SecretUri=vault\.properties\.vaultUrisecrets/([a-z-]+)\)")
    references = {name: value for name, value in settings_of(deployed()).items() if value.startswith("@")}
    assert {name: form.sub(r"\1", value) for name, value in references.items()} == {
        "SUPABASE_KEY": "supabase-key",
        "OPENAI_API_KEY": "openai-api-key",
        "SECRETS_KEY": "secrets-key",
    }
    app = deployed().one(APP)
    (identity,) = app.body["identity"]["userAssignedIdentities"]
    assert app.properties["keyVaultReferenceIdentity"] == identity


def test_defaults_of_the_app_and_of_the_template_agree() -> None:
    parameters = read(MAIN).parameters
    for parameter, field in (
        ("resultDays", "result_ttl_days"),
        ("embeddingModel", "openai_embedding_model"),
    ):
        default = parameters[parameter].default
        assert default is not None and default.value == Settings.model_fields[field].default
    assert app_settings(deployed()).openai_chat_model == Settings.model_fields["openai_chat_model"].default
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert value_of("queueBatch") == queues["batchSize"]
    assert value_of("queueThreshold") == queues["newBatchThreshold"]


def value_of(parameter: str) -> Any:
    default = read(MAIN).parameters[parameter].default
    return default.value if default else None


def test_what_runs_at_once_fits_an_instance(made: Deployment) -> None:
    settings = settings_of(made)
    at_once = int(settings["AzureFunctionsJobHost__extensions__queues__batchSize"]) + int(
        settings["AzureFunctionsJobHost__extensions__queues__newBatchThreshold"]
    )
    scale = made.one(APP).properties["functionAppConfig"]["scaleAndConcurrency"]
    assert int(settings["CONVERSION_MEMORY_MB"]) <= scale["instanceMemoryMB"] / 2
    assert at_once * int(settings["MAX_UPLOAD_BYTES"]) <= 0.8 * 1000**3  # the disk of an instance
    assert int(settings["PYTHON_THREADPOOL_THREAD_COUNT"]) > at_once


def test_tasks_may_run_elsewhere() -> None:
    found = deployed(tasksElsewhere=True, tasksAlwaysReady=1)
    assert app_settings(found).triggers == ()
    scale = found.one(APP).properties["functionAppConfig"]["scaleAndConcurrency"]
    assert scale["alwaysReady"] == []


def test_more_settings_go_before_those_of_the_template() -> None:
    more = "OCR_LANGUAGE=de; WEBHOOK_RETRY_SECONDS = 5,60 ;CONVERSION_MEMORY_MB=512;DOCLING_SERVE_URL=https://d/?a=b;"
    settings = app_settings(deployed(moreSettings=more))
    assert settings.ocr_language == "de" and settings.conversion_memory_mb == 512
    assert settings.webhook_retry_seconds == (5, 60)
    assert settings.docling_serve_url == "https://d/?a=b"


def test_telemetry_goes_by_the_identity(made: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
    assert settings_of(made)[name] == "ClientId=identity.properties.clientId;Authorization=AAD"
    monkeypatch.setenv(name, settings_of(made)[name])
    from azure.identity import ManagedIdentityCredential
    from azure.monitor.opentelemetry.exporter.export._base import _get_authentication_credential

    with closing(_get_authentication_credential()) as credential:
        assert isinstance(credential, ManagedIdentityCredential)


def test_the_app_runs_on_flex_consumption(made: Deployment) -> None:
    plan, app = made.one("Microsoft.Web/serverfarms"), made.one(APP)
    assert plan.body["sku"] == {"tier": "FlexConsumption", "name": "FC1"}
    assert plan.properties["reserved"] is True
    assert app.body["kind"] == "functionapp,linux"
    assert app.body["tags"]["azd-service-name"] == "api"
    config = app.properties["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": "3.12"}
    storage = config["deployment"]["storage"]
    assert storage["value"] == "storage.properties.primaryEndpoints.blobreleases"
    (identity,) = app.body["identity"]["userAssignedIdentities"]
    assert storage["authentication"]["userAssignedIdentityResourceId"] == identity


def test_instances_are_kept_ready_by_group_and_function() -> None:
    found = deployed(httpAlwaysReady=1, tasksAlwaysReady=2)
    scale = found.one(APP).properties["functionAppConfig"]["scaleAndConcurrency"]
    assert scale["alwaysReady"] == [
        {"name": "http", "instanceCount": 1},
        {"name": "function:tasks_acme", "instanceCount": 2},
        {"name": "function:tasks_globex", "instanceCount": 2},
    ]
