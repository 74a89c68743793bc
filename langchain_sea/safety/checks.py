"""What a check reports about a call, and what is decided about the call. Knows no concrete check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["Action", "Check", "Decision", "Finding", "PerCallCheck", "require_check"]


class Action(StrEnum):
    """What a check asks for."""

    NOTE = "note"  # nothing; for the record
    BLOCK = "block"
    REPAIR = "repair"  # the call may run with other values of the named arguments
    ASK = "ask"  # a human decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One objection of a check to a call.

    Attributes:
        action: what the check asks for.
        check: name of the check.
        reason: for a reader who does not know the check.
        arguments: names of the arguments at fault; empty where the whole call is.
        score: of the model, where one judged.
        has_failed: the check did not work: it raised, ran out of time, or returned no valid number. That blocks
            the call, and says nothing about it.
    """

    action: Action
    check: str
    reason: str
    arguments: tuple[str, ...] = ()
    score: float | None = None
    has_failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON, under the keys of the audit file."""
        return {
            "action": str(self.action),
            "layer": self.check,
            "reason": self.reason,
            "arguments": list(self.arguments),
            "score": self.score,
            "failed": self.has_failed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is decided about one call.

    Attributes:
        requested: the call as the model wrote it.
        executable: the call as it may run; None where it may not.
        outcome: `allowed`, `repaired`, `blocked`, `unavailable` (a check failed), `review` (waits for a human),
            `approved` or `rejected` (by a human).
        findings: of all checks, those about `requested` first.
        rounds: of repair.
    """

    requested: ToolCall
    executable: ToolCall | None
    outcome: str
    findings: tuple[Finding, ...] = ()
    rounds: int = 0

    @property
    def is_allowed(self) -> bool:
        """Whether a call may run: the requested one or its repair."""
        return self.executable is not None

    @property
    def reason(self) -> str:
        """All findings in one line, for the agent and for people."""
        lines = (f"{finding.check}: {finding.reason}" for finding in self.findings)
        return "; ".join(lines) or "nothing was found against it"


class Check(Protocol):
    """Examines calls in their context.

    Attributes:
        name: in findings and in the audit log.
        uses_model: whether a model judges. It may be slow or fail, so such checks run last and with a deadline.
    """

    name: str
    uses_model: bool

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
        """Return the findings about each call; no finding lets a call pass that another one blocks."""


class PerCallCheck(ABC):
    """Base class of checks that look at one call at a time."""

    uses_model = False

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
        """Return the findings about each call."""
        return [self.check(call, context) for call in calls]

    @abstractmethod
    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return the findings about one call."""


def require_check(check: Check) -> None:
    """Refuse an object that is no check: with it, no call could be judged, and each would be stopped.

    Raises:
        TypeError: it lacks `name` or `uses_model`, or cannot be called.
    """
    lacks = [name for name in ("name", "uses_model") if not hasattr(check, name)]
    lacks += [] if callable(check) else ["__call__"]
    if lacks:
        raise TypeError(
            f"{check!r} is no check: it has no {' and no '.join(lacks)}. A check is called with (calls, context), and"
            " has a name and uses_model (False if no model judges); PerCallCheck is a base class."
        )
