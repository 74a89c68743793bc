"""Decides about a batch of calls before any of them runs: all checks, repair, the verifier, the audit log.

A failure lets nothing through: a check that raises, is late or returns nonsense blocks every call it was given, and
the finding says that the check failed, not that the call is bad.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from langchain_sea.core.timeouts import run_with_timeout
from langchain_sea.safety.checks import Action, Check, Decision, Finding
from langchain_sea.safety.policy import GuardConfig
from langchain_sea.safety.provenance import ProvenanceCheck
from langchain_sea.safety.request import RequestCheck
from langchain_sea.safety.rules import RulesCheck
from langchain_sea.safety.schema import SchemaCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RULES_ONLY", "AuditSink", "GuardPipeline", "Repairer"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
RULES_ONLY: tuple[Check, ...] = (SchemaCheck(), RulesCheck(), ProvenanceCheck(), RequestCheck())
"""The checks that need no model."""


class Repairer(Protocol):
    """Writes other values for some of a call's arguments."""

    def __call__(
        self, call: ToolCall, arguments: Sequence[str], reason: str, context: CallContext, attempt: int
    ) -> ToolCall | None:
        """Return the call with other values for these arguments alone; None where that is not possible."""


class AuditSink(Protocol):
    """Records decisions."""

    def write(self, decision: Decision, context: CallContext) -> None:
        """Record a decision before its call runs; an error blocks the call."""


@dataclass(frozen=True, kw_only=True)
class GuardPipeline:
    """Runs the checks in their order, and decides about each call.

    Attributes:
        policy: the rules of the tools.
        checks: in their order. A call of wrong form gets no further check, and a blocked call none with a model.
        repairer: of calls to which all objections ask for a repair; None blocks these.
        verifier: checks repaired calls only, and must not be what the repairer optimizes: a text that is optimized
            against a judge must not be let through by the same one.
        audit: None records nothing.
    """

    policy: GuardConfig = field(default_factory=GuardConfig)
    checks: Sequence[Check] = RULES_ONLY
    repairer: Repairer | None = None
    verifier: Check | None = None
    audit: AuditSink | None = None

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[Decision]:
        """Decide about each call, and record it; a decision under review is recorded once a human has answered."""
        end = time.monotonic() + self.policy.budget
        decisions = _capture(lambda: self._decide_all(calls, context, end))
        if isinstance(decisions, Exception):
            _log.warning("a batch of %d calls could not be judged: %r", len(calls), decisions)
            failure = _describe_failure("judge", decisions)
            decisions = [_stop(call, "unavailable", (failure,)) for call in calls]
        return [self.record(decision, context) for decision in decisions]

    def resolve_review(
        self, decision: Decision, context: CallContext, *, is_approved: bool, reason: str = ""
    ) -> Decision:
        """Return the decision after a human's answer, recorded."""
        outcome = "approved" if is_approved else "rejected"
        finding = Finding(action=Action.NOTE, check="human", reason=reason or outcome)
        executable = decision.requested if is_approved else None
        findings = (*decision.findings, finding)
        resolved = replace(decision, executable=executable, outcome=outcome, findings=findings)
        return self.record(resolved, context)

    def record(self, decision: Decision, context: CallContext) -> Decision:
        """Write the decision to the audit log, and return it; a call that cannot be recorded does not run."""
        audit = self.audit
        if audit is None or decision.outcome == "review":
            return decision
        error = _capture(lambda: audit.write(decision, context))
        if not isinstance(error, Exception):
            return decision
        _log.warning("the audit of %s failed, which blocks it: %r", decision.requested.name, error)
        findings = (*decision.findings, _describe_failure("audit", error))
        return replace(decision, executable=None, outcome="unavailable", findings=findings)

    def _decide_all(self, calls: Sequence[ToolCall], context: CallContext, end: float) -> list[Decision]:
        findings = self._run_checks(calls, context, end)
        return [self._decide(call, rows, context, end) for call, rows in zip(calls, findings, strict=True)]

    def _run_checks(self, calls: Sequence[ToolCall], context: CallContext, end: float) -> list[list[Finding]]:
        """Return the findings of all checks about each call."""
        findings: list[list[Finding]] = [[] for _ in calls]
        for check in self.checks:
            rows = [i for i, row in enumerate(findings) if not _is_settled(row, uses_model=check.uses_model)]
            if not rows:
                break
            new_findings = self._run_check(check, [calls[i] for i in rows], context, end)
            for i, row in zip(rows, new_findings, strict=True):
                findings[i] += row
            if check.name == SchemaCheck.name and all(findings):
                break
        return findings

    def _run_check(
        self, check: Check, calls: Sequence[ToolCall], context: CallContext, end: float
    ) -> list[list[Finding]]:
        """Return one check's findings; its failure is a finding about each call."""
        run = partial(_run_validated, check, calls, context)
        if check.uses_model:
            seconds = min(self.policy.deadline, end - time.monotonic())
            run = partial(run_with_timeout, seconds, run)
        findings = _capture(run)
        if isinstance(findings, Exception):
            return [[self._apply_fail_open(check, findings, call)] for call in calls]
        return findings

    def _apply_fail_open(self, check: Check, error: Exception, call: ToolCall) -> Finding:
        """Return the failure as a finding, which blocks unless the tool's rules say otherwise."""
        failure = _describe_failure(check.name, error)
        if check.name in self.policy.rules_for(call.name).fail_open:
            _log.warning("%s passes although the check %s failed: %r", call.name, check.name, error)
            return replace(failure, action=Action.NOTE)
        return failure

    def _decide(self, call: ToolCall, findings: Sequence[Finding], context: CallContext, end: float) -> Decision:
        actions = {finding.action for finding in findings if not finding.has_failed}
        if Action.BLOCK in actions:
            return _stop(call, "blocked", findings)
        if any(finding.has_failed and finding.action is Action.BLOCK for finding in findings):
            return _stop(call, "unavailable", findings)
        decision = Decision(requested=call, executable=call, outcome="allowed", findings=tuple(findings))
        if Action.REPAIR in actions:
            decision = self._repair(decision, context, end)
        needs_review = self.policy.rules_for(call.name).review or Action.ASK in actions
        if decision.executable is not None and needs_review:
            return replace(decision, requested=decision.executable, executable=None, outcome="review")
        return decision

    def _repair(self, decision: Decision, context: CallContext, end: float) -> Decision:
        """Try other values until no check and not the verifier objects, or rounds or time are used up."""
        call, findings = decision.requested, list(decision.findings)
        arguments = sorted({a for f in findings if f.action is Action.REPAIR for a in f.arguments})
        repairer, verifier = self.repairer, self.verifier
        if repairer is None or verifier is None:
            return _stop(call, "blocked", findings)
        for attempt in range(self.policy.rounds):
            reason = "; ".join(finding.reason for finding in findings)
            propose = partial(repairer, call, arguments, reason, context, attempt)
            new_call = _capture(partial(run_with_timeout, end - time.monotonic(), propose))
            if isinstance(new_call, Exception):
                findings.append(replace(_describe_failure("repair", new_call), action=Action.NOTE))
                break
            if new_call is None:
                continue
            if error := _find_forbidden_change(call, new_call, arguments):
                findings.append(Finding(action=Action.NOTE, check="repair", reason=error))
                continue
            new_findings = self._check_repair(verifier, new_call, context, end)
            findings += new_findings
            if _is_clean(new_findings):
                return replace(
                    decision, executable=new_call, outcome="repaired", findings=tuple(findings), rounds=attempt + 1
                )
        return replace(_stop(call, "blocked", findings), rounds=self.policy.rounds)

    def _check_repair(self, verifier: Check, call: ToolCall, context: CallContext, end: float) -> list[Finding]:
        """Return the findings about a repaired call; the verifier sees only what all checks let pass."""
        (findings,) = self._run_checks([call], context, end)
        if _is_clean(findings):
            findings += self._run_check(verifier, [call], context, end)[0]
        return findings


