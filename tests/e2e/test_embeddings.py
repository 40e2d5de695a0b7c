"""From a file to a found passage with each choice of embeddings: runner, database and search route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from api.search import search
from api.shapes import MatchShape, SearchRequest, SearchShape
from local.stack import Stack
from shared.core import Core
from shared.tasks import TaskStatus
from tests.e2e.inside import attempted, client_of, core_on, given, stored
from tests.model_server import running

PASSAGES = (
    "The mill is closed on Sundays and on public holidays.",
    "Die Fähre fährt nicht, wenn der Wind stärker als 20 Meter pro Sekunde ist.",
    "Travel is paid with 42 cents for each kilometre in one's own car.",
)


@contextmanager
def over_http(stack: Stack, **settings: str) -> Iterator[Core]:
    with (
        running() as server,
        core_on(stack, MODEL_PROVIDER="openai", OPENAI_BASE_URL=server.url, **settings) as core,
    ):
        yield core


def ingested(core: Core) -> dict[str, Any]:
    text = "\n\n".join(f"{passage} {'It is so. ' * 30}" for passage in PASSAGES)
    task = attempted(core, given(core, stored(core, text), chunk_tokens=110))
    assert task.status is TaskStatus.SUCCEEDED, task.error
    result: dict[str, Any] = json.loads(core.blobs.read(str(task.result_blob)))
    assert result["chunks"] >= 3
    return result


def found(core: Core, client: str, question: str) -> list[MatchShape]:
    answer = search(core, client, SearchRequest(query=question, mode="vector", top_k=3))
    return SearchShape.model_validate_json(answer.body).matches


def best(core: Core, question: str) -> str:
    return str(found(core, client_of(core), question)[0].content)


@pytest.mark.parametrize(
    ("settings", "model", "dimensions"),
    [
        ({"OPENAI_EMBEDDING_DIMENSIONS": "3072"}, "text-embedding-3-small@3072", 3072),
        (
            {"OPENAI_EMBEDDING_MODEL": "text-embedding-3-large", "OPENAI_EMBEDDING_DIMENSIONS": "3072"},
            "text-embedding-3-large",
            3072,
        ),
        ({"OPENAI_EMBEDDING_DIMENSIONS": "768"}, "text-embedding-3-small@768", 768),
    ],
)
def test_dimensions_by_setting(stack: Stack, settings: dict[str, str], model: str, dimensions: int) -> None:
    with over_http(stack, **settings) as core:
        result = ingested(core)
        assert (result["embedding_model"], result["dimensions"]) == (model, dimensions)
        assert result["usage"]["embedding_tokens"] > 0
        assert best(core, "Is the mill closed on Sundays?").startswith("The mill is closed")


def test_a_question_in_one_language_finds_a_passage_in_another(stack: Stack) -> None:
    with core_on(stack, MODEL_PROVIDER="local", LOCAL_EMBEDDING_MODEL="e5-small") as core:
        result = ingested(core)
        assert (result["embedding_model"], result["dimensions"]) == ("multilingual-e5-small-q4", 384)
        assert "Die Fähre fährt nicht" in best(core, "At which wind is the ferry cancelled?")
        assert "Travel is paid" in best(core, "Wie viel bekommt man für jeden gefahrenen Kilometer?")


def test_a_change_of_the_local_model_is_a_change_of_the_index(stack: Stack) -> None:
    with core_on(stack, MODEL_PROVIDER="local") as core:
        result = ingested(core)
        models = Core(core.settings.model_copy(update={"local_embedding_model": "e5-small"}))
        try:
            client, name = client_of(core), result["embedding_model"]
            assert best(core, "Is the mill closed on Sundays?").startswith("The mill")
            assert (name, found(models, client, "mill")) == ("all-minilm-l6-v2-int8", [])
        finally:
            models.close()
