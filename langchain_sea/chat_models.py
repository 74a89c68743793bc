"""`SEAChatModel`, the chat model: LangChain's methods on top of the helpers in `chat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_core.runnables.config import get_config_list

from langchain_sea.chat.events import AsyncStepEvents, step_events
from langchain_sea.chat.generate import (
    agenerate_answers,
    astream_blocks,
    generate_answers,
    is_streamed_in_blocks,
    load_policy,
    stream_blocks,
)
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.options import require_one_answer
from langchain_sea.chat.responses import to_chat_result, to_chunks
from langchain_sea.chat.settings import SEASettings
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

    from langchain_sea.chat.options import CallOptions, ModelConfig
    from langchain_sea.engine.selection import Refinement

__all__ = ["SEAChatModel"]

_MAX_BATCH_THREADS = 256


class SEAChatModel(SEASettings):
    """A local chat model that improves its answers by the gradient of a reward.

    The model samples drafts, moves them in continuous logits towards a higher reward (Simple Energy
    Adaptation, arXiv 2505.20081), and returns the best decoded text. That text is never worse than the draft
    by the rewards' own score; `response_metadata["sea"]` reports both.

    Setup:
        ```bash
        pip install torch langchain-sea
        ```

    Instantiate:
        ```python
        from langchain_sea import SEAChatModel

        model = SEAChatModel(model="tiny", max_tokens=32)
        ```

    Invoke:
        ```python
        message = model.invoke("What is 14 + 23?")
        message.content  # '14 + 23 = 37. The answer is 37.'
        message.response_metadata["sea"]["draft"]  # the answer before refinement
        ```

    Stream:
        ```python
        for chunk in model.stream("What is 14 + 23?"):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        await model.ainvoke("What is 14 + 23?")
        ```

    Tools:
        ```python
        def add(a: int, b: int) -> int:
            '''Add two numbers.'''
            return a + b

        model.bind_tools([add], tool_choice="add").invoke("What is 14 + 23?").tool_calls
        ```

    Structured output:
        ```python
        from pydantic import BaseModel

        class Person(BaseModel):
            name: str
            age: int

        model.with_structured_output(Person).invoke("Tom is 14 years old.")
        ```
    """

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer; each step is reported as a custom event `sea_step` with its number, best score and seconds."""
        config, options = self._settings_of_call(stop, kwargs)
        answers = generate_answers(config, options, messages, step_events(run_manager))
        return to_chat_result(answers, options, config.model_name)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer without blocking the event loop; a cancelled call ends its refinement at the next step."""
        (config, options), events = self._settings_of_call(stop, kwargs), AsyncStepEvents(run_manager)
        answers = await agenerate_answers(config, options, messages, events)
        await events.wait()
        return to_chat_result(answers, options, config.model_name)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield only refined text that the gate passes, one word a chunk; the report is on the last chunk.

        An answer of several blocks is streamed block by block. A streamed block is final, so the text may
        differ from that of `invoke`, which compares whole answers.
        """
        config, options = self._settings_of_call(stop, kwargs)
        require_one_answer(options)
        events = step_events(run_manager)
        if is_streamed_in_blocks(config, options):
            yield from stream_blocks(config, options, messages, events)
        else:
            (answer,) = generate_answers(config, options, messages, events)
            yield from to_chunks(answer, options, config.model_name)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Yield the chunks of `_stream` without blocking the event loop."""
        (config, options), events = self._settings_of_call(stop, kwargs), AsyncStepEvents(run_manager)
        require_one_answer(options)
        if is_streamed_in_blocks(config, options):
            async for chunk in astream_blocks(config, options, messages, events):
                yield chunk
            await events.wait()
            return
        (answer,) = await agenerate_answers(config, options, messages, events)
        await events.wait()
        for chunk in to_chunks(answer, options, config.model_name):
            yield chunk

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs; the engine refines them together, each as it would be refined alone.

        Every input waits in a thread of its own, up to 256, unless `max_concurrency` sets another number:
        LangChain's default would be few more than there are processors.
        """
        configs = get_config_list(config, len(inputs))
        for first in configs[:1]:  # LangChain reads the first one's alone
            first.setdefault("max_concurrency", min(len(inputs), _MAX_BATCH_THREADS))
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools that it may, or must, call.

        Args:
            tools: tools, functions, pydantic classes, TypedDicts or JSON schemas.
            tool_choice: `auto` or None lets the model decide; `none` hides the tools; `any`, `required` or True
                forces a call of some tool; a name or OpenAI's dict forces a call of that tool. A forced call
                is constrained to the tool's schema at every token.
            strict: OpenAI's flag; forced calls follow their schema either way.
            kwargs: options of every call.

        Raises:
            ValueError: `tool_choice` names none of the tools.
        """
        openai_tools = to_openai_tools(tools, strict=strict)
        parse_tool_choice(tool_choice, openai_tools)
        return self.bind(tools=openai_tools, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the model with answers that are constrained to a schema at every token.

        Args:
            schema: a pydantic class, a TypedDict, or a JSON schema.
            method: `json_schema` and `json_mode` write the object, `function_calling` a tool call.
            include_raw: return a dict of `raw`, `parsed` and `parsing_error` instead of raising.
            strict: OpenAI's flag; answers follow the schema either way.
            kwargs: options of every call.
        """
        return make_structured_output(
            self, schema, method=method, include_raw=include_raw, strict=strict, options=kwargs
        )

    def refinement(self, input: LanguageModelInput, **kwargs: Any) -> Refinement:  # noqa: A002 - as in `invoke`
        """Answer once and return the refinement: every scored text and, in its `trace`, every step.

        For inspection: the gate changes nothing here, and callbacks are not called.

        Args:
            input: as for `invoke`.
            kwargs: options of a call, as for `invoke`.
        """
        config, options = self._settings_of_call(kwargs.pop("stop", None), kwargs)
        messages = self._convert_input(input).to_messages()
        (answer,) = generate_answers(config, require_one_answer(options), messages)
        return answer.refinement

    def get_token_ids(self, text: str) -> list[int]:
        """Return the model's token ids of a text; special tokens in it are read as plain text."""
        return load_policy(self._settings_of_call(None, {})[0]).encode(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens of the prompt made of these messages and tools."""
        policy, openai_tools = load_policy(self._settings_of_call(None, {})[0]), to_openai_tools(tools or [])
        template_messages = to_template_messages(messages)
        if openai_tools and not policy.supports_tools:
            template_messages, openai_tools = render_tools_as_text(template_messages, openai_tools), []
        return policy.count_tokens(template_messages, openai_tools or None)

    def _settings_of_call(
        self, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[ModelConfig, CallOptions]:
        options = self._call_options(stop, kwargs)
        return self._config_of(options), options
