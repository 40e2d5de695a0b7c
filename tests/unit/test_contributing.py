"""The example of a task type in CONTRIBUTING.md is true: its handler and its test are read and run."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import handlers
from tests.services import registered

PAGE = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()
NAME = "handlers.word_count"


def block(path: str) -> str:
    """The Python block whose first line names this file."""
    found = re.search(rf"^```python\n# {re.escape(path)}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"CONTRIBUTING.md has no block for {path}"
    return found[1]


def module(name: str, path: str) -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(block(path), f"CONTRIBUTING.md: {path}", "exec"), made.__dict__)
    return made


@pytest.fixture
def example() -> Iterator[list[Callable[[], None]]]:
    """The tests of the page, with its handler registered."""
    try:
        with registered("word_count", NAME):
            module(NAME, "handlers/word_count.py")
            tests = module("test_word_count", "tests/unit/test_word_count.py")
            yield [test for name, test in vars(tests).items() if name.startswith("test_")]
    finally:
        sys.modules.pop(NAME, None)
        sys.modules.pop("test_word_count", None)


def test_the_example_runs(example: list[Callable[[], None]]) -> None:
    assert len(example) == 2
    for test in example:
        test()


def test_the_example_is_a_handler_like_the_others(example: list[Callable[[], None]]) -> None:
    handler = handlers.load("word_count")
    assert sum(handler.STAGES.values()) == 100
    assert handler.Payload.model_config.get("extra") == "forbid"


def test_the_line_of_the_registry_looks_like_the_others() -> None:
    assert f'    "word_count": "{NAME}",\n' in PAGE
    assert '    "ingestion": "handlers.ingestion",\n' in inspect.getsource(handlers)
