"""This package's errors that are also LangChain's, so that either kind may be caught. Knows no model.

A chat model raises them in place of those of `langchain_sea.errors`: the name is that of the package's error with
`Model` before it, as in LangChain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Self

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
    OutputParserException,
)

from langchain_sea.errors import (
    ChatTemplateError,
    GrammarError,
    OutOfMemoryError,
    PromptTooLongError,
    SEAError,
    WeightsNotFoundError,
)

if TYPE_CHECKING:
    from langchain_sea.engine.selection import Refinement

__all__ = ["ContentError", "DeadlineError", "IncompleteAnswerError", "raise_langchain_error"]


class ModelPromptTooLongError(PromptTooLongError, ContextOverflowError):
    """The prompt and `max_tokens` together exceed the model's context."""


class ModelOutOfMemoryError(OutOfMemoryError, ModelError):
    """The chains of a single prompt do not fit into the device's memory."""


class ModelWeightsNotFoundError(WeightsNotFoundError, ModelNotFoundError):
    """No weights have this name."""


class ModelChatTemplateError(ChatTemplateError, ModelInvalidRequestError):
    """The model's chat template rejects these messages."""


class ContentError(SEAError, ModelInvalidRequestError, ValueError):
    """A message holds content that is not text, or text that cannot be encoded."""


class IncompleteAnswerError(GrammarError, OutputParserException):
    """A limit cut structured output off; the message names the limit, and `llm_output` is what the model wrote."""

    def __init__(self, message: str, llm_output: str = "") -> None:
        """Make the error of a message and of the text that was written."""
        super().__init__(message, llm_output=llm_output)
        self.args = (message,)  # LangChain adds a link, and would add another one to each copy


class DeadlineError(SEAError, ModelTimeoutError):
    """The timeout is over; `refinement` holds the best answer so far."""

    @classmethod
    def after(cls, seconds: float | None, refinement: Refinement) -> Self:
        """Make the error of a call that took longer than its timeout."""
        error = cls(
            f"no answer within {seconds} s; the best so far is in this error's `refinement`. Raise timeout, "
            "lower max_tokens, or leave on_timeout='best', which returns it."
        )
        error.refinement = refinement
        return error


_LANGCHAIN_ERRORS: dict[type[SEAError], type[SEAError]] = {
    PromptTooLongError: ModelPromptTooLongError,
    OutOfMemoryError: ModelOutOfMemoryError,
    WeightsNotFoundError: ModelWeightsNotFoundError,
    ChatTemplateError: ModelChatTemplateError,
}


def raise_langchain_error(error: SEAError) -> NoReturn:
    """Raise the error as one that is also LangChain's, where LangChain has one of this meaning, else as it is.

    Its cause, such as what a user's function raised, stays below it: `raise error from error` would hide that.

    Raises:
        SEAError: always.
    """
    error_class = _LANGCHAIN_ERRORS.get(type(error))
    if error_class is None:
        raise error
    made = error_class(*error.args)
    made.refinement = error.refinement
    raise made from error
