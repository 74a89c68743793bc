"""OpenAI's chat completions over a `SEAChatModel`, as a FastAPI application (extra `ray`, which brings FastAPI).

Rewards, presets and budgets are chosen by name from the server's own list (`extra_body={"sea": …}`), never by path or
code. A request that leaves ends its refinement at the next step. Errors have OpenAI's form.
"""

from __future__ import annotations

import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from langchain_core.messages import convert_to_messages
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from langchain_sea import __version__
from langchain_sea._api_bounds import STATUS, TOO_MANY, Bounded, Problem, Refused, problem_of, until_gone
from langchain_sea._api_metrics import Metrics
from langchain_sea._api_replies import deltas_of, message_of, usage_of
from langchain_sea._asks import require_known
from langchain_sea._settings_file import budget_of, model_of
from langchain_sea.budget import Budget
from langchain_sea.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from langchain_core.messages import AIMessage, BaseMessage
    from starlette.types import Receive, Scope, Send

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["ChatRequest", "Limits", "SeaChoice", "application", "application_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may do.

    Attributes:
        name: under which the model is served.
        api_keys: any of which opens the door; none: it stands open, which is for a loopback address only.
        body: the most bytes of a request.
        body_seconds: in which a request must have arrived.
        tokens: the longest answer that may be asked for.
        answers: the most of one request (`n`).
        waiting: requests that may be under way; the next is answered with 429 and told when to come again.
        rewards: by the name that clients use, what `SEAChatModel(rewards=)` takes.
        presets: that clients may name.
        budgets: by name.
    """

    name: str = "sea"
    api_keys: tuple[str, ...] = ()
    body: int = 1_000_000
    body_seconds: float = 30.0
    tokens: int = 1024
    answers: int = 8
    waiting: int = 64
    rewards: dict[str, list[str]] = field(default_factory=dict)
    presets: tuple[str, ...] = ("default",)
    budgets: dict[str, Budget] = field(default_factory=dict)

    @classmethod
    def of(cls, table: dict[str, Any]) -> Limits:
        """From the table `[server]` of a settings file.

        Raises:
            ValueError: a key is unknown, or a preset is none.
        """
        require_known(table, cls.__dataclass_fields__)
        given = dict(table)
        if strange := set(given.get("presets", ())) - set(PRESETS):
            raise ValueError(f"[server] presets: no {sorted(strange)}; choose of {sorted(PRESETS)}.")
        for name in ("api_keys", "presets"):
            if name in given:
                given[name] = tuple(given[name])
        given["budgets"] = {name: budget_of(budget) for name, budget in given.get("budgets", {}).items()}
        return cls(**given)


class SeaChoice(BaseModel):
    """What of the server's own list is taken for a request."""

    model_config = ConfigDict(extra="forbid")
    reward: str | None = Field(default=None, max_length=100)
    preset: str | None = Field(default=None, max_length=100)
    budget: str | None = Field(default=None, max_length=100)


class StreamOptions(BaseModel):
    """OpenAI's."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's request, as far as it means something here; other keys are refused, not ignored."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(max_length=200)
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=2000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=1, le=1, description="only 1: nothing is cut off")
    n: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    sea: SeaChoice | None = None
    user: str | None = Field(default=None, max_length=1000, description="taken, and of no effect")
    metadata: dict[str, str] | None = Field(default=None, description="taken, and of no effect")
    store: bool | None = Field(default=None, description="taken, and of no effect")


def application_of(settings: dict[str, Any]) -> FastAPI:
    """The application of a settings file's tables."""
    return application(model_of(settings), Limits.of(settings.get("server", {})))


def application(model: SEAChatModel, limits: Limits | None = None) -> FastAPI:
    """The endpoints over one model, within limits."""
    desk = _Desk(model, limits or Limits())
    app = FastAPI(title="langchain-sea", version=__version__, docs_url=None, redoc_url=None)
    app.state.desk = desk
    app.add_middleware(Bounded, limits=desk.limits)
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": meaning, "model": Problem}
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
    app.add_exception_handler(Refused, _told)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _told)
    return app


