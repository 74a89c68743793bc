"""Errors in OpenAI's form, and the HTTP status of each."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
)
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from langchain_sea.errors import GrammarError, OutOfMemoryError, RewardUnavailableError

__all__ = ["HANDLED_ERRORS", "APIError", "ErrorDetail", "ErrorResponse", "make_error", "make_error_body"]

_STATUSES: tuple[tuple[tuple[type[Exception], ...], int, str | None], ...] = (
    ((ContextOverflowError,), 400, "context_length_exceeded"),
    ((GrammarError,), 400, "schema"),
    ((ModelNotFoundError,), 404, "model_not_found"),
    ((ModelTimeoutError,), 504, "timeout"),
    ((RewardUnavailableError,), 503, "reward_unavailable"),
    ((OutOfMemoryError,), 503, "out_of_memory"),
    ((ModelInvalidRequestError, ValueError, TypeError, RecursionError), 400, None),
)
"""Errors, status and code; the first entry that fits is taken."""
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500


class APIError(Exception):
    """An error that a client gets as it is.

    Attributes:
        status: the HTTP status.
        message: says what is wrong.
        code: OpenAI's short name of the error.
        headers: of the response.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


HANDLED_ERRORS: tuple[type[Exception], ...] = (
    *dict.fromkeys(kind for kinds, *_ in _STATUSES for kind in kinds),
    APIError,
    HTTPException,
    RequestValidationError,
)
"""The errors that have a status of their own; any other is a 500."""


class ErrorDetail(BaseModel):
    """The content of OpenAI's error."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ErrorResponse(BaseModel):
    """OpenAI's body of an error."""

    error: ErrorDetail


def make_error(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return status and body of an error; the message of an unexpected one is not shown to the client."""
    if isinstance(error, APIError):
        return error.status, make_error_body(error.status, error.message, error.code)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return 400, make_error_body(400, message, "invalid_request")
    if isinstance(error, HTTPException):
        return error.status_code, make_error_body(error.status_code, str(error.detail))
    for kinds, status, code in _STATUSES:
        if isinstance(error, kinds):
            return status, make_error_body(status, str(error), code)
    return _SERVER_ERROR, make_error_body(_SERVER_ERROR, "an internal error; the server's log has it", "internal")


def make_error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return OpenAI's body of an error."""
    kind = "invalid_request_error"
    if status >= _SERVER_ERROR:
        kind = "server_error"
    elif status == _TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}
