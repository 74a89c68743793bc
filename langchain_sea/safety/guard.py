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

from langchain_sea.core.suggestions import suggest
from langchain_sea.core.timeouts import run_with_timeout
from langchain_sea.errors import PolicyError
from langchain_sea.safety.checks import Action, Check, Decision, Finding, require_check
from langchain_sea.safety.policy import GuardConfig
from langchain_sea.safety.provenance.check import ProvenanceCheck
from langchain_sea.safety.request.check import RequestCheck
from langchain_sea.safety.rules.check import RulesCheck
from langchain_sea.safety.stops import report_stop
from langchain_sea.safety.tool_call import find_forbidden_change
from langchain_sea.safety.tools.schema import SchemaCheck
from langchain_sea.safety.tools.tool_identity import ToolIdentityCheck, check_policy_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RULES_ONLY", "AuditSink", "GuardPipeline", "Repairer", "answer_question"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_PREPARATION_SECONDS = 60.0
RULES_ONLY: tuple[Check, ...] = (SchemaCheck(), RulesCheck(), ProvenanceCheck(), RequestCheck(), ToolIdentityCheck())
"""The checks that need no model."""
_OWN_NAMES = ("rules", "provenance", "request", "tools", "harm", "wish")
"""Checks that a policy may name although this pipeline has none of them."""


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
        on_stop: called with each decision that stops a call, beside the line of `logging` and the counter.

    Raises:
        TypeError: one of `checks`, or `verifier`, is no check.
        PolicyError: the policy names a check that there is not.
    """

    policy: GuardConfig = field(default_factory=GuardConfig)
    checks: Sequence[Check] = RULES_ONLY
    repairer: Repairer | None = None
    verifier: Check | None = None
    audit: AuditSink | None = None
    on_stop: Callable[[Decision], None] | None = None

    def __post_init__(self) -> None:
        for check in (*self.checks, *([self.verifier] if self.verifier else [])):
            require_check(check)
        names = [*_OWN_NAMES, *(check.name for check in self.checks)]
        actions = [self.policy.actions, self.policy.default.actions, *(r.actions for r in self.policy.tools.values())]
        for name in {name for group in actions for name in group}:
            if name not in names:
                hint = suggest(name, names) or f"the checks are {', '.join(names)}."
                raise PolicyError(f"actions: there is no check {name!r}; {hint}")

    def __call__(self, calls: Sequence[ToolCall], context: CallContext) -> list[Decision]:
        """Decide about each call, and record it; a question is recorded once a human has answered."""
        decisions = self.judge(calls, context)
        return [d if d.outcome == "review" else self.record(d, context) for d in decisions]

    def judge(self, calls: Sequence[ToolCall], context: CallContext) -> list[Decision]:
        """Decide about each call, and record nothing; in `monitor` mode every call may run."""
        end = time.monotonic() + self.policy.budget
        decisions = _capture(lambda: self._decide_all(calls, context, end))
        if isinstance(decisions, Exception):
            _log.warning("a batch of %d calls could not be judged: %r", len(calls), decisions)
            failure = _describe_failure("judge", decisions)
            decisions = [_stop(call, "unavailable", (failure,)) for call in calls]
        if self.policy.mode == "monitor":
            decisions = [replace(decision, executable=decision.requested) for decision in decisions]
        return decisions

    def resolve_review(
        self, decision: Decision, context: CallContext, *, is_approved: bool, reason: str = ""
    ) -> Decision:
        """Return the decision after a human's answer, recorded."""
        return self.record(answer_question(decision, is_approved=is_approved, reason=reason), context)

    def settle_unanswered(self, decision: Decision, context: CallContext) -> Decision:
        """Return what a question becomes that nobody can be asked, recorded; other decisions stay as they are."""
        if decision.outcome != "review" or decision.executable is not None:
            return decision
        call = decision.requested
        runs = self.policy.unanswered_of(call.name) == "allow"
        reason = f"no human could be asked, so the policy {'lets it run' if runs else 'stops it'}"
        finding = Finding(action=Action.NOTE, check="human", reason=reason)
        settled = replace(decision, executable=call if runs else None, findings=(*decision.findings, finding))
        return self.record(settled, context)

    def record(self, decision: Decision, context: CallContext) -> Decision:
        """Write the decision to the audit log, and return it; a call that cannot be recorded does not run."""
        report_stop(decision, self.on_stop)
        audit = self.audit
        if audit is None:
            return decision
        write = partial(audit.write, decision, context)
        error = _capture(partial(run_with_timeout, self.policy.deadline, write))
        if not isinstance(error, Exception):
            return decision
        _log.warning("the audit of %s failed, which blocks it: %r", decision.requested.name, error)
        findings = (*decision.findings, _describe_failure("audit", error))
        return replace(decision, executable=None, outcome="unavailable", findings=findings)

    def _decide_all(self, calls: Sequence[ToolCall], context: CallContext, end: float) -> list[Decision]:
        check_policy_names(self.policy, context.tools)
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
            if prepare := getattr(check, "prepare", None):  # reads weights, which is no batch's time
                _capture(partial(run_with_timeout, _PREPARATION_SECONDS, prepare))
            seconds = min(self.policy.deadline, end - time.monotonic())
            run = partial(run_with_timeout, seconds, run)
        findings = _capture(run)
        if isinstance(findings, Exception):
            return [[self._apply_fail_open(check, findings, call)] for call in calls]
        return [[self._apply_policy(f, call) for f in row] for call, row in zip(calls, findings, strict=True)]

    def _apply_policy(self, finding: Finding, call: ToolCall) -> Finding:
        """Return the finding with the action that the policy gives to this check's doubts."""
        action = self.policy.action_of(finding.check, call.name)
        if action is None or finding.has_failed or finding.action not in (Action.ASK, Action.BLOCK):
            return finding
        return replace(finding, action=Action(action))

    def _apply_fail_open(self, check: Check, error: Exception, call: ToolCall) -> Finding:
        """Return the failure as a finding, which blocks unless the tool's rules say otherwise."""
        failure = _describe_failure(check.name, error)
        if check.name in self.policy.rules_for(call.name).fail_open:
            _log.warning("%s passes although the check %s failed: %r", call.name, check.name, error, exc_info=error)
            return replace(failure, action=Action.NOTE)
        _log.warning("%s does not run, because the check %s failed: %r", call.name, check.name, error, exc_info=error)
        return failure

    def _decide(self, call: ToolCall, findings: Sequence[Finding], context: CallContext, end: float) -> Decision:
        actions = {finding.action for finding in findings if not finding.has_failed}
        if Action.BLOCK in actions:
            return _stop(call, "blocked", findings)
        if any(finding.has_failed and finding.action is Action.BLOCK for finding in findings):
            return _stop(call, "unavailable", findings)
        decision = Decision(requested=call, executable=call, outcome="allowed", findings=tuple(findings))
        is_asked = Action.ASK in actions
        if Action.REPAIR in actions:
            decision, is_asked = self._repair(decision, context, end)
        if decision.executable is not None and (is_asked or self.policy.rules_for(call.name).review):
            return replace(decision, requested=decision.executable, executable=None, outcome="review")
        return decision

    def _repair(self, decision: Decision, context: CallContext, end: float) -> tuple[Decision, bool]:
        """Try other values until no check and not the verifier objects, or rounds or time are used up.

        Returns:
            The decision, and whether a check has a doubt about the repaired call.
        """
        call, findings = decision.requested, list(decision.findings)
        arguments = sorted({a for f in findings if f.action is Action.REPAIR for a in f.arguments})
        repairer, verifier = self.repairer, self.verifier
        if repairer is None or verifier is None:
            return _stop(call, "blocked", findings), False
        for attempt in range(self.policy.rounds):
            reason = "; ".join(finding.reason for finding in findings)
            propose = partial(repairer, call, arguments, reason, context, attempt)
            new_call = _capture(partial(run_with_timeout, end - time.monotonic(), propose))
            if isinstance(new_call, Exception):
                _log.warning("the repair of %s failed: %r", call.name, new_call, exc_info=new_call)
                findings.append(replace(_describe_failure("repair", new_call), action=Action.NOTE))
                break
            if new_call is None:
                continue
            if error := find_forbidden_change(call, new_call, arguments):
                findings.append(Finding(action=Action.NOTE, check="repair", reason=error))
                continue
            new_findings = self._check_repair(verifier, new_call, context, end)
            findings += new_findings
            if _is_clean(new_findings):
                repaired = replace(
                    decision, executable=new_call, outcome="repaired", findings=tuple(findings), rounds=attempt + 1
                )
                return repaired, any(finding.action is Action.ASK for finding in new_findings)
        return replace(_stop(call, "blocked", findings), rounds=self.policy.rounds), False

    def _check_repair(self, verifier: Check, call: ToolCall, context: CallContext, end: float) -> list[Finding]:
        """Return the findings about a repaired call; the verifier sees only what all checks let pass."""
        (findings,) = self._run_checks([call], context, end)
        if _is_clean(findings):
            findings += self._run_check(verifier, [call], context, end)[0]
        return findings


def answer_question(decision: Decision, *, is_approved: bool, reason: str = "") -> Decision:
    """Return the decision after a human's answer: exactly the call that was shown runs, or none."""
    outcome = "approved" if is_approved else "rejected"
    finding = Finding(action=Action.NOTE, check="human", reason=reason or outcome)
    executable = decision.requested if is_approved else None
    return replace(decision, executable=executable, outcome=outcome, findings=(*decision.findings, finding))


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
    """Return whether there is no objection beyond a doubt, about which a human is asked."""
    return all(finding.action in (Action.NOTE, Action.ASK) for finding in findings)


def _describe_failure(check: str, error: Exception) -> Finding:
    message = f"{type(error).__name__}: {error}"[:200]
    reason = f"it failed ({message}), so the call does not run"
    return Finding(action=Action.BLOCK, check=check, reason=reason, has_failed=True)
