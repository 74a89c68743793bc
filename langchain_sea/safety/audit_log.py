"""The audit log: one row of JSON for each decision, append-only, chained by hashes so that changes are detected.

Each row holds the hash of the row before it and its own hash over all of its content. No row can be changed, removed
or inserted without breaking the chain behind it. Who can rewrite the file can rewrite all of it: keep the newest hash
(`AuditLog.head`) elsewhere to notice that.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_sea.errors import PolicyError
from langchain_sea.safety.context import CallContext, ContextMessage
from langchain_sea.safety.tool_call import ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.guard import GuardPipeline

__all__ = ["AuditLog", "ReplayedRow", "read_rows", "replay", "verify"]

_NO_HASH = "0" * 64
_EXPECTED = {"repaired": "allowed", "approved": "review", "rejected": "review"}
"""Recorded outcome → outcome of a replay without repairer and human."""


class AuditLog:
    """An audit file, to which any number of threads may write.

    Attributes:
        path: of the file.
        keep: `hashed` stores the type, the size and a hash of each argument; `full` stores calls and conversations
            as they are, which `replay` needs.
    """

    def __init__(self, path: str | os.PathLike[str], keep: Literal["hashed", "full"] = "hashed") -> None:
        """Continue the file, or start a new one.

        Raises:
            PolicyError: `keep` is neither, or the file's chain is broken.
        """
        if keep not in ("hashed", "full"):
            raise PolicyError(f"keep={keep!r} must be 'hashed' or 'full'.")
        self.path, self.keep, self._lock = Path(path), keep, threading.Lock()
        self._head, self._num_rows = _NO_HASH, 0
        if self.path.exists():
            if errors := verify(self.path):
                raise PolicyError(f"the audit {path} is broken: {errors[0]}; start another file.")
            for row in read_rows(self.path):
                self._head, self._num_rows = row["hash"], self._num_rows + 1

    @property
    def head(self) -> str:
        """The newest row's hash."""
        return self._head

    def write(self, decision: Decision, context: CallContext) -> None:
        """Append one row; it is on the disk when this returns."""
        row = self._make_row(decision, context)
        with self._lock:
            row |= {"row": self._num_rows, "before": self._head}
            row["hash"] = _hash_row(row)
            with self.path.open("ab") as file:
                file.write(f"{json.dumps(row, sort_keys=True, ensure_ascii=False)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            self._head, self._num_rows = row["hash"], self._num_rows + 1

    def _make_row(self, decision: Decision, context: CallContext) -> dict[str, Any]:
        requested, executable = decision.requested, decision.executable
        row: dict[str, Any] = {
            "time": round(time.time(), 3),
            "outcome": decision.outcome,
            "runs": decision.is_allowed,
            "call": self._describe_call(requested),
            "executes": self._describe_call(executable) if executable and executable != requested else None,
            "verdicts": [finding.to_dict() for finding in decision.findings],
            "rounds": decision.rounds,
            "policy": context.policy.digest,
        }
        if self.keep == "full":
            row["scene"] = {
                "sources": [[m.role, m.text, m.tool] for m in context.messages],
                "tools": {name: dict(schema) for name, schema in context.tools.items()},
                "descriptions": dict(context.descriptions),
            }
        return row

    def _describe_call(self, call: ToolCall) -> dict[str, Any]:
        row: dict[str, Any] = {"position": call.position, "id": call.id, "name": call.name, "digest": call.digest}
        if self.keep == "full":
            return row | {"text": call.text, "faults": list(call.errors)}
        return row | {"arguments": {name: _hash_value(value) for name, value in call.arguments.items()}}


def read_rows(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of an audit file, without verifying them."""
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def verify(path: str | os.PathLike[str]) -> list[str]:
    """List what is wrong with the file's chain, in its order; the list is empty where the file is intact."""
    head, errors = _NO_HASH, list[str]()
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        return [f"it cannot be read: {error}"]
    if lines[-1] != b"":
        errors.append(f"row {len(lines) - 1} is cut off")
    for number, line in enumerate(lines[:-1]):
        try:
            row = json.loads(line.decode("utf-8"))
            row_hash = row.pop("hash")
            canonical = json.dumps({**row, "hash": row_hash}, sort_keys=True, ensure_ascii=False).encode()
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            return [*errors, f"row {number} cannot be read: {error!r}"]
        if canonical != line:
            errors.append(f"row {number} is not as it was written")
        if row_hash != _hash_row(row):
            errors.append(f"row {number} was changed")
        if row.get("before") != head or row.get("row") != number:
            errors.append(f"row {number} does not follow the one before it")
        head = row_hash
    return errors


@dataclass(frozen=True, slots=True)
class ReplayedRow:
    """One row of an audit file, judged again.

    Attributes:
        row: its number.
        outcome: as recorded.
        new_outcome: of the replay.
    """

    row: int
    outcome: str
    new_outcome: str

    @property
    def is_equal(self) -> bool:
        """Whether the replay led to the same outcome."""
        return self.outcome == self.new_outcome


def replay(path: str | os.PathLike[str], pipeline: GuardPipeline) -> list[ReplayedRow]:
    """Judge every call of a full audit file again, under the same policy.

    A repair need not lead to the same words again, so of a repaired call the repaired one is judged. What a human
    answered, and failures of checks, count as equal.

    Raises:
        PolicyError: the file has hashes only, or was written under another policy.
    """
    replaying = replace(pipeline, audit=None, repairer=None)
    rows = []
    for row in read_rows(path):
        if "scene" not in row:
            raise PolicyError(f"{path} has hashes only, which cannot be judged; write with keep='full'.")
        if row["policy"] != pipeline.policy.digest:
            raise PolicyError(f"row {row['row']} of {path} was decided under another policy, {row['policy']}.")
        outcome = row["outcome"]
        call = row["executes"] if outcome == "repaired" else row["call"]
        (decision,) = replaying([_read_call(call)], _read_context(row["scene"], pipeline))
        is_same = outcome == "unavailable" or decision.outcome == _EXPECTED.get(outcome, outcome)
        rows.append(ReplayedRow(row["row"], outcome, outcome if is_same else decision.outcome))
    return rows


def _read_call(row: dict[str, Any]) -> ToolCall:
    return ToolCall(row["position"], row["id"], row["name"], row["text"], tuple(row["faults"]))


def _read_context(row: dict[str, Any], pipeline: GuardPipeline) -> CallContext:
    messages = tuple(ContextMessage(*message) for message in row["sources"])
    return CallContext(messages, row["tools"], pipeline.policy, row["descriptions"])


def _hash_row(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _hash_value(value: object) -> dict[str, str | int]:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return {"type": type(value).__name__, "size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()[:16]}
