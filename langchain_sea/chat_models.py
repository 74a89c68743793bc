"""`SEAChatModel`, the chat model: LangChain's methods on top of the helpers in `chat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_core.tools import BaseTool

from langchain_sea.chat.batch import invoke_all
from langchain_sea.chat.events import AsyncEvents, Events
from langchain_sea.chat.generate import agenerate_answers, astream_answer, generate_answers, stream_answer
from langchain_sea.chat.inspection import SEAInspection
from langchain_sea.chat.options import require_call_options
from langchain_sea.chat.responses import to_chat_result
from langchain_sea.chat.structured_output import make_structured_output
from langchain_sea.chat.tools import parse_tool_choice, to_openai_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.chat_models import _ChatModelBinding
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable, RunnableConfig

__all__ = ["SEAChatModel"]


class SEAChatModel(SEAInspection):
    """A local chat model that improves its answers by the gradient of a reward.

    The model samples drafts, moves them in continuous logits towards a higher reward (Simple Energy
    Adaptation, arXiv 2505.20081), and returns the best decoded text. It never scores lower than the draft:
    `response_metadata["sea"]` reports both scores. `SEASettings` documents the fields.

    Setup:
        ```python
        from langchain_sea import SEAChatModel  # pip install torch langchain-sea
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

    Async: `await model.ainvoke(...)`, `astream`, `abatch`.

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
        """Answer; the plan and each step are reported as the custom events `sea_plan` and `sea_step`."""
        config, options = self._settings_of_call(stop, kwargs)
        answers = generate_answers(config, options, messages, Events(run_manager))
        return to_chat_result(answers, options, config.model_name)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer without blocking the event loop; a cancelled call ends its refinement at the next step."""
        (config, options), events = self._settings_of_call(stop, kwargs), AsyncEvents(run_manager)
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

        The text is that of `invoke`. Each window of a long answer leaves as soon as it is final.
        """
        config, options = self._settings_of_call(stop, kwargs)
        yield from stream_answer(config, options, messages, Events(run_manager or self._run))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Yield the chunks of `_stream` without blocking the event loop."""
        config, options = self._settings_of_call(stop, kwargs)
        events = AsyncEvents(run_manager or self._run)
        async for chunk in astream_answer(config, options, messages, events):
            yield chunk

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs, refined together, each from a thread of its own up to `max_concurrency` or else 256.

        Ctrl-C raises `RefinementInterrupted` with the best answers so far.
        """
        if len(inputs) <= 1:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        return invoke_all(self, inputs, config, kwargs, return_exceptions=return_exceptions)

    def bind(self, **kwargs: Any) -> _ChatModelBinding:
        """Return the model with options of every call.

        Raises:
            ValueError: an option is unknown or not supported.
        """
        require_call_options(kwargs)
        return super().bind(**kwargs)

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
            tools: one or several tools, functions, pydantic classes, TypedDicts or JSON schemas.
            tool_choice: `auto` or None lets the model decide; `none` hides the tools; `any`, `required` or True
                forces a call of some tool; a name or OpenAI's dict forces a call of that tool.
            strict: OpenAI's flag; forced calls follow their schema at every token either way.
            kwargs: options of every call.

        Raises:
            ValueError: a tool is no function, or `tool_choice` names none of them.
        """
        is_one = isinstance(tools, (dict, type, BaseTool)) or callable(tools)
        openai_tools = to_openai_tools([tools] if is_one else tools, strict=strict)
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
