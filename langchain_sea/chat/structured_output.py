"""Structured output for any chat model that has `bind` and `bind_tools`."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import ModelError
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_sea.chat.cut_off import describe_limit
from langchain_sea.chat.errors import IncompleteAnswerError
from langchain_sea.errors import SEAError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.output_parsers import BaseOutputParser
    from langchain_core.runnables import Runnable
    from pydantic import BaseModel

__all__ = ["make_structured_output"]

_FAILURES = (SEAError, ModelError)  # of the model; a wrong option is the caller's mistake, and is raised
_METHODS = ("json_schema", "function_calling", "json_mode")


def make_structured_output(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    options: dict[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """Bind the model to a schema and parse its answers.

    The answers have the properties of the schema and no others. One that a limit cut off is an
    `IncompleteAnswerError`.

    Args:
        model: any chat model.
        schema: a pydantic class, a TypedDict, or a JSON schema.
        method: `json_schema` and `json_mode` ask for the object, `function_calling` for a tool call.
        include_raw: return a dict of `raw`, `parsed` and `parsing_error` instead of raising; `raw` is None where the
            model has no answer, such as for a schema that cannot be enforced.
        strict: OpenAI's flag.
        options: of every call.

    Raises:
        ValueError: the method is unknown.
    """
    if method not in _METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(_METHODS)}.")
    json_schema = convert_to_json_schema(schema)
    options = {
        **options,
        "ls_structured_output_format": {"kwargs": {"method": method, "strict": strict}, "schema": json_schema},
    }
    pydantic_class = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    bound: Runnable[LanguageModelInput, AIMessage]
    if method == "function_calling":
        name = convert_to_openai_tool(schema)["function"]["name"]
        bound = model.bind_tools([schema], tool_choice=name, strict=strict, **options)
    else:
        name = None
        response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": json_schema}}
        bound = model.bind(response_format=response_format, **options)
    parser = RunnableLambda(_require_complete) | _make_parser(pydantic_class, name)
    if not include_raw:
        return bound | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return _ask(bound) | parsed.with_fallbacks([failed], exception_key="parsing_error") | RunnableLambda(_hide_failure)


def _ask(bound: Runnable[LanguageModelInput, AIMessage]) -> Runnable[LanguageModelInput, dict[str, Any]]:
    """Return the model as a step that gives its answer, or the error instead of one, as `raw`.

    A `RunnableMap` would keep the options of a call, such as its seed, from the model.
    """

    def ask(prompt: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> dict[str, Any]:
        try:
            return {"raw": bound.invoke(prompt, config, **kwargs)}
        except _FAILURES as error:
            return {"raw": error}

    async def ask_async(prompt: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> dict[str, Any]:
        try:
            return {"raw": await bound.ainvoke(prompt, config, **kwargs)}
        except _FAILURES as error:
            return {"raw": error}

    return RunnableLambda(ask, ask_async)


def _hide_failure(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result without an error in the place of an answer; it is the `parsing_error` already."""
    return {**result, "raw": None} if isinstance(result["raw"], Exception) else result


def _require_complete(message: AIMessage | Exception) -> AIMessage:
    """Return the message; LangChain's parsers would complete JSON that was cut off.

    Raises:
        IncompleteAnswerError: a limit cut the answer off.
        Exception: it is the error that the model raised.
    """
    if isinstance(message, Exception):
        raise message
    metadata = message.response_metadata
    limit = metadata.get("sea", {}).get("cut_off_by")
    if limit is None and metadata.get("finish_reason") == "length":  # of another chat model
        limit = "max_tokens"
    if limit is None:
        return message
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    text = str(message.text) or "".join(str(call["args"]) for call in calls)
    raise IncompleteAnswerError(
        f"there is no complete answer of the schema: it was {describe_limit(limit)}. The incomplete answer: {text!r}",
        llm_output=text,
    )


def _make_parser(pydantic_class: type[BaseModel] | None, tool_name: str | None) -> BaseOutputParser[Any]:
    """Return the parser of a tool call, where a tool is named, or of the text."""
    if tool_name is None:
        return PydanticOutputParser(pydantic_object=pydantic_class) if pydantic_class else JsonOutputParser()
    if pydantic_class:
        return PydanticToolsParser(tools=[pydantic_class], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=tool_name, first_tool_only=True)