def _capture(work: Callable[[], T]) -> T | Exception:
    """Return what `work` returns, or the exception that it raises."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a bug in a check must block calls, not end the agent
        return error


def _run_validated(check: Check, calls: Sequence[ToolCall], context: CallContext) -> list[list[Finding]]:
    """Run a check; a `ValueError` where it does not return a list of findings for each call."""
    findings = check(calls, context)
    if len(findings) != len(calls) or not all(isinstance(f, Finding) for row in findings for f in row):
        raise ValueError(f"it returned {str(findings)[:80]} for {len(calls)} calls")
    return [list(row) for row in findings]


def _stop(call: ToolCall, outcome: str, findings: Sequence[Finding]) -> Decision:
    return Decision(requested=call, executable=None, outcome=outcome, findings=tuple(findings))


def _is_settled(findings: Sequence[Finding], *, uses_model: bool) -> bool:
    """Return whether a further check is useless: the form is wrong, or a model would judge a blocked call."""
    blocking = [finding for finding in findings if finding.action is Action.BLOCK]
    return bool(blocking) and (uses_model or any(f.check == SchemaCheck.name for f in blocking))


def _is_clean(findings: Sequence[Finding]) -> bool:
    """Return whether there is no objection."""
    return all(finding.action is Action.NOTE for finding in findings)


def _find_forbidden_change(call: ToolCall, new_call: ToolCall, arguments: Sequence[str]) -> str | None:
    """Return what a repair changed beside the arguments that it may change."""
    if (new_call.name, new_call.position, new_call.id) != (call.name, call.position, call.id):
        return f"a repair changed the call of {call.name!r} to one of {new_call.name!r}, and was rejected"
    before, after = call.arguments, new_call.arguments
    changed = [
        name
        for name in {*before, *after}
        if name not in arguments and before.get(name, _MISSING) != after.get(name, _MISSING)
    ]
    return f"a repair changed {', '.join(sorted(changed))}, and was rejected" if changed else None


_MISSING = object()


def _describe_failure(check: str, error: Exception) -> Finding:
    message = f"{type(error).__name__}: {error}"[:200]
    reason = f"it failed ({message}), so the call does not run"
    return Finding(action=Action.BLOCK, check=check, reason=reason, has_failed=True)
