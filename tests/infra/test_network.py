"""The network of infra/main.bicep: nothing of it, or everything behind private endpoints."""

from __future__ import annotations

from tests.infra.deployment import Deployment
from tests.infra.docmill import ACCOUNT, APP, OPENAI, VAULT, WIDE, deployed


def test_without_a_network_there_is_none() -> None:
    found = deployed(useAzureOpenAi=True)
    assert not [one for one in found.resources if one.type.startswith("Microsoft.Network/")]
    assert public_access(found) == {"Enabled"}
    assert found.one(APP).properties["virtualNetworkSubnetId"] is None


def public_access(found: Deployment) -> set[str]:
    behind = (ACCOUNT, VAULT, OPENAI)
    return {one.properties["publicNetworkAccess"] for kind in behind for one in found.of(kind)}


def test_behind_the_network_everything_has_a_private_endpoint() -> None:
    found = deployed(useVnet=True, useAzureOpenAi=True)
    assert public_access(found) == {"Disabled"}
    targets = {
        (connection["properties"]["privateLinkServiceId"], *connection["properties"]["groupIds"])
        for one in found.of("Microsoft.Network/privateEndpoints")
        for connection in one.properties["privateLinkServiceConnections"]
    }
    account = found.one(ACCOUNT).id
    assert targets == {
        (account, "blob"),
        (account, "queue"),
        (account, "table"),
        (found.one(VAULT).id, "vault"),
        (found.one(OPENAI).id, "account"),
    }
    zones = {one.id for one in found.of("Microsoft.Network/privateDnsZones")}
    groups = found.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    configs = [config for group in groups for config in group.properties["privateDnsZoneConfigs"]]
    used = {config["properties"]["privateDnsZoneId"] for config in configs}
    assert used == zones and len(zones) == 5


def test_the_app_goes_out_by_its_subnet() -> None:
    found = deployed(useVnet=True)
    network = found.one("Microsoft.Network/virtualNetworks")
    app, endpoints = network.properties["subnets"]
    assert found.one(APP).properties["virtualNetworkSubnetId"] == f"{network.id}/subnets/app"
    assert app["properties"]["delegations"][0]["properties"]["serviceName"] == "Microsoft.App/environments"
    assert app["properties"]["natGateway"]["id"] == found.one("Microsoft.Network/natGateways").id
    assert app["properties"]["addressPrefix"] == "10.77.0.0/26"
    assert endpoints["properties"]["addressPrefix"] == "10.77.0.64/26"


def test_named_addresses_reach_a_private_account() -> None:
    rules = deployed(**WIDE).one(ACCOUNT).properties
    assert rules["publicNetworkAccess"] == "Enabled"
    assert rules["networkAcls"]["defaultAction"] == "Deny"
    assert [one["value"] for one in rules["networkAcls"]["ipRules"]] == ["203.0.113.7", "198.51.100.0/24"]