class _Desk:
    """Takes requests one at a time, and knows how many are under way."""

    def __init__(self, model: SEAChatModel, limits: Limits) -> None:
        self.model, self.limits, self.metrics = model, limits, Metrics()
        self.began, self.under_way, self._mean = int(time.time()), 0, 1.0

    def admit(self, request: Request) -> None:
        """The key, compared in constant time."""
        if not self.limits.api_keys:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if not any([hmac.compare_digest(given, key.encode()) for key in self.limits.api_keys]):  # noqa: C419 - all, always
            raise Refused(401, "no such API key", code="invalid_api_key")

    async def answer(self, asked: ChatRequest, request: Request) -> Response:
        """One request, from its reading to its reply."""
        model, options = self._options(asked)
        try:
            messages = convert_to_messages(asked.messages)
        except (KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise Refused(400, f"messages: {error}", code="invalid_messages") from error
        if asked.stream:
            if asked.n and asked.n > 1:
                raise Refused(400, f"n={asked.n} answers cannot be streamed, which would mix them.")
            slot = _Slot(self)
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            return _Stream(self._chunks(model, messages, options, usage=usage), slot)
        slot = _Slot(self)
        try:
            found = await until_gone(request, model.agenerate([messages], **options))
        finally:
            slot.release()
        replies = [generation.message for generation in found.generations[0]]
        for reply in replies:
            self.metrics.answered(reply)
        return JSONResponse(self._whole(replies))

    def _options(self, asked: ChatRequest) -> tuple[SEAChatModel, dict[str, Any]]:
        """The model with what the request names, and the options of the call."""
        limits = self.limits
        if asked.model != limits.name:
            raise Refused(
                404, f"no model {asked.model!r}; served is {limits.name!r}.", code="model_not_found"
            )
        tokens = asked.max_completion_tokens or asked.max_tokens
        if tokens is not None and tokens > limits.tokens:
            raise Refused(400, f"{tokens} tokens are more than the {limits.tokens} that may be asked for.")
        if (asked.n or 1) > limits.answers:
            raise Refused(400, f"n={asked.n} is more than the {limits.answers} that may be asked for.")
        stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop
        options: dict[str, Any] = {
            name: value
            for name, value in (
                *(
                    ("max_tokens", tokens),
                    ("temperature", asked.temperature),
                    ("n", asked.n),
                    ("seed", asked.seed),
                ),
                *(("logprobs", asked.logprobs), ("top_logprobs", asked.top_logprobs), ("tools", asked.tools)),
                *(("tool_choice", asked.tool_choice), ("response_format", asked.response_format)),
                ("stop", [word for word in stop or () if word] or None),
            )
            if value is not None
        }
        chosen, model = asked.sea or SeaChoice(), self.model
        if chosen.reward is not None:
            model = model.model_copy(update={"rewards": _listed("reward", chosen.reward, limits.rewards)})
        if chosen.preset is not None:
            options["preset"] = _listed(
                "preset", chosen.preset, dict(zip(limits.presets, limits.presets, strict=True))
            )
        if chosen.budget is not None:
            options["budget"] = _listed("budget", chosen.budget, limits.budgets)
        return model, options

    def _whole(self, replies: Sequence[AIMessage]) -> dict[str, Any]:
        usages = [reply.usage_metadata for reply in replies if reply.usage_metadata]
        choices = [
            {"index": index, "message": message_of(reply), "logprobs": reply.response_metadata.get("logprobs"),
             "finish_reason": reply.response_metadata["finish_reason"], "sea": reply.response_metadata["sea"]}
            for index, reply in enumerate(replies)
        ]  # fmt: skip
        return self._head("chat.completion") | {"choices": choices, "usage": usage_of(usages)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": self.limits.name,
                "system_fingerprint": f"sea-{__version__}"}  # fmt: skip

    async def _chunks(
        self, model: SEAChatModel, messages: list[BaseMessage], options: dict[str, Any], *, usage: bool
    ) -> AsyncIterator[str]:
        """Server-sent events; what goes wrong on the way is the last of them."""
        head = self._head("chat.completion.chunk")

        def event(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None} | more
            return f"data: {json.dumps(head | {'choices': [choice]}, ensure_ascii=False)}\n\n"

        yield event({"role": "assistant", "content": ""})
        whole: Any = None
        try:
            async for chunk in model.astream(messages, **options):
                whole = chunk if whole is None else whole + chunk
                for delta in deltas_of(chunk):
                    yield event(delta)
        except Exception as error:  # noqa: BLE001 - the status has left; the error follows
            status, body = problem_of(error)
            self.metrics.failed(status)
            yield f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n"
            return
        self.metrics.answered(whole)
        metadata = whole.response_metadata
        yield event({}, metadata["finish_reason"], logprobs=metadata.get("logprobs"), sea=metadata["sea"])
        if usage:
            yield f"data: {json.dumps(head | {'choices': [], 'usage': usage_of([whole.usage_metadata])})}\n\n"
        yield "data: [DONE]\n\n"

    def take(self) -> float:
        """A place, or 429."""
        if self.under_way >= self.limits.waiting:
            wait = max(1, round(self._mean * self.under_way / 2))
            raise Refused(TOO_MANY, f"{self.under_way} requests are under way; come again in {wait} s.",
                           code="rate_limit_exceeded", headers={"Retry-After": str(wait)})  # fmt: skip
        self.under_way += 1
        self.metrics.under_way.set(self.under_way)
        return time.monotonic()

    def leave(self, began: float) -> None:
        """The place is free; how long it was taken tells the next ones when to come."""
        self.under_way -= 1
        self._mean = 0.9 * self._mean + 0.1 * (time.monotonic() - began)
        self.metrics.under_way.set(self.under_way)
        self.metrics.seconds.observe(time.monotonic() - began)


class _Slot:
    """A place that is left once, however the request ends."""

    def __init__(self, desk: _Desk) -> None:
        self._desk: _Desk | None = desk
        self._began = desk.take()

    def release(self) -> None:
        if self._desk is not None:
            self._desk.leave(self._began)
            self._desk = None


class _Stream(StreamingResponse):
    """Events; the place is left even where nobody ever listened."""

    def __init__(self, events: AsyncIterator[str], slot: _Slot) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._events, self._slot = events, slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.release()
            await self._events.aclose()  # type: ignore[attr-defined]


def _listed(kind: Literal["reward", "preset", "budget"], name: str, known: dict[str, Any]) -> Any:  # noqa: ANN401 - of the list
    if name not in known:
        raise Refused(400, f"no {kind} {name!r}; this server knows {sorted(known)}.", code=f"unknown_{kind}")
    return known[name]


async def _told(request: Request, error: Exception) -> Response:
    status, body = problem_of(error)
    request.app.state.desk.metrics.failed(status)
    return JSONResponse(body, status, getattr(error, "headers", None))
