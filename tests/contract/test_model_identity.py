"""Azure OpenAI by managed identity: azure-identity itself, with a local token endpoint and model server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.core import Core
from shared.errors import ModelRejected, ModelUnavailable
from shared.providers.identity import EARLY, Identity, scope_of
from shared.providers.openai import OpenAIModel
from shared.settings import read_settings
from tests.model_server import ModelServer, error
from tests.model_server import running as models
from tests.token_endpoint import TokenEndpoint
from tests.token_endpoint import running as tokens

Make = Callable[..., OpenAIModel]
SCOPE = "https://cognitiveservices.azure.com/.default"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with models() as server:
        server.quick = True
        yield server


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenEndpoint]:
    with tokens() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.fixture
def make(server: ModelServer, endpoint: TokenEndpoint) -> Iterator[Make]:
    made: list[OpenAIModel] = []

    def build(**settings: object) -> OpenAIModel:
        given = {"azure_endpoint": server.url.removesuffix("/v1"), "dimensions": 384} | settings
        made.append(OpenAIModel(**given))
        return made[-1]

    yield build
    for model in made:
        model.close()


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def sent(server: ModelServer) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]


def test_one_token_serves_every_request_and_thread(
    server: ModelServer, endpoint: TokenEndpoint, make: Make
) -> None:
    model = make()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: model.embed([text], timeout=30), "abcdefgh"))
    assert sent(server) == ["token-1"] * 8
    assert [query["resource"] for query in endpoint.asked] == [SCOPE.removesuffix("/.default")]
    assert {request.path for request in server.requests} == {"/openai/v1/embeddings"}


def test_a_user_assigned_identity_is_asked_for_by_its_client_id(endpoint: TokenEndpoint, make: Make) -> None:
    make(azure_client_id="11111111-2222-3333-4444-555555555555").embed(["a"], timeout=30)
    assert endpoint.asked[0]["client_id"] == "11111111-2222-3333-4444-555555555555"


ONE, OTHER = "00000000-1111-2222-3333-444444444444", "55555555-6666-7777-8888-999999999999"
OF_STORAGE = {
    "AzureWebJobsStorage__accountName": "mydocuments",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": OTHER,
}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"AZURE_CLIENT_ID": ONE, **OF_STORAGE}, ONE),
        (OF_STORAGE, OTHER),
        ({}, None),
    ],
)
def test_which_identity_the_settings_mean(
    server: ModelServer, endpoint: TokenEndpoint, given: dict[str, str], asked: str | None
) -> None:
    address = server.url.removesuffix("/v1")
    core = Core(read_settings({"AZURE_OPENAI_ENDPOINT": address, "MODEL_PROVIDER": "openai", **given}))
    core.models.ping(30)
    core.close()
    assert endpoint.asked[0].get("client_id") == asked


def test_a_token_is_replaced_before_its_end(endpoint: TokenEndpoint) -> None:
    clock = Clock()
    identity = Identity(SCOPE, clock=clock)
    assert identity.token() == "token-1"
    clock.now += endpoint.life - EARLY - 5
    assert identity.token() == "token-1"
    clock.now += 10
    assert identity.token() == "token-2"


def test_a_token_of_a_short_life_is_used_for_half_of_it(endpoint: TokenEndpoint) -> None:
    clock, endpoint.life = Clock(), 120
    identity = Identity(SCOPE, clock=clock)
    assert [identity.token(), identity.token()] == ["token-1", "token-1"]
    clock.now += 65
    assert identity.token() == "token-2"


def test_a_token_that_lives_outlasts_a_broken_endpoint(endpoint: TokenEndpoint) -> None:
    clock = Clock()
    identity = Identity(SCOPE, clock=clock)
    identity.token()
    endpoint.broken = True
    clock.now += endpoint.life - 60
    assert identity.token() == "token-1"
    clock.now += 61
    with pytest.raises(ModelUnavailable, match="Cognitive Services OpenAI User"):
        identity.token()
    endpoint.broken = False
    assert identity.token() == "token-2"


def test_a_refused_token_is_replaced_once(server: ModelServer, endpoint: TokenEndpoint, make: Make) -> None:
    model = make()
    model.embed(["a"], timeout=30)
    server.replies = [error(401, "Unauthorized")]
    assert len(model.embed(["b"], timeout=30).vectors) == 1
    assert sent(server) == ["token-1", "token-1", "token-2"]


def test_an_identity_without_the_role_does_not_hammer(
    server: ModelServer, endpoint: TokenEndpoint, make: Make
) -> None:
    server.always = error(401, "PermissionDenied")
    model = make()
    for _ in range(3):
        with pytest.raises(ModelRejected, match="Cognitive Services OpenAI User"):
            model.embed(["a"], timeout=30)
    assert sent(server) == ["token-1", "token-2", "token-2", "token-2"]
    assert len(endpoint.asked) == 2


def test_threads_whose_token_was_refused_share_the_new_one(endpoint: TokenEndpoint) -> None:
    identity = Identity(SCOPE)
    old = identity.token()
    assert [identity.drop(old), identity.token(), identity.drop(old), identity.token()] == [
        True, "token-2", True, "token-2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint_url", "cloud"),
    [
        ("https://mill.openai.azure.com", "com"),
        ("https://mill.services.ai.azure.com/", "com"),
        ("https://mill.openai.azure.us", "us"),
        ("https://MILL.cognitiveservices.azure.us/", "us"),
        ("https://mill.openai.azure.cn/openai/v1", "cn"),
        ("https://gateway.example.us", "com"),
    ],
)
def test_every_cloud_has_its_scope(endpoint_url: str, cloud: str) -> None:
    assert scope_of(endpoint_url) == f"https://cognitiveservices.azure.{cloud}/.default"
