"""Calls of one batch, each in a thread of its own; or one after another, in the thread that computes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import get_config_list, get_executor_for_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from langchain_sea.chat.inspection import SEAInspection

__all__ = ["invoke_all"]

_MAX_THREADS = 256


def invoke_all(
    model: SEAInspection,
    inputs: Sequence[LanguageModelInput],
    config: RunnableConfig | Sequence[RunnableConfig] | None,
    kwargs: dict[str, Any],
    *,
    return_exceptions: bool,
) -> list[Any]:
    """Return the model's answer, or its error, for every input.

    Args:
        model: the chat model.
        inputs: two or more.
        config: one for all inputs, or one for each. The first one's `max_concurrency` limits the threads.
        kwargs: options of every call.
        return_exceptions: whether an error takes the place of an answer.
    """
    configs = get_config_list(config, len(inputs))
    # LangChain's own default is too low: what waits for a thread cannot be refined together with the others
    configs[0].setdefault("max_concurrency", min(len(inputs), _MAX_THREADS))

    def call(value: LanguageModelInput, each: RunnableConfig) -> object:
        try:
            return model.invoke(value, each, **kwargs)
        except Exception as error:
            if not return_exceptions:
                raise
            return error

    if model._is_stepped_here(kwargs):  # noqa: SLF001 - one class in several files
        # a reward calls the model again: other threads would wait for this one, and this one for them
        return [call(value, each) for value, each in zip(inputs, configs, strict=True)]
    with get_executor_for_config(configs[0]) as executor:
        calls = [executor.submit(call, value, each) for value, each in zip(inputs, configs, strict=True)]
        model._wait_for_calls(calls, kwargs)  # noqa: SLF001 - one class in several files
        return [each.result() for each in calls]
