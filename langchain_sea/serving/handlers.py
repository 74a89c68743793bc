"""The handler of chat completions: key, a slot among the requests in progress, the call, and the response."""

from __future__ import annotations

import hmac
import json
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration

from langchain_sea._version import __version__
from langchain_sea.serving.connections import cancel_on_disconnect
from langchain_sea.serving.errors import APIError, make_error
from langchain_sea.serving.history import to_langchain_messages
from langchain_sea.serving.metrics import Metrics
from langchain_sea.serving.protocol import ChatRequest, SeaOptions, make_deltas, make_message, make_usage
from langchain_sea.serving.slots import Slot, Slots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from starlette.types import Receive, Scope, Send

    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.serving.config import ServerConfig

__all__ = ["ChatHandler"]

T = TypeVar("T")

_CALL_OPTIONS = (
    *("temperature", "n", "seed", "logprobs", "top_logprobs"),
    *("tools", "tool_choice", "parallel_tool_calls", "response_format"),
)
"""Keys of a request that are passed to the model as they are."""
_MAX_DRAWN_SEED = 2**31
"""A request without a seed gets one, unless the settings name it: clients that ask n times want n answers."""


class _Call(NamedTuple):
    model: SEAChatModel
    messages: list[BaseMessage]
    options: dict[str, Any]


