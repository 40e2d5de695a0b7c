"""What stands beside the worker's code says what the code does: .env.example, Dockerfile, .dockerignore."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from shared.settings import Settings, environment_names

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "worker/.env.example"
LINE = re.compile(r"#?([A-Za-z_]+)=(.*)")
OTHERS = {"DOCMILL_PORT", "PYTHON_THREADPOOL_THREAD_COUNT", "TMPDIR"}
"""Read by Python and by `python -m worker`, not by the app."""


def lines() -> list[str]:
    return EXAMPLE.read_text().splitlines()


def shown(default: Any) -> str:
    """As a variable has it; nothing for a setting without a default."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def test_the_example_has_every_setting_with_its_default() -> None:
    found = {match[1]: match[2] for line in lines() if (match := LINE.fullmatch(line))}
    expected = {
        names[0]: shown(Settings.model_fields[field].default) for field, names in environment_names().items()
    }
    assert {name: value for name, value in found.items() if name not in OTHERS} == expected
    assert set(found) >= OTHERS


def test_every_name_is_in_the_example() -> None:
    text = EXAMPLE.read_text()
    assert not [name for names in environment_names().values() for name in names if name not in text]


def test_every_variable_is_explained() -> None:
    """The line before is a comment, and none is explained twice."""
    before, names = "", []
    for line in lines():
        if match := LINE.fullmatch(line):
            assert before.startswith("# "), line
            names.append(match[1])
        before = line
    assert len(names) == len(set(names))


def test_what_is_set_is_left_to_the_operator() -> None:
    """As it stands it sets nothing: an empty value counts as unset."""
    assert set(dotenv_values(EXAMPLE, interpolate=False).values()) == {""}


def test_systemd_and_docker_read_it_as_we_do() -> None:
    """Neither takes a remark behind a value, and Docker keeps quotes."""
    for line in lines():
        if match := LINE.fullmatch(line):
            assert " #" not in match[2] and not set("\"'\\") & set(match[2]), line
        else:
            assert not line or line == "#" or line.startswith("# "), line


# --- Dockerfile ---


def instructions() -> list[tuple[str, str]]:
    """Instruction and rest of each, continued lines joined, comments left out."""
    text = "\n".join(
        line for line in (ROOT / "worker/Dockerfile").read_text().splitlines() if not line.startswith("#")
    )
    joined = re.sub(r"\\\n\s*", "", text)
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        if name:
            found[name].append((word, rest))
    return found


def inherited(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, those of the stages that it builds on first."""
    stage = stages()[name]
    base = stage[0][1].split(" AS ")[0]
    return [*(inherited(base) if base in stages() else []), *stage]


def of(name: str, word: str) -> list[str]:
    return [rest for found, rest in inherited(name) if found == word]


def copied() -> set[str]:
    """What the images take out of the project's folder."""
    words = [rest.split() for word, rest in instructions() if word == "COPY" and "--from=" not in rest]
    return {source for sources in words for source in sources[:-1]}


flavour = pytest.mark.parametrize("name", ["slim", "full"])


@flavour
def test_the_image_does_not_run_as_root(name: str) -> None:
    user = of(name, "USER")[-1]
    assert user.partition(":")[0].isdecimal() and int(user.partition(":")[0]) > 0  # Kubernetes wants a number
    after = [word for word, _ in inherited(name)]
    assert "RUN" not in after[after.index("USER") :]


@flavour
def test_the_image_starts_the_worker_in_exec_form(name: str) -> None:
    [entry], [command], [check] = of(name, "ENTRYPOINT"), of(name, "CMD"), of(name, "HEALTHCHECK")
    assert json.loads(entry) == ["tini", "--", "python", "-m", "worker"]
    assert json.loads(check.split("CMD ")[1]) == ["python", "-m", "worker.healthcheck"]
    assert of(name, "STOPSIGNAL") == ["SIGTERM"]

    from worker.__main__ import _parser

    _parser().parse_args(json.loads(command))


@flavour
def test_the_final_image_has_no_compiler_and_no_cache(name: str) -> None:
    for command in of(name, "RUN"):
        assert "gcc" not in command and "build-essential" not in command
        if "apt-get" in command:
            assert "--no-install-recommends" in command and "rm -rf /var/lib/apt/lists/*" in command
    assert not [command for command in of(name, "RUN") if "pip install" in command]


def test_the_flavours_have_what_they_are_named_for() -> None:
    built = {name: " ".join(rest for _, rest in inherited(name)) for name in ("build", "build-full")}
    assert "requirements-ocr.txt" not in built["build"]
    for name in ("standard", "ocr", "local-models", "worker"):
        assert f"requirements-{name}.txt" in built["build-full"]
    assert any("--from=build-full /opt/docmill/venv" in rest for rest in of("full", "COPY"))
    assert any("--from=build /opt/docmill/venv" in rest for rest in of("slim", "COPY"))
    assert list(stages())[-1] == "slim"  # what is built when no target is named


def test_the_base_is_pinned() -> None:
    [tag] = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("PYTHON_TAG=")]
    assert re.fullmatch(r"PYTHON_TAG=3\.1[1-4]-slim-[a-z]+", tag)
    bases = {stage[0][1].split(" AS ")[0] for stage in stages().values()}
    assert bases - set(stages()) == {"python:${PYTHON_TAG}"}


def test_what_is_copied_is_there() -> None:
    for source in copied():
        assert list(ROOT.glob(source)), source


def test_image_and_installation_hold_the_same() -> None:
    script = (ROOT / "worker/install.sh").read_text()
    folders = re.findall(r'^FOLDERS="(.*)"', script, re.MULTILINE)[0].split()
    files = re.findall(r'^FILES="(.*)"', script, re.MULTILINE)[0].split()
    requirements = {"requirements.txt", "requirements-worker.txt", "requirements-*.txt"}
    # The image installs no package of the project, which is what the readme is needed for.
    assert {*folders, *files} - {"README.md"} == copied() - requirements


# --- .dockerignore ---


def ignored(path: str) -> bool:
    """Docker's rules: the last pattern that matches a path, or a folder that it lies in, decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            parts = path.split("/")
            above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
            if any(matches(pattern.removeprefix("!"), one) for one in above):
                out = not pattern.startswith("!")
    return out


def matches(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern.removeprefix("**/"))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".local/env",
        ".venv/bin/python",
        "local.settings.json",
        "local/secrets.py",
        "tests/conftest.py",
        "worker/.env",
        "worker/acme.env",
        "shared/__pycache__/core.cpython-312.pyc",
        "api/.venv/bin/python",
        "anything-new",
    ],
)
def test_the_image_gets_no_secret_and_no_state(path: str) -> None:
    assert ignored(path)


def test_the_image_gets_what_it_copies() -> None:
    for source in copied():
        for found in ROOT.glob(source):
            assert not ignored(str(found.relative_to(ROOT))), found
    for path in tracked():
        if path.split("/")[0] in copied():
            assert not ignored(path), path


def tracked() -> Iterator[str]:
    for folder in sorted(name for name in copied() if (ROOT / name).is_dir()):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(ROOT))


def test_install_sh_is_a_shell_script_that_parses() -> None:
    script = ROOT / "worker/install.sh"
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", script], check=True, timeout=10)
