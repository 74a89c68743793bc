"""`SEAChatModel`: the one place where policy, rewards, preset and budget meet LangChain's messages."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.chat.events import AsyncStepEvents, step_events
from langchain_sea.chat.generate import agenerate_answers, generate_answers
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.options import Key, key_of, make_call_options, require_one_answer
from langchain_sea.chat.responses import chunks_of, result_of
from langchain_sea.chat.settings import SEASettings
from langchain_sea.chat.streaming import astream_windows, by_windows, stream_windows
from langchain_sea.chat.structured_output import make_structured_output
from langchain_sea.chat.tools import parse_tool_choice, render_tools_as_text, to_openai_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable, RunnableConfig
    from langchain_core.tools import BaseTool

    from langchain_sea.chat.gated_answer import GatedAnswer
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["SEAChatModel"]

_log = logging.getLogger(__name__)
_ready: ContextVar[dict[Key, list[GatedAnswer]] | None] = ContextVar("_ready", default=None)


class SEAChatModel(SEASettings):
    """A local chat model whose every answer is refined by gradient before it leaves.

    The policy drafts, the draft is moved through continuous logits towards higher reward (Simple Energy
    Adaptation, arXiv 2505.20081), and the best text is returned; it is never worse than the draft by the
    energy's own score, `response_metadata["sea"]` shows both. Constructing loads nothing.

    Attributes:
        policy: `smollm2-135m`, `tiny`, a hub id, a folder, a .gguf file, or a `CausalLMPolicy`.
        rewards: names, callables `(prompt, completions) -> scores`, rewards or `Term`s; None takes the
            policy's own (`smollm2-135m`: safety; `tiny`: arithmetic).
        preset: `default`, `paper`, `reference`, or a `Preset`.
        budget: steps, seconds, tokens, evaluations; the best so far at whichever comes first.
        seed: the same seed gives the same answer, whatever else is in the batch.
        gate: `safety` or a callable like a reward: decides whether an answer may leave. An answer that does
            not pass is replaced by the draft if that passes, else by a refusal.
        gate_threshold: what passes; None takes the gate's own, or 0.5.
        on_reward_error: a reward that fails returns the draft, flagged (`draft`), or raises (`error`).
        temperature: of drafting; None takes the preset's.
        max_tokens: the longest answer; None takes the budget's.
        stop: strings before which an answer ends.
        timeout: seconds; tightens the budget's.
        on_timeout: where the timeout is over, return the best answer so far (`best`), or raise (`error`).
        n: answers of a call, each refined from a seed of its own, counted up from `seed`; `generate` returns
            all, `invoke` the first.
        logprobs: whether the policy's log-probabilities of the answer's tokens are told.
        top_logprobs: how many of its likeliest tokens are told beside each.
        streaming: whether `invoke` goes through `stream`, for whoever listens to tokens.
        max_retries: of a callable reward that lost its connection (an `OSError`).
        draft_model: a LangChain chat model, say of a server, whose answer is the draft in place of the policy's
            own. One that fails, or writes no text, is treated as `on_reward_error` says.
        device: None chooses; or `device_map`, as transformers takes it, spreads the policy over several.
        dtype: of the policy's weights; None takes bfloat16 on hardware that multiplies it, else float32.
        quantization: `int8` or `int4`: keeps the policy's linear layers in so many bits. Slower, and smaller.

    Example:
        >>> from langchain_sea import SEAChatModel
        >>> model = SEAChatModel(policy="tiny")
        >>> model.invoke("What is 14 + 23?").content  # doctest: +SKIP
        '14 + 23 = 37. The answer is 37.'
    """

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Every step is told as a custom event, `sea_step`: its number, the best score, its seconds."""
        ask = make_call_options(self, stop, kwargs)
        found = (_ready.get() or {}).get(key_of(self, messages, ask))
        return result_of(
            self, found or generate_answers(self, [messages], ask, step_events(run_manager))[0], ask
        )

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """The event loop is never held, and a call that is cancelled leaves at its next step."""
        ask, told = make_call_options(self, stop, kwargs), AsyncStepEvents(run_manager)
        found = await agenerate_answers(self, messages, ask, told)
        await told.all()
        return result_of(self, found, ask)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Only text that passed keep-best and the gate, a word a chunk; the numbers on the last.

        An answer of several windows (`Window.stride`) leaves window by window: what has left stands, so that
        the text may be another one than `invoke`'s, which compares whole answers.
        """
        ask, tell = require_one_answer(make_call_options(self, stop, kwargs)), step_events(run_manager)
        if by_windows(self, ask):
            yield from stream_windows(self, messages, ask, tell)
        else:
            ((answer,),) = generate_answers(self, [messages], ask, tell)
            yield from chunks_of(self, answer, ask)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """As `_stream`; cancelled as `_agenerate`."""
        ask, told = require_one_answer(make_call_options(self, stop, kwargs)), AsyncStepEvents(run_manager)
        if by_windows(self, ask):
            async for chunk in astream_windows(self, messages, ask, told):
                yield chunk
            await told.all()
            return
        (answer,) = await agenerate_answers(self, messages, ask, told)
        await told.all()
        for chunk in chunks_of(self, answer, ask):
            yield chunk

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs; their prompts are refined together, under one clock."""
        stop, options = kwargs.get("stop"), {key: value for key, value in kwargs.items() if key != "stop"}
        ready: dict[Key, list[GatedAnswer]] = {}
        try:
            lists = [self._convert_input(value).to_messages() for value in inputs]
            ask = make_call_options(self, stop, options)
            unique = {key_of(self, messages, ask): messages for messages in lists}
            ready = dict(zip(unique, generate_answers(self, list(unique.values()), ask), strict=True))
        except Exception as error:  # noqa: BLE001 - it fails again below, alone, or is gone by then
            _log.warning("answering %d inputs together failed, each is asked alone: %r", len(inputs), error)
        token = _ready.set(ready)
        try:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        finally:
            _ready.reset(token)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools that it may, or must, call.

        Args:
            tools: tools, functions, pydantic classes, TypedDicts or JSON schemas.
            tool_choice: `auto` or None leaves it to the policy; `none`; `any`, `required` or True forces a
                call of some tool, a name or OpenAI's dict of that one, its form enforced token by token.
            strict: as OpenAI's; forced calls keep to their schema either way.
            kwargs: options of every call.

        Raises:
            ValueError: `tool_choice` names none of them.
        """
        found = to_openai_tools(tools, strict=strict)
        parse_tool_choice(tool_choice, found)
        return self.bind(tools=found, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers of a schema, its form enforced token by token.

        Args:
            schema: a pydantic class, a TypedDict, or a JSON schema.
            method: `json_schema` and `json_mode` write the object, `function_calling` a call of a tool.
            include_raw: a dict of `raw`, `parsed` and `parsing_error`, and nothing raised.
            strict: as OpenAI's; the schema is kept to either way.
            kwargs: options of every call.
        """
        return make_structured_output(
            self, schema, method=method, include_raw=include_raw, strict=strict, options=kwargs
        )

    def refinement(self, input: LanguageModelInput, **kwargs: Any) -> Refinement:  # noqa: A002 - as `invoke` calls it
        """The answer with all that led to it: every text scored and, in its `trace`, every step.

        For looking at: the gate has a say in `invoke` alone, and no callback hears of this.

        Args:
            input: as of `invoke`.
            kwargs: options of a call, as of `invoke`.
        """
        stop = kwargs.pop("stop", None)
        messages = self._convert_input(input).to_messages()
        ((answer,),) = generate_answers(
            self, [messages], require_one_answer(make_call_options(self, stop, kwargs))
        )
        return answer.refinement

    def get_token_ids(self, text: str) -> list[int]:
        """The policy's ids of a text, special tokens split."""
        return self._loaded().encode(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """How many tokens of the policy's the prompt of these messages, with these tools, takes."""
        policy, shown_tools = self._loaded(), to_openai_tools(tools or [])
        written = to_template_messages(messages)
        if shown_tools and not policy.supports_tools:
            written, shown_tools = render_tools_as_text(written, shown_tools), []
        return policy.count(written, shown_tools or None)

    def _loaded(self) -> CausalLMPolicy:
        from langchain_sea.rewards.registry import load_model  # noqa: PLC0415 - as in `_calls`

        return load_model(self.model, self.device, **self._placement)
