"""Does the app get its secrets? Azure puts them in the place of references to the vault.

It does so as the app's identity, whose role for the vault may not hold yet when the settings are made. It
looks again a day later; until then the app has the text of the reference for a secret, and does not start. So
it is told to look again, until it may.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core import PipelineClient
    from azure.core.credentials import TokenCredential
    from azure.core.rest import HttpRequest, HttpResponse

    Client = PipelineClient[HttpRequest, HttpResponse]

MANAGEMENT = "https://management.azure.com"
VERSION = {"api-version": "2022-03-01"}
REFUSED = {"AccessToKeyVaultDenied", "UnauthorizedClient"}
MISSING = {"InvalidSyntax", "SecretNotFound", "SecretVersionNotFound", "VaultNotFound"}
PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 15.0


class SecretMissing(Exception):
    """The vault has nothing for a setting, and waiting does not change that."""


def client_of(credential: TokenCredential) -> Client:
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy

    return PipelineClient(
        MANAGEMENT, policies=[BearerTokenCredentialPolicy(credential, f"{MANAGEMENT}/.default")]
    )


def await_secrets(
    client: Client,
    site: str,
    *,
    patience: float = PATIENCE_SECONDS,
    pause: float = PAUSE_SECONDS,
    say: Callable[[str], None] = print,
) -> None:
    """Says how it ended. `site`: the app's resource id. Raises SecretMissing. What Azure does not answer is
    passed over: the app may have all that it needs."""
    from azure.core.exceptions import AzureError

    until, told = time.monotonic() + patience, False
    while True:
        try:
            states = read(client, site)
        except (AzureError, LookupError, TypeError, ValueError) as error:
            say(f"Secrets: Azure does not say whether the app has them ({type(error).__name__}).")
            return
        if missing := _those(states, MISSING):
            raise SecretMissing(f"The vault has nothing for {missing}: azd env set it, then azd provision")
        refused = _those(states, REFUSED)
        if not refused:
            say("Secrets: the app gets them.")
            return
        if time.monotonic() > until:
            say(f"Secrets: the app may not read {refused} yet. azd hooks run postprovision looks again.")
            return
        if not told:
            say("The app's role for the vault does not hold yet. That takes up to ten minutes: waiting.")
        told = True
        time.sleep(pause)


def read(client: Client, site: str) -> dict[str, str]:
    """Setting -> how its reference fared, after Azure was told to look again."""
    from azure.core.rest import HttpRequest

    references = client.format_url(f"{site}/config/configreferences/appsettings")
    client.send_request(HttpRequest("POST", f"{references}/refresh", params=VERSION)).raise_for_status()
    answer = client.send_request(HttpRequest("GET", references, params=VERSION))
    answer.raise_for_status()
    return {one["name"]: one["properties"]["status"] for one in answer.json()["value"]}


def _those(states: dict[str, str], among: set[str]) -> str:
    return ", ".join(sorted(name for name, state in states.items() if state in among))
