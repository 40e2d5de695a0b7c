"""Dead letters: what was given up."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.access import Client, CoreOf, Cursor, Limit
from api.shapes import DeadLetterShape, Listing

router = APIRouter(tags=["dead letters"])


@router.get("/dead-letters", response_model=Listing[DeadLetterShape])
def list_dead_letters(
    core: CoreOf, client: Client, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    page = core.dead_letters.page(client, limit=limit, cursor=cursor)
    return {"items": [letter.public() for letter in page.items], "next_cursor": page.next_cursor}
