"""What the user did not say about a write, for policies that ask about it (`GuardConfig.ask_writes`).

The checks ask about doubts that they can recognize. Whoever wants to see more than those sees each write that is not
the user's own in every value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.safety.text.values import get_argument, list_numbers, list_strings

if TYPE_CHECKING:
    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_unnamed_value"]

_SHOWN = 80  # characters


def find_unnamed_value(call: ToolCall, context: CallContext) -> tuple[str, str] | None:
    """Return the argument and the reason, where the policy asks about a write with a value that no trusted text names.

    None where the policy does not ask about this call, or where trusted texts name all its values.
    """
    when = context.policy.ask_writes
    if when == "doubtful" or (when == "tainted" and not context.is_tainted):
        return None
    named = context.trusted_for(call.name)
    values = [(path, text) for path, text in list_strings(call.arguments) if path]
    values += [(path, f"{number:g}") for path, number in list_numbers(call.arguments)]
    for path, value in values:
        if value.strip() and not any(index.has_value(value) for index in named):
            reason = f"{path}: {value[:_SHOWN]!r} is not in the user's words, and the policy asks about such writes"
            return get_argument(path), reason
    return None
