"""Where requests are taken: the key, a place among those under way, the call, and the reply."""

from __future__ import annotations

import hmac
import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from langchain_core.messages import convert_to_messages

from langchain_sea._version import __version__
from langchain_sea.serving.errors import TOO_MANY, APIError, problem_of, until_gone
from langchain_sea.serving.metrics import Metrics
from langchain_sea.serving.protocol import ChatRequest, SeaChoice, ServerConfig
from langchain_sea.serving.replies import deltas_of, message_of, usage_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from langchain_core.messages import AIMessage, BaseMessage
    from starlette.types import Receive, Scope, Send

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["ChatHandler"]


class ChatHandler:
    """Takes requests one at a time, and knows how many are under way."""

    def __init__(self, model: SEAChatModel, limits: ServerConfig) -> None:
        self.model, self.limits, self.metrics = model, limits, Metrics()
        self.began, self.under_way, self._mean = int(time.time()), 0, 1.0

    def admit(self, request: Request) -> None:
        """The key, compared in constant time."""
        if not self.limits.api_keys:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if not any([hmac.compare_digest(given, key.encode()) for key in self.limits.api_keys]):  # noqa: C419 - all, always
            raise APIError(401, "no such API key", code="invalid_api_key")

    async def answer(self, asked: ChatRequest, request: Request) -> Response:
        """One request, from its reading to its reply."""
        model, options = self._options(asked)
        try:
            messages = convert_to_messages(asked.messages)
        except (KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise APIError(400, f"messages: {error}", code="invalid_messages") from error
        if asked.stream:
            if asked.n and asked.n > 1:
                raise APIError(400, f"n={asked.n} answers cannot be streamed, which would mix them.")
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
            raise APIError(
                404, f"no model {asked.model!r}; served is {limits.name!r}.", code="model_not_found"
            )
        tokens = asked.max_completion_tokens or asked.max_tokens
        if tokens is not None and tokens > limits.tokens:
            raise APIError(400, f"{tokens} tokens are more than the {limits.tokens} that may be asked for.")
        if (asked.n or 1) > limits.answers:
            raise APIError(400, f"n={asked.n} is more than the {limits.answers} that may be asked for.")
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
            raise APIError(TOO_MANY, f"{self.under_way} requests are under way; come again in {wait} s.",
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

    def __init__(self, desk: ChatHandler) -> None:
        self._desk: ChatHandler | None = desk
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
        raise APIError(400, f"no {kind} {name!r}; this server knows {sorted(known)}.", code=f"unknown_{kind}")
    return known[name]
