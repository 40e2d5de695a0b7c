"""The templates of infra/aci: what they make, who may do what, and the schema by which a message is read."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft7Validator

from shared.errors import DocmillError
from shared.messages import TaskMessage
from shared.names import poison_queue, tasks_queue
from shared.settings import environment_names, read_settings
from tests.infra.bicep import read, templates_below
from tests.infra.deployment import Deployment, Resource, Runtime, deploy
from tests.infra.message_schema import FILE, message_schema, text
from tests.infra.published import unknown
from tests.infra.workflow import every

ROOT = Path(__file__).parents[2]
ACI = ROOT / "infra" / "aci"
GIVEN: dict[str, Any] = {"storageAccountName": "mydocuments", "supabaseUrl": "https://project.supabase.co"}
ROLES = {
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "8311e382-0749-4cb8-b61a-304f252e45ec": "AcrPush",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "8a0f0c08-91a1-4084-bc3d-661d67233fed": "Storage Queue Data Message Processor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "5d977122-f97e-4b4d-a52f-6b43003ddb4d": "Azure Container Instances Contributor Role",
    "f1a07417-d97a-45cb-824c-7a7467783830": "Managed Identity Operator",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
}
"""As Azure's list of built-in roles has them."""


def made(**parameters: Any) -> Deployment:
    return deploy(read(ACI / "main.bicep"), **{"clients": ["acme", "beta"], **GIVEN, **parameters})


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return made()


def workflow(deployment: Deployment, name: str) -> Resource:
    (found,) = [one for one in deployment.of("Microsoft.Logic/workflows") if one.name == name]
    return found


def starter(deployment: Deployment, client: str = "acme") -> dict[str, Any]:
    found: dict[str, Any] = workflow(deployment, f"docmill-start-{client}").properties["definition"]
    return found


def group_body(deployment: Deployment) -> Any:
    return copy.deepcopy(every(starter(deployment)["actions"])["Start_group"]["inputs"]["body"])


def rights(deployment: Deployment) -> Counter[tuple[str, str, str]]:
    """Who, which role, on what."""
    return Counter(
        (
            str(one.properties["principalId"]).split(".")[0],
            ROLES[one.properties["roleDefinitionId"].rsplit("/", 1)[1]],
            one.scope.rsplit("/", 1)[1],
        )
        for one in deployment.of("Microsoft.Authorization/roleAssignments")
    )


# The templates


def test_every_template_parses() -> None:
    templates = templates_below(ACI)
    assert len(templates) == 8
    assert [error for one in templates for error in read(one).errors] == []


def test_every_property_is_one_that_azure_has(deployment: Deployment) -> None:
    """The published members of Container Instances are of an older version, without references to secrets.
    Those of connections are not published."""
    by_hand = deploy(read(ACI / "container-group.bicep"), taskData="{}", client="acme", **GIVEN)
    found = {problem for one in (*deployment.resources, *by_hand.resources) for problem in unknown(one)}
    group = "Microsoft.ContainerInstance/containerGroups.properties"
    assert found == {
        "Microsoft.Web/connections is not in resource_types.json",
        f"{group}.secretReferences is unknown",
        f"{group}.containers.properties.environmentVariables.secureValueReference is unknown",
    }


def test_keys_are_asked_for_where_there_is_no_other_way() -> None:
    """The workspace's, which Container Instances write their logs by."""
    asked = {
        path.name: {name for name in read(path).calls if name.startswith("list")}
        for path in templates_below(ACI)
    }
    assert {path for path, names in asked.items() if names} == {"client.bicep", "container-group.bicep"}
    for path in ("client.bicep", "container-group.bicep"):
        assert (ACI / path).read_text().count("listKeys()") == (ACI / path).read_text().count(
            "workspace.listKeys().primarySharedKey"
        )


def test_each_client_has_a_starter_and_there_is_one_cleanup(deployment: Deployment) -> None:
    names = [one.name for one in deployment.of("Microsoft.Logic/workflows")]
    assert names == ["docmill-start-acme", "docmill-start-beta", "docmill-cleanup"]
    assert len(deployment.of("Microsoft.Web/connections")) == 2


