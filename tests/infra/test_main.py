"""infra/main.bicep: what it would make is what the code needs, reached by one identity, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shared.names import all_queues, poison_queue
from shared.storage import blobs, tables
from tests.infra.bicep import read, templates_below
from tests.infra.deployment import Deployment
from tests.infra.docmill import (
    ACCOUNT,
    APP,
    CLIENTS,
    INFRA,
    OPENAI,
    ROOT,
    SECRETS,
    VAULT,
    deployed,
    last_names,
)

OF_AZD = [path for path in templates_below(INFRA) if "aci" not in path.parts]
"""Container Instances write logs by a workspace's key alone: test_aci.py looks at those."""
ROLE, SECRET = "Microsoft.Authorization/roleAssignments", "Microsoft.KeyVault/vaults/secrets"
BLOBS_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
BLOBS = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
QUEUES = "974c5e8b-45b9-4653-ba55-5f855dd0fb88"
TABLES = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
METRICS = "3913510d-42f4-4e42-8a64-420c390055eb"
READER = "4633458b-17de-408a-b874-0445c86b69e6"
MODELS = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"
"""Azure's built-in roles, from its list of them: Storage Blob Data Owner and Contributor, Storage Queue Data
Contributor, Storage Table Data Contributor, Monitoring Metrics Publisher, Key Vault Secrets User, Cognitive
Services OpenAI User."""
SECRETIVE = re.compile("key|secret|connection|password|token", re.IGNORECASE)


