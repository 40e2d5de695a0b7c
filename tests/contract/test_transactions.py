"""Our own wire form of transactions, read back by the SDK."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableClient, TableServiceClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import StorageUnavailable
from shared.ports import RowChanged, RowExists
from shared.settings import read_settings
from shared.storage.accounts import table_service
from shared.storage.entities import deleted, inserted, replaced, submit, upserted
from shared.storage.transactions import send
from tests.answering import Service, serving

KEYS = ["plain", "it's", "a b", "T|100%", "ключ", "a&b+c;d=e$f@g"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)


@pytest.fixture(scope="module")
def service(azurite: str) -> Iterator[TableServiceClient]:
    with table_service(read_settings({"AZURE_STORAGE_CONNECTION_STRING": azurite})) as service:
        yield service


@pytest.fixture(scope="module")
def table(service: TableServiceClient) -> TableClient:
    return service.create_table_if_not_exists(f"t{secrets.token_hex(8)}")


def entity(key: str, **properties: Any) -> dict[str, Any]:
    return {"PartitionKey": "acme", "RowKey": key, **properties}


def found(table: TableClient, key: str) -> dict[str, Any]:
    return dict(table.get_entity("acme", key))


@pytest.mark.parametrize("key", KEYS)
def test_a_row_has_any_name(table: TableClient, key: str) -> None:
    etag = submit(table, [inserted(entity(key, text="one"))])
    assert etag == table.get_entity("acme", key).metadata["etag"]
    etag = submit(table, [replaced(entity(key, text="two", open=True), etag)])
    assert found(table, key) == entity(key, text="two", open=True)
    assert etag == table.get_entity("acme", key).metadata["etag"]
    submit(table, [upserted(entity(key, text="three"))])
    assert found(table, key) == entity(key, text="three")
    submit(table, [deleted("acme", key)])
    with pytest.raises(RowChanged):
        submit(table, [deleted("acme", key)])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_a_text_comes_back_as_it_was(table: TableClient, text: str) -> None:
    submit(table, [upserted(entity("text", text=text, more='{"a": [1]}\r\n--batch_1\r\nHTTP/1.1 500 X'))])
    assert found(table, "text")["text"] == text


def test_all_or_nothing(table: TableClient) -> None:
    submit(table, [inserted(entity("all-1"))])
    with pytest.raises(RowExists):
        submit(table, [inserted(entity("all-2")), inserted(entity("all-1"))])
    with pytest.raises(RowChanged):
        submit(table, [upserted(entity("all-2")), replaced(entity("all-1"), 'W/"another"')])
    assert submit(table, [upserted(entity("all-1", a="b")), upserted(entity("all-3"))])
    with pytest.raises(HttpResponseError):
        table.get_entity("acme", "all-2")


def test_the_first_ones_etag_counts(table: TableClient) -> None:
    etag = submit(table, [upserted(entity("first")), upserted(entity("second"))])
    assert etag == table.get_entity("acme", "first").metadata["etag"]
    assert submit(table, [deleted("acme", "first"), upserted(entity("second", a="b"))]) == ""


def test_a_hundred_at_once(table: TableClient) -> None:
    submit(table, [upserted(entity(f"many-{number}", number=str(number))) for number in range(100)])
    assert found(table, "many-99")["number"] == "99"


def test_what_is_refused_has_the_services_codes(table: TableClient) -> None:
    with pytest.raises(HttpResponseError) as caught:
        send(table, [replaced(entity("nowhere"), "*")])
    assert (caught.value.status_code, getattr(caught.value, "error_code", None)) == (404, "ResourceNotFound")


def test_a_table_that_is_missing_is_said_so(service: TableServiceClient) -> None:
    with pytest.raises(StorageUnavailable, match="tables are missing"):
        submit(service.get_table_client("missing"), [upserted(entity("x"))])


def test_a_wrong_key_is_the_operators_matter(azurite: str) -> None:
    wrong = azurite.replace("AccountKey=", "AccountKey=AAAA")
    with (
        table_service(read_settings({"AZURE_STORAGE_CONNECTION_STRING": wrong})) as service,
        pytest.raises(StorageUnavailable) as caught,
    ):
        submit(service.get_table_client("tasks"), [upserted(entity("x"))])
    assert caught.value.advice


PART = "\r\n--changeset\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 "
WRITTEN = f'{PART}204 No Content\r\nETag: W/"1"\r\n\r\n'
SAS = "sv=2020-12-06&ss=t&srt=sco&sp=rwdlacu&sig=abc%2Bdef%3D"


@contextmanager
def answered(text: str) -> Iterator[tuple[TableClient, Service]]:
    """A service that answers every transaction so, for who has a shared access signature."""
    with serving() as service:
        service.on("POST /$batch", (202, text.encode()))
        account = f"TableEndpoint={service.url}/;SharedAccessSignature={SAS}"
        with table_service(read_settings({"AZURE_STORAGE_CONNECTION_STRING": account})) as tables:
            yield tables.get_table_client("tasks"), service


def test_a_signature_goes_along_once_and_in_no_part() -> None:
    with answered(WRITTEN) as (table, service):
        assert submit(table, [inserted(entity("x"))]) == 'W/"1"'
    ((route, _, body),) = service.requests
    assert route == f"POST /$batch?{SAS}" and b"sig=" not in body


@pytest.mark.parametrize(
    "text",
    ["", "<html>", f"{PART}204 No Content\r\n\r\n", f"{PART}204 No Content\r\n\r\n{WRITTEN}", WRITTEN],
    ids=["nothing", "another's answer", "a part without ETag", "no ETag of the first", "too few parts"],
)
def test_an_answer_that_proves_nothing_is_no_success(text: str) -> None:
    """Whoever took it for one would write the row the next time guarded by no ETag."""
    with answered(text) as (table, _), pytest.raises(StorageUnavailable):
        submit(table, [upserted(entity("x")), upserted(entity("y"))])


def test_no_etag_is_not_any_etag(table: TableClient) -> None:
    submit(table, [upserted(entity("guarded", text="one"))])
    with pytest.raises(RowChanged):
        submit(table, [replaced(entity("guarded", text="two"), "")])
    assert found(table, "guarded")["text"] == "one"
