"""This package's errors as LangChain knows them, each of both kinds. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
)

from langchain_sea.errors import (
    ChatTemplateError,
    OutOfMemoryError,
    PromptTooLongError,
    SEAError,
    WeightsNotFoundError,
)

if TYPE_CHECKING:
    from langchain_sea.engine.selection import Refinement

__all__ = ["ContentError", "DeadlineError", "for_langchain"]


class LongPromptError(PromptTooLongError, ContextOverflowError):
    """The prompt and the room asked for the answer exceed the policy's context."""


class NoMemoryError(OutOfMemoryError, ModelError):
    """A device's memory holds no single prompt's chains any more."""


class NoWeightsError(WeightsNotFoundError, ModelNotFoundError):
    """There are no weights of that name."""


class NoTemplateError(ChatTemplateError, ModelInvalidRequestError):
    """The policy's chat template rejects these messages."""


class ContentError(SEAError, ModelInvalidRequestError, ValueError):
    """A message holds what this policy cannot read."""


class DeadlineError(SEAError, ModelTimeoutError):
    """The timeout is over; `refinement` holds the best answer so far."""

    @classmethod
    def after(cls, seconds: float | None, refinement: Refinement) -> Self:
        """With what was found."""
        error = cls(
            f"no answer within {seconds} s; the best so far is in this error's `refinement`. Raise timeout, "
            "lower max_tokens, or leave on_timeout='best', which returns it."
        )
        error.refinement = refinement
        return error


_BOTH: dict[type[SEAError], type[SEAError]] = {
    PromptTooLongError: LongPromptError,
    OutOfMemoryError: NoMemoryError,
    WeightsNotFoundError: NoWeightsError,
    ChatTemplateError: NoTemplateError,
}


def for_langchain(error: SEAError) -> SEAError:
    """The same as an error of LangChain's, too, where it has one of that meaning."""
    kind = _BOTH.get(type(error))
    return error if kind is None else kind(*error.args)
