"""Where the guard stands among an agent's middlewares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_sea.middleware.opening import GuardOpening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain.agents.middleware import AgentMiddleware

    from langchain_sea.middleware.guard import ToolCallSafetyMiddleware

__all__ = ["with_guard"]


def with_guard(
    middleware: Iterable[AgentMiddleware[Any, Any, Any]], guard: ToolCallSafetyMiddleware
) -> list[AgentMiddleware[Any, Any, Any]]:
    """Return the middlewares with the guard as the last one, where it sees each call as it will run.

    A middleware behind the guard could rewrite a call in `wrap_tool_call` after it was judged. Before other
    middlewares stands a part of the guard that notes what the caller gave the agent: its messages and its prompt.

    Args:
        middleware: all others, in their order; the guard may be among them, at any place.
        guard: to be the last.

    Examples:
        >>> agent = create_agent(model, tools, middleware=with_guard([retry], guard))  # doctest: +SKIP
    """
    others = [each for each in middleware if each is not guard and not isinstance(each, GuardOpening)]
    return [guard.make_opening(), *others, guard] if others else [guard]
