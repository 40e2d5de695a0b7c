"""Every property in infra/ is one that Azure publishes, and every value one of its values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.infra.deployment import Deployment
from tests.infra.docmill import ACCOUNT, deployed
from tests.infra.published import unknown


def test_every_property_is_one_that_azure_has(made: Deployment) -> None:
    wrong = [problem for one in made.resources for problem in unknown(one)]
    assert wrong == []


def test_the_check_of_properties_sees_what_is_wrong() -> None:
    account = deployed().one(ACCOUNT)

    def changed(**properties: Any) -> list[str]:
        return list(unknown(replace(account, body={**account.body, "properties": properties})))

    assert changed(allowSharedKeyAccess=False) == []
    assert changed(allowSharedKeys=False) == [f"{ACCOUNT}.properties.allowSharedKeys is unknown"]
    assert changed(minimumTlsVersion="TLS9") != []
    assert changed(networkAcls="Deny") != []
    assert changed(provisioningState="Succeeded") != []
