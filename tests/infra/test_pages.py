"""docs/deployment.md and docs/migration.md say what templates, hooks and azd do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.infra.bicep import read
from tests.infra.docmill import INFRA, MAIN, ROOT, WIDE, deployed
from tests.infra.test_azure_yaml import INSIDE, PARAMETERS, azure_yaml
from tests.unit.test_docs import code, rows, section, shell

DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()
HOOKS = "".join(path.read_text() for path in sorted((INFRA / "hooks").glob("*.py")))
PAGES = [
    ROOT / name
    for name in ("docs/deployment.md", "docs/migration.md", "docs/ci.md", "infra/aci/README.md", "README.md")
]
GIVEN = re.compile(r"\$\{(\w+)(?:=(.*))?\}")
FROM_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID"}
PLATFORM = {"CI", "TF_BUILD", "AZURE_TOKEN_CREDENTIALS", "DOCMILL_HOOK_VENV"}
AZD = {
    "auth login": set(),
    "deploy": {"--from-package"},
    "down": {"--purge", "--force"},
    "env get-value": set(),
    "env get-values": set(),
    "env new": set(),
    "env refresh": set(),
    "env set": {"--file"},
    "hooks run": set(),
    "package": {"--output-path"},
    "pipeline config": set(),
    "provision": {"--preview", "--no-state"},
    "up": set(),
}
"""Commands and flags, as azd's own help has them (Azure/azure-dev, cli/azd/cmd/testdata)."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def given(text: str) -> tuple[str, str | None]:
    """A value of azd, and what it is when it is not set."""
    found = GIVEN.fullmatch(text)
    assert found is not None, text
    return found[1], found[2]


def test_every_value_is_explained_with_parameter_and_default() -> None:
    part = section(DEPLOYMENT, "Values").split("\n### ")[0]
    explained = {code(cells[0])[0]: cells for cells in rows(part)}
    hooks = {name for name, cells in explained.items() if len(cells) == 3}
    assert {name: code(cells[1])[0] for name, cells in explained.items() if name not in hooks} == {
        given(text)[0]: parameter for parameter, text in PARAMETERS.items()
    }
    for text in PARAMETERS.values():
        name, default = given(text)
        if default:
            assert explained[name][2] == f"`{default}`", name
        else:
            asked = default is None
            assert (explained[name][2] == "asked") == asked, name
    read_by_hooks = set(re.findall(r"environ(?:\.get\(|\[|, )\"([A-Z_]+)\"", HOOKS)) | {"DOCMILL_FIRST_KEYS"}
    known = {given(text)[0] for text in PARAMETERS.values()} | set(read(MAIN).outputs) | PLATFORM
    assert hooks == read_by_hooks - known


def test_the_version_of_azd_is_the_one_that_is_required() -> None:
    required = azure_yaml()["requiredVersions"]["azd"].removeprefix(">= ").removesuffix(".0")
    assert f"| `azd` {required} or newer |" in DEPLOYMENT


def test_every_output_is_explained() -> None:
    part = section(DEPLOYMENT, "Values").split("### What azd knows afterwards")[1]
    assert {name for cells in rows(part) for name in code(cells[0])} == set(read(MAIN).outputs)


def test_every_parameter_that_is_no_value_follows_from_others() -> None:
    assert set(read(MAIN).parameters) - set(PARAMETERS) == INSIDE


def test_every_type_that_is_made_is_listed_and_no_other() -> None:
    listed = [
        name
        for line in section(DEPLOYMENT, "What it makes").splitlines()
        for name in re.findall(r"`(Microsoft\.[\w./]+)`", line)
    ]
    assert len(listed) == len(set(listed))
    assert set(listed) == {one.type for one in deployed(**WIDE).resources}


def test_what_a_hook_says_is_quoted_as_it_says_it() -> None:
    said = "".join(HOOKS.split())
    for cells in rows(section(DEPLOYMENT, "When something is wrong")):
        for text in code(cells[0]):
            if re.match(r"(Docmill|The (role|database)) ?", text):
                assert "".join(text.split()) in said, text


@each_page
def test_azd_has_the_commands_and_the_values(page: Path) -> None:
    text = page.read_text()
    inline = re.findall(r"`(azd [^`]+)`", text)
    known = {given(value)[0] for value in PARAMETERS.values()} | {"SUPABASE_DB_URL", "DOCMILL_FIRST_KEYS"}
    for line in [*shell(text), *inline]:
        for call in re.findall(r"(?<![\w./-])azd [^|)\"]*(?:\"[^\"]*\")?", line):
            words = shlex.split(call.replace("...", "VALUE"), comments=True)[1:]
            command = next((name for name in (" ".join(words[:2]), words[0]) if name in AZD), None)
            assert command, call
            flags = {word for word in words if word.startswith("--")}
            assert flags <= AZD[command], call
            if command == "env set" and len(words) > 2 and "--file" not in words:
                assert words[2] in {*known, "NAME"}, call
