"""Limits of a connection: the size of a request's body, the time to receive it, and clients that disconnect."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from fastapi.responses import JSONResponse

from langchain_sea.serving.errors import APIError, make_error_body

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from fastapi import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from langchain_sea.serving.config import ServerConfig

__all__ = ["BodyLimitMiddleware", "cancel_on_disconnect"]

T = TypeVar("T")

_TOO_LARGE, _CLIENT_CLOSED_REQUEST = 413, 499
_MAX_READ = 32
"""Times the limit: how much of a body that is too large is read, so that its sender gets the answer."""


class _TooLargeError(Exception):
    """The body exceeds the limit."""


class BodyLimitMiddleware:
    """Reads each request's body before the application does, up to a size and within a time."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self.app, self.config = app, config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or answer 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.config.body_timeout):
                body = await self._read(receive)
        except (TimeoutError, _TooLargeError):
            message = f"a request has at most {self.config.max_body_bytes} bytes, and arrives within {self.config.body_timeout:g} s."
            response = JSONResponse(
                make_error_body(_TOO_LARGE, message, "too_large"), _TOO_LARGE, {"Connection": "close"}
            )
            await response(scope, receive, send)
            return
        if body is not None:
            await self.app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body, or None if the client disconnects."""
        body, num_bytes, limit = bytearray(), 0, self.config.max_body_bytes
        has_more = True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            num_bytes += len(part)
            if num_bytes <= limit:
                body += part
            elif num_bytes > _MAX_READ * limit:
                raise _TooLargeError
            has_more = message.get("more_body", False)
        if num_bytes > limit:
            raise _TooLargeError
        return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body first, then what the connection gives."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def cancel_on_disconnect(request: Request, answer: Awaitable[T]) -> T:
    """Return the awaited answer; cancel it if the client disconnects first.

    Raises:
        APIError: the client disconnected.
    """

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(answer)
    watch = asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise APIError(_CLIENT_CLOSED_REQUEST, "the client disconnected")
        return task.result()
    finally:
        for pending in (task, watch):
            if not pending.done():
                pending.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await pending