@pytest.mark.parametrize("client", ["acme", "beta"])
def test_a_starter_serves_the_queues_of_its_client(deployment: Deployment, client: str) -> None:
    parameters = workflow(deployment, f"docmill-start-{client}").properties["parameters"]
    queue = tasks_queue(client)
    assert parameters["queue"]["value"] == queue
    assert parameters["poisonQueue"]["value"] == poison_queue(queue)
    assert parameters["account"]["value"] == GIVEN["storageAccountName"]


def test_everybody_may_do_what_they_must_and_nothing_else(deployment: Deployment) -> None:
    registry = deployment.one("Microsoft.ContainerRegistry/registries").name
    vault = deployment.one("Microsoft.KeyVault/vaults").name
    identity = deployment.one("Microsoft.ManagedIdentity/userAssignedIdentities").name
    wanted = Counter(
        {
            ("workerIdentity", "AcrPull", registry): 1,
            ("workerIdentity", "Key Vault Secrets User", vault): 1,
            ("workerIdentity", "Storage Blob Data Contributor", "mydocuments"): 1,
            ("workerIdentity", "Storage Queue Data Contributor", "mydocuments"): 1,
            ("workerIdentity", "Storage Table Data Contributor", "mydocuments"): 1,
            ("starter", "Azure Container Instances Contributor Role", "rg"): 2,
            ("starter", "Managed Identity Operator", identity): 2,
            ("cleanup", "Azure Container Instances Contributor Role", "rg"): 1,
        }
    )
    for client in ("acme", "beta"):
        wanted["starter", "Storage Queue Data Message Processor", f"{client}-tasks"] = 1
        wanted["starter", "Storage Queue Data Message Sender", f"{client}-tasks-poison"] = 1
    assert rights(deployment) == wanted


def test_what_is_asked_for_gets_its_role_too() -> None:
    found = rights(made(openAiAccountName="models", pushPrincipalId="pipeline"))
    assert found["workerIdentity", "Cognitive Services OpenAI User", "models"] == 1
    assert (
        sum(count for (who, role, _), count in found.items() if (who, role) == ("pipeline", "AcrPush")) == 1
    )


def test_names_of_assignments_are_their_own() -> None:
    """Of one client: here the Logic Apps of all have the same words for their principals."""
    names = [one.name for one in made(clients=["acme"]).of("Microsoft.Authorization/roleAssignments")]
    assert len(names) == len(set(names))


def test_names_of_assignments_are_made_from_who_has_them() -> None:
    """Azure changes no assignment: a Logic App that was deleted and is made again would get none."""
    for path in templates_below(ACI):
        for one in read(path).resources.values():
            if one.type == "Microsoft.Authorization/roleAssignments":
                body = one.body.parts[1] if one.body.kind in {"for", "if"} else one.body
                members = {key.value: value for key, value in body.parts}
                (given,) = [
                    part for part in members["name"].parts if part.kind == "name" and "rincipal" in part.value
                ]
                properties = {key.value: value for key, value in members["properties"].parts}
                assert properties["principalId"].value == given.value, f"{path}: {one.symbol}"


def test_a_vault_that_is_there_is_used() -> None:
    deployment = made(keyVaultName="kv-of-the-app", supabaseKey="a", secretsKey="b", openAiApiKey="c")
    assert not deployment.of("Microsoft.KeyVault/vaults")
    assert not deployment.of("Microsoft.KeyVault/vaults/secrets")
    assert rights(deployment)["workerIdentity", "Key Vault Secrets User", "kv-of-the-app"] == 1
    uris = {one["secretReferenceUri"] for one in group_body(deployment)["properties"]["secretReferences"]}
    assert "https://kv-of-the-app.vault.azure.net/secrets/secrets-key" in uris


def test_a_vault_that_is_made_asks_for_roles_and_holds_the_secrets() -> None:
    deployment = made(supabaseKey="a", secretsKey="b", openAiApiKey="c")
    vault = deployment.one("Microsoft.KeyVault/vaults")
    assert vault.properties["enableRbacAuthorization"] is True
    held = {one.name.split("/")[1] for one in deployment.of("Microsoft.KeyVault/vaults/secrets")}
    assert held == {"supabase-key", "openai-api-key", "secrets-key"}


