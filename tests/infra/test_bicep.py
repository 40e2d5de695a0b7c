"""The readers of templates: expressions mean what they mean in Bicep, and nothing is passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import BicepError, read
from tests.infra.deployment import Deployment, Runtime, deploy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def made(folder: Path, text: str, **parameters: Any) -> Deployment:
    path = folder / "main.bicep"
    path.write_text(text)
    read.cache_clear()
    return deploy(read(path), **parameters)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-1 + 10 / 3", 2),
        ("1 + 2 == 3 && !false || false", True),
        ("false || true && false", False),
        ("true ? object.member : 'no'", "yes"),
        ("(false ? null : object).member", "yes"),
        ("null ?? 'other'", "other"),
        ("object.?missing ?? 'none'", "none"),
        ("list[1]", "b"),
        ("list[?7] ?? 'none'", "none"),
        ("object['member']", "yes"),
        ("'a-${list[0]}-${1}-${true}'", "a-a-1-True"),
        (r"'it\'s \n \u{41}'", "it's \n A"),
        ("'''\n${raw}\n'''", "${raw}\n"),
        ("map(filter(list, one => one != 'a'), one => toUpper(one))", ["B", "C"]),
        ("map(pairs, pair => pair.key)", ["x", "y"]),
        ("[for (one, i) in list: '${i}${one}']", ["0a", "1b", "2c"]),
        ("{ 'quoted': 1, plain: 2 }", {"quoted": 1, "plain": 2}),
        ("union({ a: 1, b: { c: 1 } }, { b: { d: 2 } })", {"a": 1, "b": {"c": 1, "d": 2}}),
        ("joined('-', list)", "a-b-c"),
        ("sys.toLower('A')", "a"),
        ("split('a,b', ',')", ["a", "b"]),
    ],
)
def test_an_expression(folder: Path, expression: str, value: Any) -> None:
    found = made(
        folder,
        "var list = ['a', 'b', 'c']\nvar object = { member: 'yes' }\nvar pairs = items({ y: 1, x: 2 })\n"
        "func joined(by string, what array) string => join(what, by)\n"
        f"output it string = {expression}\n",
    )
    assert found.outputs["it"] == value


def test_resources_are_expanded_with_their_whole_names(folder: Path) -> None:
    found = made(
        folder,
        """
param clients array
resource account 'A.B/accounts@2024-01-01' = { // said beside it
  name: 'one'
  properties: { address: outer.properties.address }
}
resource outer 'A.B/others@2024-01-01' existing = {
  name: 'outer'
}
resource queues 'A.B/accounts/queues@2024-01-01' = [
  for (client, i) in clients: if (client != 'none') {
    parent: account
    name: '${client}-tasks'
    properties: { number: i }
  }
]
output first string = queues[0].id
""",
        clients=["acme", "none"],
    )
    account, queue = found.resources
    assert queue.name == "one/acme-tasks" and queue.properties == {"number": 0}
    assert queue.id.endswith("/resourceGroups/rg/providers/A.B/accounts/one/queues/acme-tasks")
    assert found.outputs["first"] == queue.id
    address = account.properties["address"]
    assert isinstance(address, Runtime) and address == "outer.properties.address"


def test_modules_are_deployments_of_their_own(folder: Path) -> None:
    (folder / "inner.bicep").write_text(
        "param name string\nresource it 'A.B/c@2024-01-01' = { name: name }\noutput id string = it.id\n"
    )
    found = made(
        folder,
        """
targetScope = 'subscription'
resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = { name: 'mine', location: 'here' }
module inner 'inner.bicep' = { scope: group, name: 'inner', params: { name: 'x' } }
module absent 'inner.bicep' = if (false) { scope: group, name: 'absent', params: { name: 'y' } }
output id string = inner.outputs.id
output other string = false ? absent!.outputs.id : ''
""",
    )
    assert [one.name for one in found.resources] == ["mine", "x"]
    assert found.outputs["id"].endswith("/resourceGroups/mine/providers/A.B/c/x")
    assert found.outputs["other"] == ""


def test_what_a_template_declares(folder: Path) -> None:
    path = folder / "main.bicep"
    path.write_text(
        "@description('Secret.')\n@secure()\nparam key string = ''\n"
        "@secure()\noutput told string = account.listKeys().a\n"
        "resource account 'A.B/c@2024-01-01' existing = { name: 'x' }\n"
    )
    template = read(path)
    assert template.parameters["key"].secure and template.outputs["told"].secure
    assert template.calls == {"listKeys"}
    account = template.resources["account"]
    assert (account.type, account.api_version, account.existing) == ("A.B/c", "2024-01-01", True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("param a string\n", "the parameter a is not given"),
        ("@allowed(['x'])\nparam a string = 'y'\n", "breaks @allowed"),
        ("@minLength(2)\nparam a array = []\n", "breaks @minLength"),
        ("output a string = b\n", "there is no b"),
        ("output a string = sha512('x')\n", "unknown function sha512"),
        ("output a string = { b: 1 }.c\n", "there is no member c"),
        ("var a = [1][2]\noutput b int = a\n", "there is no element 2"),
        ("module m 'gone.bicep' = { name: 'm' }\n", "gone.bicep"),
        ("var a = \n", "main.bicep:1"),
        ("resource a 'b' = {\n  name: \n}\n", "main.bicep:"),
        ("resource a 'B.C/d@2024-01-01' = { name: 'a', ...b }\n", "main.bicep:1"),
    ],
)
def test_a_wrong_template_is_said_to_be_wrong(folder: Path, text: str, problem: str) -> None:
    with pytest.raises((BicepError, OSError), match=problem.replace("(", r"\(")):
        made(folder, text)


def test_a_parameter_that_is_not_there(folder: Path) -> None:
    with pytest.raises(BicepError, match="there is no parameter"):
        made(folder, "param a string = ''\n", b="x")
