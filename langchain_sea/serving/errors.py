"""What a request may be, and how it is told no: bodies of a bounded size and time, clients that leave, errors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
)
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from langchain_sea.errors import GrammarError, OutOfMemoryError, RewardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from langchain_sea.serving.protocol import ServerConfig

__all__ = [
    "STATUS",
    "TOO_MANY",
    "BodyLimitMiddleware",
    "ErrorResponse",
    "APIError",
    "problem_of",
    "until_gone",
]

TOO_MANY, _TOO_LARGE = 429, 413
_DRAINED = 32  # times the limit: what is read of a body that is too large before the line is cut


class APIError(Exception):  # noqa: N818 - an answer, not an accident
    """An answer in OpenAI's form."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


class ErrorResponse(BaseModel):
    """OpenAI's form of an error."""

    class Inner(BaseModel):
        """What is wrong."""

        message: str
        type: str
        code: str | None = None
        param: str | None = None

    error: Inner


class BodyLimitMiddleware:
    """Bodies of a bounded size, within a bounded time; for every path."""

    def __init__(self, app: ASGIApp, limits: ServerConfig) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await self._read(receive)
        except (TimeoutError, APIError):
            slow = {"error": {"message": f"a request has at most {self.limits.body} bytes, and arrives within {self.limits.body_seconds:g} s.",
                              "type": "invalid_request_error", "code": "too_large", "param": None}}  # fmt: skip
            await JSONResponse(slow, _TOO_LARGE, {"Connection": "close"})(scope, receive, send)
            return
        if body is None:
            return
        given = [True]

        async def again() -> Message:
            if given.pop() if given else False:
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, again, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body, seen = bytearray(), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            seen += len(part)
            if seen <= self.limits.body:
                body += part
            elif seen > _DRAINED * self.limits.body:
                raise APIError(_TOO_LARGE, "too large")
            if not message.get("more_body", False):
                break
        if seen > self.limits.body:  # read to its end, and not kept, so that the sender hears why
            raise APIError(_TOO_LARGE, "too large")
        return bytes(body)


async def until_gone(request: Request, answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - what was awaited
    """The answer; given up where the client leaves first."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(answer), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise APIError(499, "the client left")
        return task.result()
    finally:
        for each in (task, watch):
            if not each.done():
                each.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await each


STATUS: tuple[tuple[tuple[type[BaseException], ...], int, str | None], ...] = (
    ((ContextOverflowError,), 400, "context_length_exceeded"),
    ((GrammarError,), 400, "schema"),
    ((ModelNotFoundError,), 404, "model_not_found"),
    ((ModelTimeoutError,), 504, "timeout"),
    ((RewardUnavailableError,), 503, "reward_unavailable"),
    ((OutOfMemoryError,), 503, "out_of_memory"),
    ((ModelInvalidRequestError, ValueError, TypeError, RecursionError), 400, None),
)


def problem_of(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body; what we do not know is not shown to a client."""
    if isinstance(error, APIError):
        status, message, code = error.status, error.message, error.code
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        status, message, code = 400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", "invalid_request"
    elif isinstance(error, HTTPException):
        status, message, code = error.status_code, str(error.detail), None
    else:
        kind = next((entry for entry in STATUS if isinstance(error, entry[0])), None)
        status, code = (kind[1], kind[2]) if kind else (500, "internal")
        message = str(error) if kind else "an internal error; the server's log has it"
    server = 500
    kind_of = (
        "server_error"
        if status >= server
        else "rate_limit_error"
        if status == TOO_MANY
        else "invalid_request_error"
    )
    return status, {"error": {"message": message, "type": kind_of, "code": code, "param": None}}
