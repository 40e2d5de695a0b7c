"""Errors become responses here and nowhere else: application/problem+json, RFC 9457."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.errors import DocmillError, InternalError, InvalidJson, InvalidPayload, PayloadTooLarge

log = logging.getLogger(__name__)
_CODES = {400: "invalid_json", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def install(app: FastAPI) -> None:
    app.add_exception_handler(DocmillError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    body = {
        "type": f"urn:docmill:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def of_error(error: DocmillError) -> JSONResponse:
    more: dict[str, Any] = {"errors": error.errors} if isinstance(error, InvalidPayload) else {}
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = str(int(error.retry_after or 5))
    return problem(error.status, error.code, error.message, headers=headers, **more)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DocmillError)  # it is registered for these alone
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("Answered %d %s: %s", error.status, error.code, type(error.__cause__).__name__)
    return of_error(error)


async def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # it is registered for these alone
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return of_error(InvalidJson())
    errors: list[dict[str, object]] = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in found]
    first = "; ".join(f"{'.'.join(map(str, item['loc'][1:])) or 'body'}: {item['msg']}" for item in found[:3])
    return of_error(InvalidPayload(f"The request is not of the form of the contract: {first}", errors=errors))


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # it is registered for these alone
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return of_error(PayloadTooLarge(error.detail))
    code = _CODES.get(error.status_code, "http_error")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, code, error.detail, headers=headers)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    log.error("Unexpected %s.", type(error).__name__, exc_info=error)
    return of_error(InternalError())