class ChatHandler:
    """Answers requests with one model.

    Attributes:
        model: whose answers are served.
        config: what clients may ask for.
        metrics: of this process.
        slots: of the requests in progress.
        created: when the handler was made, in Unix seconds.
    """

    def __init__(self, model: SEAChatModel, config: ServerConfig) -> None:
        self.model, self.config = model, config
        self.metrics, self.created = Metrics(), int(time.time())
        self.slots = Slots(config.max_requests, self.metrics)

    def authorize(self, request: Request) -> None:
        """Compare the request's key with all keys, in constant time.

        Raises:
            APIError: it is none of them.
        """
        if not self.config.api_keys:
            return
        key = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        matches = [hmac.compare_digest(key, known.encode()) for known in self.config.api_keys]
        if not any(matches):
            raise APIError(401, "no such API key", code="invalid_api_key")

    async def answer(self, chat_request: ChatRequest, request: Request) -> Response:
        """Answer one request, whole or as a stream of server-sent events.

        Raises:
            APIError: the request asks for what there is not, or there are too many.
        """
        call = self._make_call(chat_request)
        if chat_request.stream:
            if chat_request.n and chat_request.n > 1:
                raise APIError(400, f"n={chat_request.n} answers cannot be streamed; ask for one, or without stream.")
            has_usage = chat_request.stream_options is not None and chat_request.stream_options.include_usage
            return _SlotStreamingResponse(self._stream(call, has_usage=has_usage), self.slots.acquire())
        slot = self.slots.acquire()
        try:
            result = await cancel_on_disconnect(request, call.model.agenerate([call.messages], **call.options))
        finally:
            slot.release()
        messages = [g.message for g in result.generations[0] if isinstance(g, ChatGeneration)]
        replies = [message for message in messages if isinstance(message, AIMessage)]
        for reply in replies:
            self.metrics.count_answer(reply)
        return JSONResponse(self._make_response(replies))

    def _make_call(self, request: ChatRequest) -> _Call:
        _check_limits(request, self.config)
        stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
        values: dict[str, Any] = {name: getattr(request, name) for name in _CALL_OPTIONS}
        values |= {"max_tokens": request.token_limit, "stop": [text for text in stop if text] or None}
        for name, limit in (("max_tokens", self.config.max_tokens), ("n", self.config.max_n)):
            if values[name] is None and getattr(self.model, name) > limit:
                values[name] = limit  # what is not asked for is limited, too
        model, choices = self._apply_choices(request.sea or SeaOptions())
        if request.seed is None and "seed" not in self.model.model_fields_set:
            values["seed"] = secrets.randbelow(_MAX_DRAWN_SEED)
        options = {name: value for name, value in values.items() if value is not None} | choices
        try:
            return _Call(model, to_langchain_messages(request.messages), options)
        except (KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise APIError(400, f"messages: {error}", code="invalid_messages") from error

    def _apply_choices(self, choices: SeaOptions) -> tuple[SEAChatModel, dict[str, Any]]:
        """Return the model with the reward, and the call's options with the preset and budget that are named."""
        config, model, options = self.config, self.model, dict[str, Any]()
        if choices.reward is not None:
            model = model.model_copy(update={"rewards": _choose("reward", choices.reward, config.rewards)})
        if choices.preset is not None:
            options["preset"] = _choose("preset", choices.preset, {name: name for name in config.presets})
        if choices.budget is not None:
            options["budget"] = _choose("budget", choices.budget, config.budgets)
        return model, options

    def _make_response(self, replies: Sequence[AIMessage]) -> dict[str, Any]:
        usages = [reply.usage_metadata for reply in replies if reply.usage_metadata]
        choices = [
            {
                "index": index,
                "message": make_message(reply),
                "logprobs": reply.response_metadata.get("logprobs"),
                "finish_reason": reply.response_metadata["finish_reason"],
                "sea": reply.response_metadata["sea"],
            }
            for index, reply in enumerate(replies)
        ]
        return self._make_head("chat.completion") | {"choices": choices, "usage": make_usage(usages)}

    def _make_head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self.config.model_name,
            "system_fingerprint": f"sea-{__version__}",
        }

    async def _stream(self, call: _Call, *, has_usage: bool) -> AsyncGenerator[str, None]:
        """Yield server-sent events; an error on the way is the last of them, since the status is sent."""
        head = self._make_head("chat.completion.chunk")
        yield _make_event(head, {"role": "assistant", "content": ""})
        reply: AIMessageChunk | None = None
        try:
            async for chunk in call.model.astream(call.messages, **call.options):
                assert isinstance(chunk, AIMessageChunk)
                reply = chunk if reply is None else reply + chunk
                for delta in make_deltas(chunk):
                    yield _make_event(head, delta)
        except Exception as error:  # noqa: BLE001 - an unexpected error must reach the client as an event, too
            status, body = make_error(error)
            self.metrics.count_failure(status)
            yield f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n"
            return
        assert reply is not None
        self.metrics.count_answer(reply)
        metadata = reply.response_metadata
        yield _make_event(head, {}, metadata["finish_reason"], logprobs=metadata.get("logprobs"), sea=metadata["sea"])
        if has_usage and reply.usage_metadata:
            yield f"data: {json.dumps(head | {'choices': [], 'usage': make_usage([reply.usage_metadata])})}\n\n"
        yield "data: [DONE]\n\n"


class _SlotStreamingResponse(StreamingResponse):
    """A stream of events that releases its slot when it ends, even if the client never read from it."""

    def __init__(self, events: AsyncGenerator[str, None], slot: Slot) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._events, self._slot = events, slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.release()
            await self._events.aclose()


def _make_event(head: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None, **extra: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None} | extra
    return f"data: {json.dumps(head | {'choices': [choice]}, ensure_ascii=False)}\n\n"


def _check_limits(request: ChatRequest, config: ServerConfig) -> None:
    if request.model != config.model_name:
        message = f"no model {request.model!r}; served is {config.model_name!r}."
        raise APIError(404, message, code="model_not_found")
    if request.token_limit is not None and request.token_limit > config.max_tokens:
        raise APIError(
            400, f"{request.token_limit} tokens are more than the {config.max_tokens} that may be asked for."
        )
    if request.n is not None and request.n > config.max_n:
        raise APIError(400, f"n={request.n} is more than the {config.max_n} that may be asked for.")


def _choose(kind: Literal["reward", "preset", "budget"], name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise APIError(400, f"no {kind} {name!r}; this server knows {sorted(known)}.", code=f"unknown_{kind}")
    return known[name]
