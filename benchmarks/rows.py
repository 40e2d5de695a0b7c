"""A client with many tasks: copies of one that has ended, with all the rows that it has."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from itertools import islice
from typing import Any

Entity = dict[str, Any]
AT_ONCE = 100
"""Operations that one transaction may have."""
_LISTED = re.compile(r"^L\|(\d{18})\|")


def fill(connection: str, client: str, number: int) -> None:
    """Until there are about so many tasks. The client has at least one, which has ended."""
    from azure.data.tables import TableServiceClient

    with TableServiceClient.from_connection_string(connection) as service:
        table = service.get_table_client("tasks")
        rows = [
            dict(row)
            for row in table.query_entities("PartitionKey eq @client", parameters={"client": client})
        ]
        names = [row["RowKey"][2:] for row in rows if row["RowKey"].startswith("T|")]
        sample = [row for row in rows if row["RowKey"].endswith(names[0])]
        copies = (
            ("upsert", copy) for age in range(len(names), number) for copy in _copied(sample, names[0], age)
        )
        while some := list(islice(copies, AT_ONCE)):
            table.submit_transaction(some)


def _copied(sample: list[Entity], name: str, age: int) -> Iterator[Entity]:
    """One more task, which was made `age` microseconds earlier."""
    other = f"task-{secrets.token_hex(12)}"
    for row in sample:
        key = _LISTED.sub(lambda found: f"L|{int(found[1]) + age:018d}|", row["RowKey"]).replace(name, other)
        texts = {k: v.replace(name, other) if isinstance(v, str) else v for k, v in row.items()}
        yield {**texts, "RowKey": key}
