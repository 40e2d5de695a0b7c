"""infra/main.bicep, expanded with parameters as azd would give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.infra.bicep import read
from tests.infra.deployment import Deployment, deploy

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
MAIN = INFRA / "main.bicep"
CLIENTS = ["acme", "globex"]
GIVEN: dict[str, Any] = {
    "environmentName": "test",
    "location": "westeurope",
    "supabaseUrl": "https://project.supabase.co",
    "clientIds": "acme, globex,",
    "principalId": "operator",
}
SECRETS = {"supabaseKey": "SECRET-1", "openAiApiKey": "SECRET-2", "secretsKey": "SECRET-3"}
WIDE: dict[str, Any] = {
    **SECRETS,
    "useVnet": True,
    "useAzureOpenAi": True,
    "monthlyBudget": 100,
    "alertEmail": "operator@example.com",
    "allowedAddresses": "203.0.113.7, 198.51.100.0/24",
    "uploadOrigins": "https://app.example.com",
    "httpAlwaysReady": 1,
    "tasksAlwaysReady": 2,
}

ACCOUNT = "Microsoft.Storage/storageAccounts"
VAULT = "Microsoft.KeyVault/vaults"
OPENAI = "Microsoft.CognitiveServices/accounts"
APP = "Microsoft.Web/sites"
ACTION_GROUP = "Microsoft.Insights/actionGroups"


def deployed(**parameters: Any) -> Deployment:
    return deploy(read(MAIN), **{**GIVEN, **parameters})


def last_names(found: Deployment, kind: str) -> set[str]:
    """Of what lies below the storage account."""
    return {one.name.rpartition("/")[2] for one in found.of(f"{ACCOUNT}/{kind}")}
