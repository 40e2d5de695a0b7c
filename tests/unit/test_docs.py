"""The papers say what the code does: settings, errors, routes, commands, links, the webhook example."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import typer.main

from shared import delivery, errors, runner, signing
from shared.measures import METRICS
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE
from shared.retry import RetryPolicy
from shared.settings import Settings, environment_names
from shared.submission import Submission, submit
from tests.services import memory_services, registered

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = "docs/operations.md"
PAPERS = sorted(
    path
    for folder in ("", "docs", "infra/aci", "monitoring", "worker")
    for path in (ROOT / folder).glob("*.md")
)
RETRIED = {errors.NEVER: "no", errors.ONCE: "once", errors.ALWAYS: "yes"}

each_paper = pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))


def read(name: str) -> str:
    return (ROOT / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under a heading of level two."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> Iterator[list[str]]:
    """Cells of the table rows that begin with code."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def shell(text: str) -> Iterator[str]:
    """Commands of the bash blocks, also of those in lists, continued lines joined."""
    for _, block in re.findall(r"^( *)```bash\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


def test_every_setting_is_explained_with_its_default() -> None:
    explained = {cells[0]: cells[1] for cells in rows(section(read("docs/configuration.md"), "Settings"))}
    expected = {
        " or ".join(f"`{name}`" for name in names): shown(Settings.model_fields[field].default)
        for field, names in environment_names().items()
    }
    assert explained == expected


def test_every_metric_is_explained_with_its_labels() -> None:
    explained = {
        code(cells[0])[0]: tuple(code(cells[1])) for cells in rows(section(read(OPERATIONS), "Metrics"))
    }
    assert explained == {name: metric.labels for name, metric in METRICS.items()}


def shown(default: Any) -> str:
    if default is None:
        return "not set"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{','.join(map(str, default))}`" if isinstance(default, tuple) else f"`{default}`"


def kinds(kind: type[errors.DocmillError]) -> Iterator[type[errors.DocmillError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from kinds(child)


def test_every_error_is_explained_with_its_consequences() -> None:
    explained = {
        code(cells[0])[0]: (cells[1], cells[2]) for cells in rows(section(read("docs/api.md"), "Errors"))
    }
    expected = {
        kind.code: (str(kind.status), RETRIED[kind.retries])
        for kind in kinds(errors.DocmillError)
        if "code" in vars(kind)
    }
    assert explained == expected


def test_every_route_is_listed() -> None:
    from api.app import create_app

    services: Any = memory_services()
    paths = create_app(services).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {code(cells[0])[0] for cells in rows(section(read("docs/api.md"), "Routes"))} == served


def test_the_pauses_are_those_of_the_policy() -> None:
    policy = RetryPolicy()
    most = [policy.delay(errors.TaskTimeout(), attempt, 5, roll=1) for attempt in range(1, 5)]
    assert most == [5, 10, 20, 40] and policy.cap == 15 * 60
    assert "at most 5 s after the first attempt, then 10, 20, 40 s" in read("docs/api.md")


@each_paper
def test_commands_exist(paper: Path) -> None:
    from cli.app import app

    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for command in shell(paper.read_text()):
        words = shlex.split(command, comments=True)
        if words and words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, command
        elif words and words[0] == "docmill":
            check(typer.main.get_command(app), words[1:])
        elif words[1:3] == ["-m", "cli"]:
            check(typer.main.get_command(app), words[3:])


def check(command: click.Command | Any, words: list[str]) -> None:
    """Fails for a subcommand or an option that there is not."""
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    options = ((*parameter.opts, *parameter.secondary_opts) for parameter in command.params)
    known = {option for names in options for option in names}
    assert {word for word in words if word.startswith("--")} <= known, words


@each_paper
def test_the_workers_options_exist(paper: Path) -> None:
    from worker.__main__ import _parser

    for command in shell(paper.read_text()):
        _, found, options = command.partition("python -m worker")
        if found:
            _parser().parse_args(shlex.split(options, comments=True))


@each_paper
def test_links_lead_somewhere(paper: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", paper.read_text()):
        assert target.startswith("https://") or (paper.parent / target).exists(), target


@each_paper
def test_anchors_lead_to_headings(paper: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https)([^)#]*)#([^)]+)\)", paper.read_text()):
        text = (paper.parent / target).read_text() if target else paper.read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_versions_of_python_are_those_that_install() -> None:
    assert 'requires-python = ">=3.11,<3.15"' in read("pyproject.toml")
    for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md"):
        assert "Python 3.11 to 3.14" in read(name)


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) < 200


@pytest.fixture
def page() -> Iterator[Any]:
    """The Python block of docs/webhooks.md as a module."""
    made = ModuleType("webhook_example")
    sys.modules[made.__name__] = made
    [block] = re.findall(r"^```python\n(.*?)^```$", read("docs/webhooks.md"), re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/webhooks.md", "exec"), made.__dict__)
    yield made
    del sys.modules[made.__name__]


def test_the_example_verifies_a_webhook_and_refuses_a_forged_one(page: Any) -> None:
    services = memory_services()
    with registered("scripted", "tests.scripted"):
        submit(services, "acme", Submission("scripted", {}, "https://example.com:8443/hook?token=secret"))
        (message,) = services.queues.receive("acme-tasks")
        runner.run(services, "acme", from_wire(message.text), message_id=message.id)
    (due,) = services.queues.receive(DELIVERIES_QUEUE)
    delivery.deliver(services, from_wire(due.text))

    [(_, body, headers)] = services.sender.sent
    secret = signing.client_secret(services, "acme")
    status, event = page.receive(secret, body, headers)
    assert (status, event["type"], event["data"]["sequence"]) == (204, "task.succeeded", 3)
    assert event["data"]["webhook"] == {"url": "https://example.com", "status": "pending"}
    assert "payload" not in event["data"]
    assert page.receive(secret, body + b" ", headers) == (401, None)
    assert page.receive(secret, body, {}) == (401, None)


def test_the_log_lines_are_those_of_the_code() -> None:
    folders = (ROOT / "shared", ROOT / "worker")
    source = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    for cells in rows(section(read("docs/operations.md"), "Logs")):
        for line in code(cells[0]):
            assert f'"{line}' in source, line


def test_the_numbers_are_those_of_host_json() -> None:
    queues = json.loads(read("host.json"))["extensions"]["queues"]
    text = section(read("docs/operations.md"), "Capacity")
    for name in ("batchSize", "newBatchThreshold", "maxDequeueCount"):
        assert f"- `{name}` {queues[name]}:" in text
    assert queues["visibilityTimeout"] == "00:00:30" and "- `visibilityTimeout` 30 s:" in text


@each_paper
def test_nothing_leads_to_this_machine(paper: Path) -> None:
    assert not re.search(r"(?<![\w.:/])/(home|root|tmp|work|Users)/", paper.read_text())