def test_no_secret_is_an_output_or_an_open_parameter() -> None:
    for template in map(read, templates_below(ACI)):
        for name, parameter in template.parameters.items():
            if re.search(r"(?i)key$|taskData", name):
                assert parameter.secure, name
        assert not [one for one in template.outputs if re.search(r"(?i)key$|secret|connection", one)]
    definition = json.dumps(starter(made(supabaseKey="hidden-a", secretsKey="hidden-b")))
    assert "hidden" not in definition and "listKeys" not in definition


def test_the_registry_has_no_password(deployment: Deployment) -> None:
    assert deployment.one("Microsoft.ContainerRegistry/registries").properties["adminUserEnabled"] is False


def test_nothing_starts_until_it_is_turned_on() -> None:
    for enabled, state in ((False, "Disabled"), (True, "Enabled")):
        states = {one.properties["state"] for one in made(enabled=enabled).of("Microsoft.Logic/workflows")}
        assert states == {state}


def test_connections_use_the_identity_of_the_logic_app(deployment: Deployment) -> None:
    for one in deployment.of("Microsoft.Web/connections"):
        assert one.properties["parameterValueSet"] == {"name": "managedIdentityAuth", "values": {}}
        assert one.properties["api"]["id"].endswith("/managedApis/azurequeues")
    for client in ("acme", "beta"):
        resource = workflow(deployment, f"docmill-start-{client}")
        assert resource.body["identity"] == {"type": "SystemAssigned"}
        (known,) = resource.properties["parameters"]["$connections"]["value"].values()
        assert known["connectionProperties"] == {"authentication": {"type": "ManagedServiceIdentity"}}
        assert known["connectionId"].endswith(f"/connections/docmill-queues-{client}")


def test_every_alert_tells_the_action_group(deployment: Deployment) -> None:
    group = deployment.one("Microsoft.Insights/actionGroups")
    alerts = deployment.of("Microsoft.Insights/metricAlerts")
    watched = Counter(one.properties["scopes"][0] for one in alerts)
    assert watched == {one.id: 2 for one in deployment.of("Microsoft.Logic/workflows")}
    for one in alerts:
        assert one.properties["actions"] == [{"actionGroupId": group.id}]
        assert one.body["location"] == "global"
    receivers = made(alertEmail="ops@example.com").one("Microsoft.Insights/actionGroups").properties
    assert [one["emailAddress"] for one in receivers["emailReceivers"]] == ["ops@example.com"]


# The words about them

README = (ACI / "README.md").read_text()


