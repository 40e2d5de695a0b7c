"""Search over a client's documents."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.access import Client, CoreOf
from api.shapes import SearchRequest, SearchShape

router = APIRouter(tags=["search"])
EMBED_SECONDS = 20.0


@router.post("/search", response_model=SearchShape)
def search(core: CoreOf, client: Client, body: SearchRequest) -> Response:
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
    # Written in this thread: FastAPI would check a copy in one more.
    found = SearchShape.model_validate({"matches": [match.model_dump() for match in matches]})
    return Response(found.model_dump_json(), media_type="application/json")
