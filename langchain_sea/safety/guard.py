"""A batch of calls, judged before any of it runs: all layers, repair, the held-out verifier, the audit.

Nothing is let through by failure: a layer that raises, is late or answers nonsense blocks every call it was asked
about, and says so apart from what it would have found.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from langchain_sea.core.timeouts import run_with_timeout
from langchain_sea.safety.checks import Action, Check, Decision, Finding
from langchain_sea.safety.policy import GuardConfig
from langchain_sea.safety.provenance import ProvenanceCheck
from langchain_sea.safety.rules import RulesCheck
from langchain_sea.safety.schema import SchemaCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RULES_ONLY", "GuardPipeline", "Repairer", "AuditSink"]

_log = logging.getLogger(__name__)
RULES_ONLY: tuple[Check, ...] = (SchemaCheck(), RulesCheck(), ProvenanceCheck())
"""The layers that need no model."""


class Repairer(Protocol):
    """Writes other values for some of a call's arguments."""

    def __call__(
        self, call: ToolCall, arguments: Sequence[str], reason: str, scene: CallContext, attempt: int
    ) -> ToolCall | None:
        """The call with other values for these arguments alone; None where it finds none."""


class AuditSink(Protocol):
    """Keeps what was decided."""

    def write(self, decision: Decision, scene: CallContext) -> None:
        """Before anything is executed; an error blocks the call."""


