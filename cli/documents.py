"""`docmill documents` and `search`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli.client import Json
from cli.config import config
from cli.output import clean, line, note, print_json, print_table, say
from cli.tasks import AsJson, Cursor, Limit, more

_SNIPPET = 300


class Mode(StrEnum):
    HYBRID = "hybrid"
    VECTOR = "vector"
    TEXT = "text"


def documents(
    context: typer.Context, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List documents, newest first."""
    with config(context).api() as api:
        page = api.documents(limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    columns = ("DOCUMENT", "STATUS", "PAGES", "CHUNKS", "BYTES", "FILE")
    members = ("document_id", "status", "pages", "chunks", "size", "filename")
    print_table(columns, ([item[name] for name in members] for item in page["items"]))
    more(page)


def search(
    context: typer.Context,
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", show_default=False)],
    top_k: Annotated[int, typer.Option(min=1, max=50, help="How many hits.")] = 5,
    mode: Annotated[Mode, typer.Option(help="How to search.")] = Mode.HYBRID,
    document: Annotated[str | None, typer.Option(metavar="ID", help="In this document only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search the ingested documents."""
    with config(context).api() as api:
        found = api.search(query, top_k, mode, document)
    if as_json:
        print_json(found)
        return
    for rank, match in enumerate(found["matches"], 1):
        print_match(rank, match)
    if not found["matches"]:
        note("Nothing found. `docmill documents` lists what is ingested.")


def print_match(rank: int, match: Json, snippet: int = _SNIPPET) -> None:
    """One search hit: where it is, then the beginning of its text."""
    page = f", page {match['page']}" if match["page"] is not None else ""
    path = " > ".join(line(heading) for heading in match["headings"])
    say(f"{rank}. {line(match['filename'])}{page}  (score {match['score']:.3f})")
    if path:
        say(f"   {path}")
    text = line(clean(match["content"]))
    say(f"   {text[:snippet]}{'…' if len(text) > snippet else ''}")