def rows(heading: str) -> list[list[str]]:
    part = re.split(r"(?m)^## ", README.split(f"\n## {heading}\n")[1])[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_file_is_named() -> None:
    told = {
        name for row in rows("What is here") for name in re.findall(r"`([a-z.-]+\.(?:bicep|json))`", row[0])
    }
    assert told == {path.name for path in ACI.iterdir()} - {"README.md"}


def test_every_parameter_is_told_with_its_default() -> None:
    parameters = read(ACI / "main.bicep").parameters
    told: dict[str, str] = {}
    for names, default, _ in rows("Parameters"):
        found = re.findall(r"`(\w+)`", names)
        defaults = default.replace("`", "").split(", ")
        told |= dict(zip(found, defaults * len(found) if len(defaults) == 1 else defaults, strict=False))
    words = {"needed": None, "''": "", "false": False}
    assert list(told) == list(parameters)
    for name, default in told.items():
        expression = parameters[name].default
        if default in {"all three", "none", "the resource group's"}:
            assert expression is not None and expression.kind != "literal", name
            continue
        wanted = words[default] if default in words else int(default) if default.isdigit() else default
        assert (expression.value if expression else None) == wanted, name


def test_values_of_azd_are_those_that_it_has() -> None:
    named = set(re.findall(r"\b(?:AZURE|DOCMILL)_[A-Z_]+\b", README))
    known = set(re.findall(r"\$\{(\w+)", (ROOT / "infra" / "main.parameters.json").read_text()))
    known |= set(read(ROOT / "infra" / "main.bicep").outputs)
    assert named <= known
    assert "DOCMILL_TASKS_ELSEWHERE" in named


def test_every_role_is_told() -> None:
    table = README.split("| who | may | on |")[1].split("\n\n")[0]
    short = {name: name.removeprefix("Storage ") for name in ROLES.values()}
    missing = [name for name in ROLES.values() if name not in table and short[name] not in table]
    assert not missing


def test_the_arithmetic_of_the_costs_is_right() -> None:
    """Every `a x b = c` in the text, to the figures that it gives."""
    sums = re.findall(r"((?:[\d.,]+ x )+\(?[\d.]+(?: \+ [\d.]+ x [\d.]+\))?) = ([\d.,]+)", README)
    assert len(sums) >= 4
    for left, right in sums:
        value = eval(left.replace(",", "").replace(" x ", "*"))
        figures = len(right.replace(",", "").rstrip(".").partition(".")[2])
        assert round(value, figures) == pytest.approx(float(right.replace(",", "").rstrip("."))), left


# The container group


def test_the_logic_app_makes_what_the_template_makes(deployment: Deployment) -> None:
    """But for the message, the time, and what each of them calls the registry."""
    by_hand = deploy(read(ACI / "container-group.bicep"), taskData="{}", client="acme", **GIVEN)
    template = by_hand.one("Microsoft.ContainerInstance/containerGroups").body
    made_by = group_body(deployment)
    assert template["tags"] == {"docmill-client": "acme"}
    assert made_by["tags"] == {"docmill-client": "acme", "docmill-created": "@{utcNow()}"}
    for body, message, key in (
        (template, "{}", "workspace.listKeys().primarySharedKey"),
        (made_by, "@{triggerBody()?['MessageText']}", "@{parameters('workspaceKey')}"),
    ):
        (container,) = body["properties"]["containers"]
        first = container["properties"]["environmentVariables"][0]
        assert first == {"name": "TASK_DATA", "secureValue": message}
        assert body["properties"]["diagnostics"]["logAnalytics"]["workspaceKey"] == key
        first["secureValue"] = body["properties"]["diagnostics"]["logAnalytics"]["workspaceKey"] = ""
    for name in ("location", "identity", "properties"):
        assert made_by[name] == template[name]


def test_a_container_has_its_size_and_ends_for_good(deployment: Deployment) -> None:
    properties = group_body(deployment)["properties"]
    (container,) = properties["containers"]
    assert properties["restartPolicy"] == "Never"
    assert properties["osType"] == "Linux"
    assert container["properties"]["resources"] == {"requests": {"cpu": 1, "memoryInGB": 2}}
    assert "ipAddress" not in properties
    larger = group_body(made(cpu=2, memoryInGB=8))["properties"]["containers"][0]["properties"]
    assert larger["resources"] == {"requests": {"cpu": 2, "memoryInGB": 8}}


def test_the_image_is_pulled_by_identity(deployment: Deployment) -> None:
    body = group_body(made(imageTag="0123abc"))
    (credential,) = body["properties"]["imageRegistryCredentials"]
    assert body["identity"]["userAssignedIdentities"] == {credential["identity"]: {}}
    assert set(credential) == {"server", "identity"}
    image = body["properties"]["containers"][0]["properties"]["image"]
    assert image == f"{credential['server']}/docmill-worker:0123abc"


def variables(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = body["properties"]["containers"][0]["properties"]["environmentVariables"]
    assert len({one["name"] for one in found}) == len(found)
    return {one["name"]: one for one in found}


def test_settings_are_known_and_enough() -> None:
    """What a container gets makes a worker that starts, once Azure has filled in what it alone knows."""
    body = group_body(made(settings={"MODEL_PROVIDER": "openai"}))
    known = {name for names in environment_names().values() for name in names}
    found = variables(body)
    assert set(found) <= known
    values = {name: one.get("value", "") for name, one in found.items()}
    assert isinstance(values.pop("AzureWebJobsStorage__clientId"), Runtime)
    settings = read_settings({name: str(value) for name, value in values.items() if value})
    assert settings.client_ids == ("acme",)
    assert settings.storage_credential == "managedidentity"
    assert settings.conversion_memory_mb < 2048
    assert settings.supabase_url and settings.storage_account_name


def test_secrets_come_from_the_vault(deployment: Deployment) -> None:
    body = group_body(deployment)
    references = {one["name"]: one for one in body["properties"]["secretReferences"]}
    secret = {
        name: one["secureValueReference"]
        for name, one in variables(body).items()
        if "secureValueReference" in one
    }
    assert set(secret) == {"SUPABASE_KEY", "OPENAI_API_KEY", "SECRETS_KEY"}
    assert set(secret.values()) == set(references)
    for one in references.values():
        assert one["identity"] in body["identity"]["userAssignedIdentities"]
        assert one["secretReferenceUri"].startswith("https://")
    assert not [name for name in secret if "value" in variables(body)[name]]


def test_a_secret_that_is_not_needed_can_be_left_out() -> None:
    body = group_body(made(secrets={"SUPABASE_KEY": "supabase-key"}))
    assert [one["name"] for one in body["properties"]["secretReferences"]] == ["supabasekey"]
    assert "OPENAI_API_KEY" not in variables(body)


def test_both_name_one_version_of_azures_interface(deployment: Deployment) -> None:
    declared = read(ACI / "container-group.bicep").resources["group"].api_version
    for name in ("starter.json", "cleanup.json"):
        versions = set(re.findall(r"api-version=([0-9a-z-]+)", (ACI / name).read_text()))
        assert versions == {declared}, name


# The command of the container


def test_the_command_is_the_images_own_with_another_end() -> None:
    command = json.loads((ACI / "worker.json").read_text())["command"]
    dockerfile = (ROOT / "worker" / "Dockerfile").read_text()
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)[-1])
    assert command[0] == entry[0] == "tini"
    assert " ".join(entry[2:]) in command[-1]


