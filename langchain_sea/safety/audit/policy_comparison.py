"""Reads an audit as a list of what was stopped and why, and judges recorded calls under another policy (a dry run)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_sea.errors import PolicyError
from langchain_sea.safety.audit.audit_log import read_rows
from langchain_sea.safety.conversation.context import CallContext, ContextMessage
from langchain_sea.safety.tool_call import ToolCall

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from langchain_sea.safety.guard import GuardPipeline

__all__ = ["ComparedRow", "StoppedRow", "compare_policies", "list_stops"]

_STOPS = ("blocked", "unavailable", "review", "rejected")


@dataclass(frozen=True, slots=True)
class StoppedRow:
    """One call of an audit that was stopped, or would have been outside of monitor mode.

    Attributes:
        row: its number.
        tool: name of the tool.
        outcome: as recorded.
        has_run: whether it ran nevertheless.
        reasons: what the checks said, as `check: reason`.
    """

    row: int
    tool: str
    outcome: str
    has_run: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One call of an audit, judged under another policy.

    Attributes:
        row: its number.
        tool: name of the tool.
        outcome: as recorded.
        new_outcome: under the other policy.
        reason: why, under the other policy.
    """

    row: int
    tool: str
    outcome: str
    new_outcome: str
    reason: str


def list_stops(path: str | os.PathLike[str]) -> Iterator[StoppedRow]:
    """Yield the rows of calls that were stopped, or would have been."""
    for row in read_rows(path):
        if row["outcome"] in _STOPS:
            reasons = tuple(f"{finding['layer']}: {finding['reason']}" for finding in row["verdicts"])
            yield StoppedRow(row["row"], row["call"]["name"], row["outcome"], row["runs"], reasons)


def compare_policies(path: str | os.PathLike[str], pipeline: GuardPipeline) -> list[ComparedRow]:
    """Judge every call of a full audit under the pipeline's policy, whichever it was recorded under.

    Raises:
        PolicyError: the file has hashes only.
    """
    judging = replace(pipeline, audit=None, repairer=None, on_stop=None)
    rows = []
    for row in read_rows(path):
        if "scene" not in row:
            raise PolicyError(f"{path} has hashes only, which cannot be judged; write with keep='full'.")
        recorded = row["call"]
        call = ToolCall(
            recorded["position"], recorded["id"], recorded["name"], recorded["text"], tuple(recorded["faults"])
        )
        (decision,) = judging.judge([call], _read_context(row["scene"], judging))
        rows.append(ComparedRow(row["row"], call.name, row["outcome"], decision.outcome, decision.reason))
    return rows


def _read_context(row: dict[str, Any], pipeline: GuardPipeline) -> CallContext:
    messages = tuple(ContextMessage(*message) for message in row["sources"])
    return CallContext(messages, row["tools"], pipeline.policy, row["descriptions"])
