"""Search over a client's documents."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.access import Client, CoreOf
from api.shapes import SearchRequest, SearchShape

router = APIRouter(tags=["search"])
EMBED_SECONDS = 20.0


@router.post("/search", response_model=SearchShape)
def search(core: CoreOf, client: Client, body: SearchRequest) -> dict[str, Any]:
    """Best first. Only vectors of the model in use are compared."""
    embedding = None
    if body.mode != "text":
        embedding = core.models.embed([body.query], timeout=EMBED_SECONDS, kind="query").vectors[0]
    matches = core.documents.search(
        client,
        mode=body.mode,
        query=body.query,
        model=core.models.embedding_model,
        embedding=embedding,
        top_k=body.top_k,
        document_id=body.document_id,
    )
    return {"matches": [match.model_dump() for match in matches]}
