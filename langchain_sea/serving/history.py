"""The messages of a request as LangChain's, with whatever calls a client sends back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, convert_to_messages
from langchain_core.messages.tool import invalid_tool_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage, InvalidToolCall

__all__ = ["to_langchain_messages"]


def to_langchain_messages(messages: Sequence[dict[str, Any]]) -> list[BaseMessage]:
    """Return a request's messages as LangChain's.

    A call whose arguments are no JSON object becomes an invalid call, which the model sees as it was written. Empty
    arguments are none.

    Raises:
        KeyError, NotImplementedError, TypeError, ValueError: a message has no known form.
    """
    return [_to_langchain(message) for message in messages]


def _to_langchain(message: dict[str, Any]) -> BaseMessage:
    given = {key: value for key, value in message.items() if value is not None}
    given.setdefault("content", "")
    calls: list[dict[str, Any]] = []
    invalid: list[InvalidToolCall] = []
    asked = given.get("tool_calls") or []
    if not isinstance(asked, list) or not all(isinstance(call, dict) for call in asked):
        raise ValueError(f"tool_calls must be a list of objects with an id and a function, not {asked!r}")
    for call in asked:
        read = _read_call(call)
        if read is None:
            function = call["function"]
            invalid.append(
                invalid_tool_call(
                    name=function.get("name"),
                    args=str(function["arguments"]),
                    id=call.get("id"),
                    error="the arguments are no JSON object",
                )
            )
        else:
            calls.append(read)
    if "tool_calls" in given:
        given["tool_calls"] = calls
    (converted,) = convert_to_messages([given])
    if isinstance(converted, AIMessage) and invalid:
        return converted.model_copy(update={"invalid_tool_calls": invalid})
    return converted


def _read_call(call: dict[str, Any]) -> dict[str, Any] | None:
    """Return a call with its arguments as the JSON of an object; None if they are none."""
    function = call.get("function")
    if not isinstance(function, dict):  # not in OpenAI's form; LangChain may know it
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, strict=False) if arguments.strip() else {}
        except ValueError:
            return None
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        return None
    return {**call, "function": {**function, "arguments": json.dumps(arguments)}}
