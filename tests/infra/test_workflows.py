"""The workflows of GitHub Actions: valid, and as careful as they can be seen to be from here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
PINNED = re.compile(r"^[\w-]+/[\w-]+@[0-9a-f]{40}$")
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)

Job = dict[str, Any]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def jobs(path: Path) -> dict[str, Job]:
    found: dict[str, Job] = read(path)["jobs"]
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job.get("steps", [])


def test_all_three_are_there() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "deploy.yml", "worker-image.yml"]


@each_workflow
def test_it_is_valid(path: Path) -> None:
    """By the schema that check-jsonschema ships."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_in_them_is_known_to_be_unsafe() -> None:
    """Injection, permissions, credentials that are left behind, artifacts that anybody could have made."""
    command = [BIN / "zizmor", "--offline", "--quiet", "--no-config", "--min-severity", "medium", *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_every_action_is_pinned_by_its_commit() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for line in re.findall(r"uses: (.*)", path.read_text()):
            if line.startswith("./"):
                continue
            action, _, version = line.partition(" # ")
            assert PINNED.match(action) and re.fullmatch(r"v\d+\.\d+\.\d+", version), line
            pins.setdefault(action.partition("@")[0].lower(), set()).add(line.partition("@")[2])
    assert pins and all(len(versions) == 1 for versions in pins.values()), pins


@each_workflow
def test_each_job_has_only_the_permissions_that_it_names(path: Path) -> None:
    assert read(path)["permissions"] == {}
    for name, job in jobs(path).items():
        assert job["permissions"]["contents"] == "read", name
        writes = {scope for scope, level in job["permissions"].items() if level != "read"}
        signs_in = "azure/login@" in str(job) or "azd auth login" in str(job)
        assert writes == ({"id-token"} if signs_in else set()), name
        assert not signs_in or job["environment"], name


@each_workflow
def test_no_text_from_outside_becomes_a_command(path: Path) -> None:
    """What an expression gives goes by an environment variable: in a script it would be code."""
    for step in steps(path):
        assert "${{" not in step.get("run", ""), step
    assert "pull_request_target" not in path.read_text() and "workflow_run:" not in path.read_text()


@each_workflow
def test_nothing_runs_for_ever_or_beside_itself(path: Path) -> None:
    workflow = read(path)
    assert workflow["concurrency"]["group"]
    assert workflow["defaults"]["run"]["shell"].split()[0] == "bash"  # with pipefail; the default has none
    for job in jobs(path).values():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 120
    for step in steps(path):
        if "checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_secrets_and_variables_are_those_of_the_table() -> None:
    used = {"secret": set[str](), "variable": set[str]()}
    for path in WORKFLOWS:
        text = path.read_text()
        used["secret"] |= set(re.findall(r"\bsecrets\.([A-Z_]+)", text))
        used["variable"] |= set(re.findall(r"\bvars\.([A-Z_]+)", text))
    table: dict[str, set[str]] = {"secret": set(), "variable": set()}
    for name, kind in re.findall(r"^\| `([A-Z_]+)` \| (secret|variable) \|", docs(), re.MULTILINE):
        assert name not in table[kind], name
        table[kind].add(name)
    assert table == used


def test_what_is_required_is_asked_for_first() -> None:
    deploy = jobs(ROOT / ".github/workflows/deploy.yml")["deploy"]
    asked = set(re.findall(r"\b(?:AZURE|DOCMILL)_[A-Z_]+", deploy["steps"][0]["run"]))
    required = set(re.findall(r"^\| `([A-Z_]+)` \| \w+ \| yes \|", docs(), re.MULTILINE))
    assert asked == required


def docs() -> str:
    return (ROOT / "docs" / "ci.md").read_text()


# --- the deployment --------------------------------------------------------------------------------------


def deployment() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = jobs(ROOT / ".github/workflows/deploy.yml")["deploy"]["steps"]
    return found


def place(word: str) -> int:
    (found,) = (number for number, step in enumerate(deployment()) if word in step.get("name", ""))
    return found


def test_a_package_is_good_only_after_it_was_tried_out() -> None:
    tried, kept, back = place("Try it out"), place("last good one"), place("Back to")
    assert place("Deploy") < tried < kept < back
    assert "if" not in deployment()[kept]  # so it is skipped after any failure
    assert "azd provision" not in str(deployment()[place("Deploy") :])


def test_what_goes_back_is_the_package_and_by_the_same_way() -> None:
    back = deployment()[place("Back to")]
    assert back["if"].startswith("failure() && ") and "always()" not in back["if"]
    for step in ("deploy", "smoke"):
        assert f"steps.{step}.outcome == 'failure'" in back["if"]
    forwards = deployment()[place("Deploy")]["run"].strip()
    assert forwards.replace("dist/", "good/") in back["run"]
    assert "cli smoke" in back["run"] and "last_good.py" in back["run"]


def test_the_package_is_built_once_and_for_main_alone() -> None:
    text = (ROOT / ".github/workflows/deploy.yml").read_text()
    assert text.count("azd package") == 1 and "azd up" not in text
    package = jobs(ROOT / ".github/workflows/deploy.yml")["package"]
    assert "github.ref == 'refs/heads/main'" in package["if"]
    assert jobs(ROOT / ".github/workflows/deploy.yml")["deploy"]["needs"] == ["check", "package"]


def test_the_package_is_made_by_the_python_of_the_app() -> None:
    """Else its modules would not be compiled, or for another Python."""
    hook = (ROOT / "infra/hooks/prepackage.py").read_text()
    (wanted,) = re.findall(r'^PYTHON = "(3\.\d+)"', hook, re.MULTILINE)
    assert re.search(rf"version: '{re.escape(wanted)}'", (ROOT / "infra/modules/app.bicep").read_text())
    package = jobs(ROOT / ".github/workflows/deploy.yml")["package"]
    (setup,) = (step for step in package["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"]["python-version"] == wanted


# --- the image -------------------------------------------------------------------------------------------


def test_an_image_is_the_latest_only_after_it_was_verified() -> None:
    path = ROOT / ".github/workflows/worker-image.yml"
    names = [step.get("name", "") for step in steps(path)]
    order = ["Build", "It starts", "Push under its commit", "The registry has what was built",
             "One task in a container group", "Now it is the latest"]  # fmt: skip
    assert [name for name in names if name in order] == order


def test_an_image_is_built_when_anything_in_it_changes() -> None:
    """The paths of the trigger are what .dockerignore lets in."""
    paths = set(
        read(ROOT / ".github/workflows/worker-image.yml")[True]["push"]["paths"]
    )  # YAML reads `on` so
    inside = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in inside - {"LICENSE", "pyproject.toml", "requirements.txt"}:
        assert {name, f"{name}/**", name.replace("-*", "*")} & paths, name