@pytest.mark.parametrize("path", templates_below(INFRA), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_template_parses(path: Path) -> None:
    assert read(path).errors == []


@pytest.mark.parametrize("path", templates_below(INFRA), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_declared_for_nothing(path: Path) -> None:
    template = read(path)
    assert set(template.parameters) | set(template.variables) <= template.names


def test_a_role_is_given_for_each_thing_that_the_app_does() -> None:
    found = deployed(useAzureOpenAi=True)
    account = found.one(ACCOUNT).id
    assert roles(found, "identity.properties.principalId") == {
        (account, BLOBS_OWNER),
        (account, QUEUES),
        (account, TABLES),
        (found.one("Microsoft.Insights/components").id, METRICS),
        (found.one(VAULT).id, READER),
        (found.one(OPENAI).id, MODELS),
    }


def test_who_deploys_may_use_the_data_and_nothing_else() -> None:
    found = deployed()
    account = found.one(ACCOUNT).id
    assert roles(found, "operator") == {(account, BLOBS), (account, QUEUES), (account, TABLES)}
    assert len(found.of(ROLE)) == 8
    assert len(deployed(principalId="").of(ROLE)) == 5


def roles(found: Deployment, principal: str) -> set[tuple[str, str]]:
    return {
        (one.scope, one.properties["roleDefinitionId"].rpartition("/")[2])
        for one in found.of(ROLE)
        if one.properties["principalId"] == principal
    }


def test_assignments_have_names_of_their_own(made: Deployment) -> None:
    names = [one.name for one in made.of(ROLE)]
    assert len(set(names)) == len(names)


def test_no_secret_is_an_output() -> None:
    for path in OF_AZD:
        for name in read(path).outputs:
            assert name == "AZURE_KEY_VAULT_NAME" or not SECRETIVE.search(name), f"{path}: {name}"
    told = json.dumps(deployed(**SECRETS).outputs)
    assert not any(word in told for word in ("SECRET-", "ConnectionString", "InstrumentationKey"))


def test_secrets_are_secure_parameters_and_stand_in_the_vault_alone() -> None:
    for path in OF_AZD:
        for parameter in read(path).parameters.values():
            assert parameter.secure == (parameter.name in SECRETS), f"{path}: {parameter.name}"
    found = deployed(**SECRETS)
    held = {one.name.rpartition("/")[2]: one.properties["value"] for one in found.of(SECRET)}
    assert held == {"supabase-key": "SECRET-1", "openai-api-key": "SECRET-2", "secrets-key": "SECRET-3"}
    rest = [one.body for one in found.resources if one.type != SECRET]
    assert "SECRET-" not in json.dumps(rest)


def test_a_secret_that_is_not_given_stays_as_it_is() -> None:
    assert deployed().of(SECRET) == []


def test_nobody_comes_by_a_key(made: Deployment) -> None:
    for path in OF_AZD:
        assert not {name for name in read(path).calls if name.lower().startswith("list")}, path
    account = made.one(ACCOUNT).properties
    assert account["allowSharedKeyAccess"] is False
    assert account["defaultToOAuthAuthentication"] is True
    assert made.one("Microsoft.Insights/components").properties["DisableLocalAuth"] is True
    logs = made.one("Microsoft.OperationalInsights/workspaces").properties
    assert logs["features"]["disableLocalAuth"] is True
    assert made.one(VAULT).properties["enableRbacAuthorization"] is True
    for one in made.of(OPENAI):
        assert one.properties["disableLocalAuth"] is True


def test_everything_is_encrypted_on_its_way_and_nothing_is_public(made: Deployment) -> None:
    account = made.one(ACCOUNT).properties
    assert account["minimumTlsVersion"] == "TLS1_2"
    assert account["supportsHttpsTrafficOnly"] is True
    assert account["allowBlobPublicAccess"] is False
    assert all(
        one.properties["publicAccess"] == "None"
        for one in made.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    )
    app = made.one(APP).properties
    assert app["httpsOnly"] is True
    assert app["siteConfig"]["minTlsVersion"] == "1.2"


def test_queues_tables_and_the_container_are_those_of_the_code(made: Deployment) -> None:
    queues = all_queues(CLIENTS)
    assert last_names(made, "queueServices/queues") == {*queues, *map(poison_queue, queues)}
    assert last_names(made, "tableServices/tables") == set(tables.ALL_TABLES)
    assert last_names(made, "blobServices/containers") == {blobs.CONTAINER, "releases"}


def test_leftovers_of_every_client_are_deleted_after_the_sweep_would_have() -> None:
    many = [f"client-{number}" for number in range(12)]
    found = deployed(clientIds=",".join(many), resultDays=90)
    rules = found.one(f"{ACCOUNT}/managementPolicies").properties["policy"]["rules"]
    prefixes = [prefix for rule in rules for prefix in rule["definition"]["filters"]["prefixMatch"]]
    assert sorted(prefixes) == sorted(
        f"{blobs.CONTAINER}/{client}/{folder}/" for client in many for folder in ("checkpoints", "results")
    )
    assert len({rule["name"] for rule in rules}) == len(rules) == 3
    assert all(len(rule["definition"]["filters"]["prefixMatch"]) <= 10 for rule in rules)
    for rule in rules:
        delete = rule["definition"]["actions"]["baseBlob"]["delete"]
        assert delete == {"daysAfterModificationGreaterThan": 120}


def test_resources_carry_the_name_of_the_environment(made: Deployment) -> None:
    for one in made.resources:
        if "tags" in one.body:
            assert one.body["tags"]["azd-env-name"] == "test"


def test_names_are_legal(made: Deployment) -> None:
    assert re.fullmatch("[a-z0-9]{3,24}", made.one(ACCOUNT).name)
    assert re.fullmatch("[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]", made.one(VAULT).name)
    assert re.fullmatch("[a-z0-9-]{2,43}", made.one(APP).name)
    for queue in last_names(made, "queueServices/queues"):
        assert re.fullmatch("(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", queue)


OUTPUTS = {
    "AZURE_LOCATION",
    "AZURE_TENANT_ID",
    "AZURE_RESOURCE_GROUP",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_FUNCTION_APP_NAME",
    "AZURE_KEY_VAULT_NAME",
    "AZURE_IDENTITY_CLIENT_ID",
    "APPLICATIONINSIGHTS_NAME",
    "AZURE_OPENAI_ENDPOINT",
    "DOCMILL_URL",
    "DOCMILL_CLIENT_IDS",
    "DOCMILL_OUTBOUND_ADDRESS",
    "DOCMILL_BUDGET_START",
}


def test_outputs_are_what_azd_and_the_hooks_read() -> None:
    found = deployed()
    assert set(found.outputs) == OUTPUTS
    assert found.outputs["DOCMILL_CLIENT_IDS"] == "acme,globex"
    assert found.outputs["DOCMILL_URL"] == "https://app.properties.defaultHostName"
    assert found.outputs["AZURE_OPENAI_ENDPOINT"] == found.outputs["DOCMILL_OUTBOUND_ADDRESS"] == ""
