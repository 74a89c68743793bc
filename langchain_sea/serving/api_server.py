"""OpenAI's chat completions over a `SEAChatModel`, as a FastAPI application (extra `ray`, which brings FastAPI).

Rewards, presets and budgets are chosen by name from the server's own list (`extra_body={"sea": …}`), never by path or
code. A request that leaves ends its refinement at the next step. Errors have OpenAI's form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from langchain_sea._version import __version__
from langchain_sea.serving.config import model_of
from langchain_sea.serving.errors import STATUS, APIError, BodyLimitMiddleware, ErrorResponse, problem_of
from langchain_sea.serving.handlers import ChatHandler
from langchain_sea.serving.protocol import ChatRequest, SeaChoice, ServerConfig

if TYPE_CHECKING:
    from langchain_sea.chat_models import SEAChatModel

__all__ = ["ChatRequest", "ServerConfig", "SeaChoice", "application", "application_of"]


def application_of(settings: dict[str, Any]) -> FastAPI:
    """The application of a settings file's tables."""
    return application(model_of(settings), ServerConfig.of(settings.get("server", {})))


def application(model: SEAChatModel, limits: ServerConfig | None = None) -> FastAPI:
    """The endpoints over one model, within limits."""
    desk = ChatHandler(model, limits or ServerConfig())
    app = FastAPI(title="langchain-sea", version=__version__, docs_url=None, redoc_url=None)
    app.state.desk = desk
    app.add_middleware(BodyLimitMiddleware, limits=desk.limits)
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": meaning, "model": ErrorResponse}
        for status, meaning in ((400, "cannot be answered"), (401, "no key"), (404, "no such model"), (413, "too large"),
                                (429, "too many at once"), (503, "a reward failed"), (504, "too late"))
    }  # fmt: skip

    async def health() -> dict[str, str]:
        """Whether this replica answers."""
        return {"status": "ok"}

    async def metrics() -> Response:
        """Prometheus' text, of this replica."""
        return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models() -> dict[str, Any]:
        """What is served, and what `sea` may name."""
        known = desk.limits
        chosen = {
            "rewards": sorted(known.rewards),
            "presets": list(known.presets),
            "budgets": sorted(known.budgets),
        }
        served = {
            "id": known.name,
            "object": "model",
            "created": desk.began,
            "owned_by": "sea",
            "sea": chosen,
        }
        return {"object": "list", "data": [served]}

    async def completions(asked: ChatRequest, request: Request) -> Response:
        """OpenAI's chat completions."""
        return await desk.answer(asked, request)

    guarded: dict[str, Any] = {"dependencies": [Depends(desk.admit)]}
    told = {"response_class": PlainTextResponse, "responses": {401: errors[401]}}
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics, **guarded, **told)
    app.add_api_route("/v1/models", models, **guarded, responses={401: errors[401]})
    app.add_api_route(
        "/v1/chat/completions",
        completions,
        methods=["POST"],
        **guarded,
        response_model=None,
        responses=errors,
    )
    app.add_exception_handler(
        Exception, _told
    )  # what we do not know is logged, and the connection is given up
    for kind in {kind for kinds, *_ in STATUS for kind in kinds}:
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(APIError, _told)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _told)
    return app


async def _told(request: Request, error: Exception) -> Response:
    status, body = problem_of(error)
    request.app.state.desk.metrics.failed(status)
    return JSONResponse(body, status, getattr(error, "headers", None))
