"""The errors a caller may want to catch, one root; each says what, why and what to do. Knows nothing else."""

from __future__ import annotations

from typing import Any


class SEAError(Exception):
    """The root of this package's own errors.

    Attributes:
        refinement: where one was under way, what it had found: the draft, its tokens and the trace.
    """

    refinement: Any = None


class WeightsNotFoundError(SEAError, OSError):
    """No weights under that name: not in the cache, not in a weight package, not on disk, no hub reached."""


class WeightsCorruptError(SEAError, ValueError):
    """Weights were found and cannot be used: truncated, unreadable, of wrong shapes, or refused as unsafe."""


class FileError(SEAError, OSError, ValueError):
    """A file that a user named cannot be read or written, or does not hold what it should."""


class ExtraMissingError(SEAError, ImportError):
    """An optional package is not installed; the message has the pip line."""


class ChatTemplateError(SEAError, ValueError):
    """The tokenizer has no chat template, or its template rejects these messages."""


class ArchitectureError(SEAError, NotImplementedError):
    """The model is built in a way that cannot be refined: not causal, no list of layers, or unusual logits."""


class PromptTooLongError(SEAError, ValueError):
    """The prompt and the room asked for the answer exceed the policy's context."""


class TokenizerMismatchError(SEAError, ValueError):
    """A reward steers through another tokenizer than the policy's, or a model does not know one of its tokens."""


class RewardUnavailableError(SEAError, RuntimeError):
    """A reward raised, ran out of time, or returned something that is not one finite score per text."""


class OutOfMemoryError(SEAError, MemoryError):
    """A device's memory holds no single prompt's chains, or text, any more."""


class RefinementInterrupted(KeyboardInterrupt):
    """Ctrl-C during refinement; `refinements` holds the best answers so far."""

    def __init__(self, refinements: list[Any]) -> None:
        """Keep what was found."""
        super().__init__(
            f"interrupted; the best of {len(refinements)} answers so far are in this error's `refinements`"
        )
        self.refinements = refinements


class GrammarError(SEAError, ValueError):
    """A schema cannot be enforced, or no whole answer of it fits into the tokens there are."""


class PolicyError(SEAError, ValueError):
    """A policy of tool calls cannot be read or contradicts itself, or its audit log is broken."""


class WorkerLostError(SEAError, RuntimeError):
    """Several worker processes of a batch died while they answered this row."""
