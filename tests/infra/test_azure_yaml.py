"""azure.yaml and main.parameters.json: what azd reads fits its schema, the template and the hooks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.infra.bicep import read
from tests.infra.deployment import deploy
from tests.infra.docmill import APP, GIVEN, INFRA, MAIN, ROOT, deployed

SCHEMA = json.loads((Path(__file__).parent / "azure_yaml.schema.json").read_text())
PARAMETERS: dict[str, str] = {
    name: given["value"]
    for name, given in json.loads((INFRA / "main.parameters.json").read_text())["parameters"].items()
}
ASKED = {"environmentName", "location", "supabaseUrl"}
"""What azd asks for when it is not set."""
INSIDE = {"clients", "now"}
"""Parameters that azd does not give: they follow from others."""


def azure_yaml() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text())
    return found


def test_azure_yaml_fits_its_schema() -> None:
    jsonschema.validate(azure_yaml(), SCHEMA)


def test_the_service_is_the_app_of_the_template() -> None:
    ((name, service),) = azure_yaml()["services"].items()
    assert deployed().one(APP).body["tags"]["azd-service-name"] == name
    assert (ROOT / service["project"] / "host.json").is_file()
    infra = azure_yaml()["infra"]
    assert ROOT / infra["path"] / f"{infra['module']}.bicep" == MAIN


def test_hooks_are_programs_that_are_there() -> None:
    for hook in azure_yaml()["hooks"].values():
        for system, python in (("posix", "python3"), ("windows", "python")):
            program, script = shlex.split(hook[system]["run"])
            assert program == python
            assert (ROOT / script).is_file()
            assert "continueOnError" not in hook[system]


def test_every_parameter_has_a_value_and_no_other() -> None:
    assert set(PARAMETERS) == set(read(MAIN).parameters) - INSIDE


def test_what_azd_gives_when_nothing_is_set_is_what_the_template_has() -> None:
    for name, text in PARAMETERS.items():
        match = re.fullmatch(r"\$\{(?P<variable>[A-Z_]+)(?:=(?P<default>[^}]*))?\}", text)
        assert match is not None, name
        parameter = read(MAIN).parameters[name]
        if name in ASKED:
            assert match["default"] is None and parameter.default is None
        else:
            assert parameter.default is not None
            assert converted(match["default"], parameter.type) == parameter.default.value


def converted(text: str, kind: str) -> str | int | bool:
    """As azd gives a text to a parameter of that type."""
    if kind == "bool":
        return {"true": True, "false": False}[text]
    return int(text) if kind == "int" else text


def test_secrets_have_no_default_but_nothing() -> None:
    for name, parameter in read(MAIN).parameters.items():
        if parameter.secure:
            assert PARAMETERS[name].endswith("=}")


def test_the_template_takes_what_azd_gives() -> None:
    parameters = read(MAIN).parameters
    values = {
        name: converted(text.partition("=")[2].rstrip("}"), parameters[name].type)
        for name, text in PARAMETERS.items()
        if name not in ASKED
    }
    assert deploy(read(MAIN), **{**GIVEN, **values}).outputs["DOCMILL_CLIENT_IDS"] == "default"