@dataclass(frozen=True, kw_only=True)
class GuardPipeline:
    """The layers in their order, and what else has a say.

    Attributes:
        policy: of the tools.
        layers: the first that objects to a call's form ends its judgement; learned ones are asked last.
        repairer: of calls to which there are only objections that ask for it; None blocks these.
        verifier: asked about repaired calls alone, and never by the repairer: what optimises against a judge
            must not be let through by the same one.
        audit: None keeps no record.
    """

    policy: GuardConfig = field(default_factory=GuardConfig)
    layers: Sequence[Check] = RULES_ONLY
    repairer: Repairer | None = None
    verifier: Check | None = None
    audit: AuditSink | None = None

    def __call__(self, calls: Sequence[ToolCall], scene: CallContext) -> list[Decision]:
        """One decision for each, written to the audit; those that a human must settle are not written yet."""
        end = time.monotonic() + self.policy.budget
        try:
            objections = self._objections(calls, scene, self.layers, end)
            found = [self._decided(call, v, scene, end) for call, v in zip(calls, objections, strict=True)]
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing runs
            _log.warning("a batch of %d calls could not be judged: %r", len(calls), error)
            failed = (_failed("judge", error),)
            found = [Decision(asked=c, call=None, outcome="unavailable", verdicts=failed) for c in calls]
        return [self.written(decision, scene) for decision in found]

    def settled(self, decision: Decision, scene: CallContext, *, approved: bool, why: str = "") -> Decision:
        """What a human said of a call under review, written."""
        outcome = "approved" if approved else "rejected"
        verdict = Finding(action=Action.NOTE, layer="human", reason=why or outcome)
        call = decision.asked if approved else None
        found = replace(decision, call=call, outcome=outcome, verdicts=(*decision.verdicts, verdict))
        return self.written(found, scene)

    def written(self, decision: Decision, scene: CallContext) -> Decision:
        """The decision once it stands in the audit; what cannot be written does not run."""
        if self.audit is None or decision.outcome == "review":
            return decision
        try:
            self.audit.write(decision, scene)
        except Exception as error:  # noqa: BLE001 - a full disk as well as a bug
            _log.warning("the audit of %s failed, which blocks it: %r", decision.asked.name, error)
            verdicts = (*decision.verdicts, _failed("audit", error))
            return replace(decision, call=None, outcome="unavailable", verdicts=verdicts)
        return decision

    def _objections(
        self, calls: Sequence[ToolCall], scene: CallContext, layers: Sequence[Check], end: float
    ) -> list[list[Finding]]:
        """All layers' to each call; a call that is blocked already is not shown to a model."""
        found: list[list[Finding]] = [[] for _ in calls]
        for layer in layers:
            first = layer.name == SchemaCheck.name
            rows = [i for i, verdicts in enumerate(found) if not _ends(verdicts, learned=layer.learned)]
            if not rows:
                break
            asked = [calls[i] for i in rows]
            for i, verdicts in zip(rows, self._asked(layer, asked, scene, end), strict=True):
                found[i] += verdicts
            if first and all(found):
                break
        return found

    def _asked(
        self, layer: Check, calls: Sequence[ToolCall], scene: CallContext, end: float
    ) -> list[list[Finding]]:
        """One layer's objections; its failure as one."""
        try:
            if layer.learned:
                seconds = min(self.policy.deadline, end - time.monotonic())
                found = run_with_timeout(seconds, lambda: layer(calls, scene))
            else:
                found = layer(calls, scene)
            if len(found) != len(calls) or not all(isinstance(v, Finding) for row in found for v in row):
                raise ValueError(f"it gave {str(found)[:80]} for {len(calls)} calls")  # noqa: TRY301 - one way out
        except Exception as error:  # noqa: BLE001 - whatever a layer raises
            return [[self._failure(layer, error, call)] for call in calls]
        return [list(row) for row in found]

    def _failure(self, layer: Check, error: Exception, call: ToolCall) -> Finding:
        failed = _failed(layer.name, error)
        if layer.name in self.policy.of(call.name).fail_open:
            _log.warning("%s passes although the layer %s failed: %r", call.name, layer.name, error)
            return replace(failed, action=Action.NOTE)
        return failed

    def _decided(
        self, call: ToolCall, verdicts: Sequence[Finding], scene: CallContext, end: float
    ) -> Decision:
        decision = Decision(asked=call, call=call, outcome="allowed", verdicts=tuple(verdicts))
        kinds = {v.action for v in verdicts if not v.failed}
        if any(v.failed and v.action is Action.BLOCK for v in verdicts):
            return replace(decision, call=None, outcome="blocked" if Action.BLOCK in kinds else "unavailable")
        if Action.BLOCK in kinds:
            return replace(decision, call=None, outcome="blocked")
        if Action.REPAIR in kinds:
            decision = self._repaired(decision, scene, end)
        if decision.runs and (self.policy.of(call.name).review or Action.REVIEW in kinds):
            return replace(decision, asked=decision.call or call, call=None, outcome="review")
        return decision

    def _repaired(self, decision: Decision, scene: CallContext, end: float) -> Decision:
        """Other values until all layers and the verifier have nothing against them, or the budget is over."""
        asked, verdicts = decision.asked, list(decision.verdicts)
        named = sorted({a for v in verdicts if v.action is Action.REPAIR for a in v.arguments})
        repairer, attempts = self.repairer, self.policy.rounds if self.repairer and self.verifier else 0
        for attempt in range(attempts):
            reason = "; ".join(v.reason for v in verdicts)
            try:
                new = run_with_timeout(
                    end - time.monotonic(),
                    partial(repairer, asked, named, reason, scene, attempt) if repairer else lambda: None,
                )
            except Exception as error:  # noqa: BLE001 - whatever a repairer raises
                verdicts.append(replace(_failed("repair", error), action=Action.NOTE))
                break
            if new is None:
                continue
            if fault := _changed(asked, new, named):
                verdicts.append(Finding(action=Action.NOTE, layer="repair", reason=fault))
                continue
            (again,) = self._objections([new], scene, self.layers, end)
            if _clean(again) and self.verifier is not None:  # it sees nothing that the others would stop
                again += self._asked(self.verifier, [new], scene, end)[0]
            verdicts += again
            if _clean(again):
                return replace(
                    decision, call=new, outcome="repaired", verdicts=tuple(verdicts), rounds=attempt + 1
                )
        return replace(decision, call=None, outcome="blocked", verdicts=tuple(verdicts), rounds=attempts)


def _ends(verdicts: Sequence[Finding], *, learned: bool) -> bool:
    """Whether a call needs no further layer: its form is wrong, or a model's opinion would change nothing."""
    blocked = [v for v in verdicts if v.action is Action.BLOCK]
    return bool(blocked) and (learned or any(v.layer == SchemaCheck.name for v in blocked))


def _clean(verdicts: Sequence[Finding]) -> bool:
    """Whether nobody objects."""
    return all(v.action is Action.NOTE for v in verdicts)


def _changed(asked: ToolCall, new: ToolCall, named: Sequence[str]) -> str | None:
    """What a repair changed that it may not."""
    if (new.name, new.position, new.id) != (asked.name, asked.position, asked.id):
        return f"a repair made {new.name!r} of {asked.name!r}, and was thrown away"
    before, after = asked.arguments, new.arguments
    others = [
        k for k in {*before, *after} if k not in named and before.get(k, _MISSING) != after.get(k, _MISSING)
    ]
    return f"a repair changed {', '.join(sorted(others))}, and was thrown away" if others else None


_MISSING = object()


def _failed(layer: str, error: Exception) -> Finding:
    said = f"{type(error).__name__}: {error}"[:200]
    reason = f"it could not judge ({said}), so the call does not run"
    return Finding(action=Action.BLOCK, layer=layer, reason=reason, failed=True)
