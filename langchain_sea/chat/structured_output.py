"""Answers of a schema, and what reads them. Knows the model by `bind` and `bind_tools` alone."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable

    from langchain_sea.chat_models import SEAChatModel

__all__ = ["make_structured_output"]


def make_structured_output(
    model: SEAChatModel,
    schema: dict[str, Any] | type,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    options: dict[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """The model bound to a schema, and a parser behind it.

    Raises:
        ValueError: the method is unknown.
    """
    known = ("json_schema", "function_calling", "json_mode")
    if method not in known:
        raise ValueError(f"method={method!r} must be one of {', '.join(known)}.")
    shape = {"kwargs": {"method": method, "strict": strict}, "schema": convert_to_json_schema(schema)}
    classed: Any = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    if method == "function_calling":
        name = convert_to_openai_tool(schema)["function"]["name"]
        bound: Any = model.bind_tools(
            [schema], tool_choice=name, strict=strict, ls_structured_output_format=shape, **options
        )
        parser: Any = (
            PydanticToolsParser(tools=[classed], first_tool_only=True)
            if classed
            else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        )
    else:
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": shape["schema"]}}
        bound = model.bind(response_format=wanted, ls_structured_output_format=shape, **options)
        parser = PydanticOutputParser(pydantic_object=classed) if classed else JsonOutputParser()
    if not include_raw:
        piped: Runnable[LanguageModelInput, Any] = bound | parser
        return piped
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([failed], exception_key="parsing_error")
