"""Functions that users pass as rewards or gates: what they are called with.

It imports neither torch nor transformers, so that a model can check its settings when it is made.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_sea.core.conversation import last_user_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["call_scoring_function", "require_scoring_function", "takes_messages", "to_list", "wait_for_result"]

T = TypeVar("T")


def to_list(rewards: T | Sequence[T]) -> list[T]:
    """Return one reward, or several, as a list.

    A name, a function and an object that scores are one reward, and so is what cannot be a list of them: whoever
    reads the list says what is wrong with it. A dict is refused as well, because its values would be lost.
    """
    is_one = isinstance(rewards, (str, os.PathLike, Mapping)) or callable(rewards) or hasattr(rewards, "score")
    if is_one or not isinstance(rewards, Iterable):
        return [cast("T", rewards)]
    return list(rewards)


def takes_messages(function: Callable[..., Any]) -> bool:
    """Return whether a reward function has a parameter `messages`, and so wants the whole conversation."""
    try:
        return "messages" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False


def call_scoring_function(
    function: Callable[..., Any], messages: Sequence[Mapping[str, Any]], completions: Sequence[str]
) -> object:
    """Return what a reward or a gate returns for answers to a conversation.

    Args:
        function: with a parameter `messages`, it is called as `function(messages=…, completions=…)`, else as
            `function(prompt, completions)`. What an `async def` function returns is awaited.
        messages: the conversation, in the template's form.
        completions: the answers.
    """
    if takes_messages(function):
        conversation = [dict(message) for message in messages]
        return wait_for_result(function(messages=conversation, completions=list(completions)))
    return wait_for_result(function(last_user_text(messages), list(completions)))


def require_scoring_function(function: Callable[..., Any], label: str) -> None:
    """Check that a function can be called as a reward or a gate is.

    Args:
        function: the reward or gate.
        label: what error messages call it.

    Raises:
        TypeError: it is a pipeline of transformers, or takes other arguments.
    """
    if any(kind.__module__.startswith("transformers.pipelines") for kind in type(function).__mro__):
        raise TypeError(
            f"the {label} is a pipeline of transformers, and which of its labels is good is not known: pass the "
            "name of its model, or a function (prompt, completions) -> scores that calls it, such as "
            "lambda prompt, completions: [result['score'] for result in pipeline(list(completions))]."
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    if "messages" in signature.parameters:
        try:
            signature.bind(messages=[], completions=[])
        except TypeError as error:
            raise TypeError(
                f"the {label} has a parameter `messages`, so it must take messages=… and "
                f"completions=… and need nothing else: {error}."
            ) from error
        return
    try:
        signature.bind("", [])
    except TypeError as error:
        raise TypeError(
            f"the {label} is called as (prompt, completions) and must return a score for each completion, but takes "
            f"{signature}: {error}."
        ) from error


def wait_for_result(returned: Any) -> Any:  # noqa: ANN401 - whatever a user's function returns
    """Return what an `async def` function will have returned, or anything else as it is."""
    if not inspect.isawaitable(returned):
        return returned

    async def wait() -> object:
        return await returned

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    # a loop runs in this thread, and may not run another one meanwhile
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(contextvars.copy_context().run, asyncio.run, wait()).result()