def shell_line(program: str) -> list[str]:
    command = json.loads((ACI / "worker.json").read_text())["command"]
    return ["sh", "-c", command[-1].replace("python -m worker", program)]


@pytest.mark.parametrize(("status", "passed_on"), [(0, 0), (1, 0), (2, 1), (137, 1)])
def test_a_task_that_failed_is_no_failure_of_its_container(status: int, passed_on: int) -> None:
    assert subprocess.run(shell_line(f"sh -c 'exit {status}'"), check=False).returncode == passed_on


def test_the_worker_has_its_time_when_the_container_is_stopped(tmp_path: Path) -> None:
    """tini -g gives the signal to both; the shell has to wait for the worker."""
    program = tmp_path / "slow.py"
    program.write_text(
        "import signal, sys, time\n"
        "def stop(*_):\n    time.sleep(0.5); print('bye', flush=True); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, stop); print('up', flush=True); time.sleep(60)\n"
    )
    line = shell_line(f"{sys.executable} {program}")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.read() == "bye\n"
        assert process.wait(20) == 0


# The definitions


def definitions(deployment: Deployment) -> dict[str, Any]:
    return {one.name: one.properties["definition"] for one in deployment.of("Microsoft.Logic/workflows")}


def test_definitions_are_of_the_language(deployment: Deployment) -> None:
    schema = json.loads((Path(__file__).parent / "workflow_definition.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    for name, definition in definitions(deployment).items():
        assert [error.message for error in Draft7Validator(schema).iter_errors(definition)] == [], name


def test_names_are_used_once_and_references_lead_somewhere(deployment: Deployment) -> None:
    for name, definition in definitions(deployment).items():
        text_of_it = json.dumps(definition["actions"])
        actions = every(definition["actions"])
        assert len(actions) == len(re.findall(r'"runAfter"', text_of_it)), name
        named = re.findall(r"(?:outputs|body|actions|items)\('(\w+)'\)", text_of_it)
        assert set(named) <= set(actions), name
        used = set(re.findall(r"parameters\('([\w$]+)'\)", json.dumps(definition)))
        assert used == set(definition["parameters"]), name


def test_an_action_refers_to_what_has_run_before_it(deployment: Deployment) -> None:
    """Else Logic Apps refuses the definition. What ran before the container of an action ran before it."""
    for name, definition in definitions(deployment).items():
        assert list(_too_early(definition["actions"], frozenset())) == [], name


def _too_early(actions: dict[str, Any], before: frozenset[str]) -> Iterator[str]:
    for name, action in actions.items():
        known = before | _run_before(actions, name)
        inner = [action.get("actions", {}), action.get("else", {}), action.get("default", {})]
        inner += action.get("cases", {}).values()
        own = {
            key: value for key, value in action.items() if key not in {"actions", "else", "default", "cases"}
        }
        for other in re.findall(r"(?:outputs|body|actions)\('(\w+)'\)", json.dumps(own)):
            if other not in known:
                yield f"{name} refers to {other}"
        for one in inner:
            yield from _too_early(one.get("actions", one), known)


def _run_before(actions: dict[str, Any], name: str) -> frozenset[str]:
    direct = actions[name].get("runAfter", {})
    return frozenset(direct).union(*(_run_before(actions, one) for one in direct))


def test_what_holds_a_message_is_hidden_from_the_history(deployment: Deployment) -> None:
    definition = starter(deployment)
    everything = {**every(definition["actions"]), **definition["triggers"]}
    hidden = {
        name
        for name, one in everything.items()
        if one.get("runtimeConfiguration", {}).get("secureData", {}).get("properties")
        == (["inputs"] if one["type"] == "ParseJson" else ["inputs", "outputs"])
    }
    holding = {name for name, one in everything.items() if "MessageText" in json.dumps(one.get("inputs", ""))}
    assert holding == {"Read_message", "Set_aside", "Give_up", "Start_group"}
    assert hidden == {*holding, "Message_on_the_queue"}
    told = [one for one in everything.values() if one["type"] == "Terminate"]
    assert told and "Read_message" not in json.dumps(told) and "triggerBody" not in json.dumps(told)


def test_the_queue_is_looked_at_as_asked() -> None:
    trigger = starter(made(pollSeconds=60))["triggers"]["Message_on_the_queue"]
    assert trigger["recurrence"] == {"frequency": "Second", "interval": 60}
    assert starter(made())["triggers"]["Message_on_the_queue"]["recurrence"]["interval"] == 30


# The schema of messages


def test_the_schema_is_that_of_the_model() -> None:
    assert FILE.read_text() == text(), "write it anew: python -m tests.infra.message_schema"


def test_the_schema_is_for_one_client(deployment: Deployment) -> None:
    schema = every(starter(deployment)["actions"])["Read_message"]["inputs"]["schema"]
    wanted = message_schema()
    wanted["properties"]["client_id"]["enum"] = ["acme", None]
    assert schema == wanted
    Draft4Validator.check_schema(schema)


def accepted(body: bytes) -> bool:
    return Draft4Validator(message_schema()).is_valid(json.loads(body))


texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(texts, values, max_size=4)
messages = st.builds(
    TaskMessage,
    task_id=st.none() | st.from_regex(r"\A[a-z0-9][a-z0-9-]{7,47}\Z"),
    task_type=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
    client_id=st.none() | texts,
    payload=payloads,
    webhook_url=st.none() | texts,
    seq=st.integers(min_value=1, max_value=2**53),
    created_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    traceparent=st.none() | texts,
)
members = {
    "schema_version": st.just(1) | values,
    "task_id": st.from_regex(r"\A[a-z0-9-]{1,60}\Z") | st.just("task-0000001\n") | values,
    "task_type": texts | values,
    "client_id": texts | values,
    "payload": payloads | values,
    "webhook_url": texts | st.just("h" * 2049) | values,
    "priority": st.just("normal") | values,
    "seq": st.integers(-2, 3) | values,
    "created_at": st.just(datetime(2026, 11, 24, tzinfo=UTC).isoformat()) | values,
    "traceparent": texts | values,
    "of_another": values,
}
nearly = {"task_type": st.just("ingestion"), "payload": payloads}
anything = st.fixed_dictionaries({}, optional=members) | st.fixed_dictionaries(
    nearly, optional={name: value for name, value in members.items() if name not in nearly}
)


@given(messages)
def test_whatever_we_write_is_accepted(message: TaskMessage) -> None:
    assert accepted(message.encode())


@given(anything)
def test_what_is_accepted_is_read(fields: dict[str, Any]) -> None:
    """But for the text of `created_at`, which a schema cannot see and nobody needs."""
    body = json.dumps(fields).encode()
    if not accepted(body):
        return
    fields.pop("created_at", None)
    assert TaskMessage.decode(json.dumps(fields).encode()).task_type == fields["task_type"]


@given(anything)
def test_what_cannot_be_read_is_not_accepted(fields: dict[str, Any]) -> None:
    fields.pop("created_at", None)
    body = json.dumps(fields).encode()
    try:
        TaskMessage.decode(body)
    except DocmillError:
        assert not accepted(body)


@pytest.mark.parametrize("seq", ["2", 2.5, True, None])
def test_only_numbers_count(seq: Any) -> None:
    """Pydantic would make a number of some of these. We never write them."""
    assert not accepted(json.dumps({"task_type": "ingestion", "payload": {}, "seq": seq}).encode())
