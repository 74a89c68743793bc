"""An OpenAI-compatible endpoint over a `SEAChatModel`, as a FastAPI application (extra `ray`, which brings FastAPI).

Clients choose rewards, presets and budgets by name from the server's own lists (`extra_body={"sea": …}`), never by path
or code. If a client disconnects, its refinement ends at the next step. Errors have OpenAI's form.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from langchain_sea._version import __version__
from langchain_sea.serving.config import ServerConfig, make_model
from langchain_sea.serving.connections import BodyLimitMiddleware
from langchain_sea.serving.errors import HANDLED_ERRORS, ErrorResponse, make_error
from langchain_sea.serving.handlers import ChatHandler
from langchain_sea.serving.protocol import ChatRequest
from langchain_sea.serving.warming import warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["make_app", "make_app_from_settings"]

_UNAUTHORIZED: dict[int | str, dict[str, Any]] = {401: {"description": "no key", "model": ErrorResponse}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "cannot be answered", "model": ErrorResponse},
    **_UNAUTHORIZED,
    404: {"description": "no such model", "model": ErrorResponse},
    413: {"description": "too large", "model": ErrorResponse},
    429: {"description": "too many requests", "model": ErrorResponse},
    503: {"description": "a reward failed", "model": ErrorResponse},
    504: {"description": "no answer in time", "model": ErrorResponse},
}


def make_app_from_settings(settings: Mapping[str, Any]) -> FastAPI:
    """Build the application that a settings file describes.

    Raises:
        ValueError: a setting is unknown or not valid.
    """
    return make_app(make_model(settings), ServerConfig.from_table(settings.get("server", {})))


def make_app(model: SEAChatModel, config: ServerConfig | None = None) -> FastAPI:
    """Build the application that serves one model."""
    handler = ChatHandler(model, config or ServerConfig())
    app = FastAPI(title="langchain-sea", version=__version__, docs_url=None, redoc_url=None, lifespan=_warm_up_at_start)
    app.state.handler = handler
    app.add_middleware(BodyLimitMiddleware, config=handler.config)
    _add_routes(app, handler)
    for kind in (*HANDLED_ERRORS, Exception):  # of other errors starlette also writes the traceback to the log
        app.add_exception_handler(kind, _handle_error)
    return app


@asynccontextmanager
async def _warm_up_at_start(app: FastAPI) -> AsyncIterator[None]:
    """Warm the model up before requests are taken, if the settings say so."""
    handler: ChatHandler = app.state.handler
    if handler.config.warm_up_requests:
        await asyncio.to_thread(warm_up, handler.model, handler.config.warm_up_requests)
    yield


def _add_routes(app: FastAPI, handler: ChatHandler) -> None:
    async def health() -> dict[str, str]:
        """Say that this replica answers."""
        return {"status": "ok"}

    async def metrics() -> Response:
        """Return the metrics of this replica as Prometheus' text."""
        return Response(handler.metrics.to_text(), media_type="text/plain; version=0.0.4")

    async def models() -> dict[str, Any]:
        """List the model, and what `sea` may name."""
        return {"object": "list", "data": [_describe_model(handler)]}

    async def completions(chat_request: ChatRequest, request: Request) -> Response:
        """Answer a chat completion."""
        return await handler.answer(chat_request, request)

    authorized: dict[str, Any] = {"dependencies": [Depends(handler.authorize)]}
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse, responses=_UNAUTHORIZED, **authorized)
    app.add_api_route("/v1/models", models, responses=_UNAUTHORIZED, **authorized)
    app.add_api_route(
        "/v1/chat/completions", completions, methods=["POST"], response_model=None, responses=_RESPONSES, **authorized
    )


def _describe_model(handler: ChatHandler) -> dict[str, Any]:
    config = handler.config
    choices = {"rewards": sorted(config.rewards), "presets": list(config.presets), "budgets": sorted(config.budgets)}
    return {"id": config.model_name, "object": "model", "created": handler.created, "owned_by": "sea", "sea": choices}


async def _handle_error(request: Request, error: Exception) -> Response:
    status, body = make_error(error)
    request.app.state.handler.metrics.count_failure(status)
    return JSONResponse(body, status, getattr(error, "headers", None))
