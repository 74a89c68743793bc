"""The audit log: one row of JSON for each decision, append-only, chained by hashes so that changes are detected.

Each row holds the hash of the row before it and its own hash over all of its content. No row can be changed, removed
or inserted without breaking the chain behind it. Who can rewrite the file can rewrite all of it, and who can cut rows
off at the end leaves a chain that is whole: keep the newest hash (`AuditLog.head`) elsewhere, and pass it to `verify`.
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

from filelock import FileLock

from langchain_sea.core.timeouts import run_with_timeout
from langchain_sea.errors import PolicyError
from langchain_sea.safety.audit.audit_file import append_whole, read_last_line, read_unfinished
from langchain_sea.safety.conversation.context import CallContext, ContextMessage
from langchain_sea.safety.tool_call import ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.guard import GuardPipeline

__all__ = ["AuditLog", "ReplayedRow", "read_rows", "replay", "verify"]

_NO_HASH = "0" * 64
_SURROGATES = "surrogatepass"  # a model may write half of a character, and the row must hold what it wrote
_EXPECTED = {"repaired": "allowed", "approved": "review", "rejected": "review"}
"""Recorded outcome → outcome of a replay without repairer and human."""


class AuditLog:
    """An audit file, to which any number of threads and processes may write.

    Each row is a JSON object with these keys: `row` (its number, from 0), `before` (the hash of the row before),
    `hash`, `time` (seconds since 1970), `outcome`, `runs`, `call` (as requested: `position`, `id`, `name`, `digest`,
    and `text` and `faults`, or `arguments` as hashes), `executes` (the call that runs, where it is another one),
    `verdicts` (the findings), `rounds`, `policy` (its digest); with `keep="full"` also `scene` (`sources`, `tools`,
    `descriptions`); `cut_off` (`bytes`, `sha256`) where an unfinished row was moved away before this one.

    Attributes:
        path: of the file. `<path>.lock` is held while a row is written, and `<path>.cut` gets unfinished rows.
        keep: `hashed` stores the type, the size and a hash of each argument; `full` stores calls and conversations
            as they are, which `replay` needs.
        deadline: seconds after which a write that has not ended is an error, which blocks the call.
    """

    def __init__(
        self, path: str | os.PathLike[str], keep: Literal["hashed", "full"] = "hashed", *, deadline: float = 5.0
    ) -> None:
        """Continue the file, or start a new one. A row that a crash left unfinished is moved to `<path>.cut`.

        Raises:
            PolicyError: `keep` is neither, or the file's chain is broken.
        """
        if keep not in ("hashed", "full"):
            raise PolicyError(f"keep={keep!r} must be 'hashed' or 'full'.")
        self.path, self.keep, self.deadline = Path(path), keep, deadline
        self._lock = threading.Lock()
        self._file_lock = FileLock(f"{self.path}.lock", timeout=deadline, thread_local=False)
        self._head, self._num_rows, self._size = _NO_HASH, 0, 0
        self._cut_off: dict[str, Any] | None = None
        if self.path.exists():
            with self._file_lock:
                self._set_aside()
                if errors := verify(self.path):
                    raise PolicyError(f"the audit {path} is broken: {errors[0]}; start another file.")
                self._read_end()

    @property
    def head(self) -> str:
        """The hash of the newest row that this object has read or written."""
        return self._head

    def write(self, decision: Decision, context: CallContext) -> None:
        """Append one row; it is on the disk when this returns.

        A write that ends after the deadline may still add its row, which then says more than what ran.

        Raises:
            OSError: the row could not be written; the file is as it was before.
            TimeoutError: another process, or the disk, held the file for longer than the deadline.
        """
        row = self._make_row(decision, context)
        run_with_timeout(self.deadline, lambda: self._append(row))

    def _append(self, row: dict[str, Any]) -> None:
        with self._lock, self._file_lock:
            size = self.path.stat().st_size if self.path.exists() else 0
            if 0 < size < self._size:
                raise OSError(
                    f"{self.path} has {size} bytes and had {self._size}: rows were removed; start another file."
                )
            if size != self._size:  # another process wrote, one died, or the file was moved away
                self._set_aside()
                self._read_end()
            row |= {"row": self._num_rows, "before": self._head}
            if self._cut_off:
                row["cut_off"] = self._cut_off
            row["hash"] = _hash_row(row)
            line = _to_bytes(row) + b"\n"
            append_whole(self.path, line, self._size)
            self._head, self._num_rows, self._size = row["hash"], self._num_rows + 1, self._size + len(line)
            self._cut_off = None

    def _set_aside(self) -> None:
        """Move what follows the last line break, which a crash left, to a file of its own."""
        size, rest = read_unfinished(self.path)
        if not rest:
            return
        with Path(f"{self.path}.cut").open("ab") as file:
            file.write(rest + b"\n")
        os.truncate(self.path, size - len(rest))
        self._cut_off = {"bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}

    def _read_end(self) -> None:
        """Read the number and the hash of the last row."""
        self._size = self.path.stat().st_size if self.path.exists() else 0
        self._head, self._num_rows = _NO_HASH, 0
        if self._size:
            last = json.loads(read_last_line(self.path).decode("utf-8", _SURROGATES))
            self._head, self._num_rows = last["hash"], last["row"] + 1

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
                "sources": [[m.role, m.text, m.tool, m.arguments] for m in context.messages],
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
    with Path(path).open("rb") as file:
        for line in file:
            yield json.loads(line.decode("utf-8", _SURROGATES))


def verify(path: str | os.PathLike[str], *, head: str | None = None) -> list[str]:
    """List what is wrong with the file's chain, in its order; the list is empty where the file is intact.

    Args:
        path: of the audit file.
        head: a hash that was the newest one at some time (`AuditLog.head`), kept elsewhere; it shows whether rows were
            cut off at the end. None does not look.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        return [f"it cannot be read: {error}"]
    previous, errors, is_known = _NO_HASH, list[str](), head in (None, _NO_HASH)
    if lines[-1] != b"":
        errors.append(f"row {len(lines) - 1} is cut off")
    for number, line in enumerate(lines[:-1]):
        try:
            row = json.loads(line.decode("utf-8", _SURROGATES))
            row_hash = row.pop("hash")
            canonical = _to_bytes({**row, "hash": row_hash})
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            return [*errors, f"row {number} cannot be read: {error!r}"]
        if canonical != line:
            errors.append(f"row {number} is not as it was written")
        if row_hash != _hash_row(row):
            errors.append(f"row {number} was changed")
        if row.get("before") != previous or row.get("row") != number:
            errors.append(f"row {number} does not follow the one before it")
        previous, is_known = row_hash, is_known or row_hash == head
    if not is_known:
        errors.append(f"there is no row with the hash {head}: rows were cut off at the end, or the file is another one")
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


def _to_bytes(row: dict[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, ensure_ascii=False).encode("utf-8", _SURROGATES)


def _hash_row(row: dict[str, Any]) -> str:
    return hashlib.sha256(_to_bytes(row)).hexdigest()


def _hash_value(value: object) -> dict[str, str | int]:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", _SURROGATES)).hexdigest()
    return {"type": type(value).__name__, "size": len(text), "sha256": digest[:16]}
