"""What a layer says of a call, and what becomes of the call. Knows no layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from langchain_sea.errors import SEAError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["Action", "Decision", "PerCallCheck", "Check", "PolicyError", "Finding"]


class Action(StrEnum):
    """What a layer asks for."""

    NOTE = "note"  # nothing; it is to be known
    BLOCK = "block"
    REPAIR = "repair"  # not as it stands; other values of the named arguments may do
    REVIEW = "review"  # a human is to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One layer's objection to a call.

    Attributes:
        action: what is to happen.
        layer: whose it is.
        reason: for a person who knows neither layer nor rule.
        arguments: at fault, by name; empty where it is the call itself.
        score: where a model judged.
        failed: the layer could not judge: it raised, was late, or gave no number. That blocks, and says
            nothing of the call.
    """

    action: Action
    layer: str
    reason: str
    arguments: tuple[str, ...] = ()
    score: float | None = None
    failed: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        found = asdict(self)
        return found | {"action": str(self.action), "arguments": list(self.arguments)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one call.

    Attributes:
        asked: as the model wrote it.
        call: as it may be executed; None where it may not.
        outcome: `allowed`, `repaired`, `blocked`, `unavailable` (a layer failed), `review`, `approved` or
            `rejected` (a human said so).
        verdicts: all objections, those to `asked` first.
        rounds: of repair.
    """

    asked: ToolCall
    call: ToolCall | None
    outcome: str
    verdicts: tuple[Finding, ...] = ()
    rounds: int = 0

    @property
    def runs(self) -> bool:
        """Whether something is to be executed."""
        return self.call is not None

    @property
    def reason(self) -> str:
        """For the agent and for people: every objection in a line."""
        return "; ".join(f"{v.layer}: {v.reason}" for v in self.verdicts) or "nothing was found against it"


class Check(Protocol):
    """Judges calls in their scene.

    Attributes:
        name: in verdicts and in the audit.
        learned: whether a model judges, which may be late or fail: such layers are run apart, with a deadline.
    """

    name: str
    learned: bool

    def __call__(self, calls: Sequence[ToolCall], scene: CallContext) -> list[list[Finding]]:
        """The objections to each; none lets a call pass."""


class PerCallCheck(ABC):
    """A layer that looks at each call by itself."""

    learned = False

    def __call__(self, calls: Sequence[ToolCall], scene: CallContext) -> list[list[Finding]]:
        """As `Check`."""
        return [self.one(call, scene) for call in calls]

    @abstractmethod
    def one(self, call: ToolCall, scene: CallContext) -> list[Finding]:
        """The objections to one call."""


class PolicyError(SEAError, ValueError):
    """A safety policy cannot be read, or contradicts itself; the message says where."""
