"""What was decided, call by call, in a file that shows whether it was changed: append-only JSON lines in a chain.

Each row holds the hash of the one before it, and its own over all of its content, so that no row can be changed,
taken out or put in without breaking the chain behind it. Whoever can rewrite the file can rewrite all of it: keep
the newest hash (`AuditLog.head`) elsewhere to notice that.
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

from langchain_sea.safety.checks import PolicyError
from langchain_sea.safety.context import CallContext, ContextMessage
from langchain_sea.safety.tool_call import ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.guard import GuardPipeline

__all__ = ["AuditLog", "Replayed", "replay", "rows_of", "verify"]

_FIRST = "0" * 64


class AuditLog:
    """An audit file; any number of threads may write to one.

    Attributes:
        path: of the file.
        keep: `hashed` stores of each argument only its type, its size and a hash; `full` stores calls and
            conversations as they are, which `replay` needs.
    """

    def __init__(self, path: str | os.PathLike[str], keep: Literal["hashed", "full"] = "hashed") -> None:
        """Go on behind what stands there.

        Raises:
            PolicyError: `keep` is neither, or the chain that stands there is broken.
        """
        if keep not in ("hashed", "full"):
            raise PolicyError(f"keep={keep!r} must be 'hashed' or 'full'.")
        self.path, self.keep, self._lock = Path(path), keep, threading.Lock()
        self._last, self._count = _FIRST, 0
        if self.path.exists():
            if faults := verify(self.path):
                raise PolicyError(f"the audit {path} is broken: {faults[0]}; start another file.")
            for row in rows_of(self.path):
                self._last, self._count = row["hash"], self._count + 1

    @property
    def head(self) -> str:
        """The newest row's hash."""
        return self._last

    def write(self, decision: Decision, scene: CallContext) -> None:
        """One row, on the disk when this returns."""
        row: dict[str, Any] = {
            "time": round(time.time(), 3),
            "outcome": decision.outcome,
            "runs": decision.runs,
            "call": self._call(decision.asked),
            "executes": self._call(decision.call)
            if decision.call and decision.call != decision.asked
            else None,
            "verdicts": [verdict.plain() for verdict in decision.verdicts],
            "rounds": decision.rounds,
            "policy": scene.policy.digest,
        }
        if self.keep == "full":
            row["scene"] = {
                "sources": [[s.role, s.text, s.tool] for s in scene.sources],
                "tools": {name: dict(schema) for name, schema in scene.tools.items()},
                "descriptions": dict(scene.descriptions),
            }
        with self._lock:
            row |= {"row": self._count, "before": self._last}
            row["hash"] = _hash(row)
            with self.path.open("ab") as file:
                file.write(f"{json.dumps(row, sort_keys=True, ensure_ascii=False)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            self._last, self._count = row["hash"], self._count + 1

    def _call(self, call: ToolCall) -> dict[str, Any]:
        found: dict[str, Any] = {
            "position": call.position,
            "id": call.id,
            "name": call.name,
            "digest": call.digest,
        }
        if self.keep == "full":
            return found | {"text": call.text, "faults": list(call.faults)}
        return found | {"arguments": {name: _hashed(value) for name, value in call.arguments.items()}}


def rows_of(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The rows as they stand there."""
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def verify(path: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the chain, the first fault first; nothing where it is whole."""
    last, faults = _FIRST, list[str]()
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        return [f"it cannot be read: {error}"]
    if lines[-1] != b"":
        faults.append(f"row {len(lines) - 1} is cut off")
    for number, line in enumerate(lines[:-1]):
        try:
            row = json.loads(line.decode("utf-8"))
            kept = row.pop("hash")
            written = json.dumps({**row, "hash": kept}, sort_keys=True, ensure_ascii=False).encode()
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            return [*faults, f"row {number} cannot be read: {error!r}"]
        if written != line:
            faults.append(f"row {number} is not as it was written")
        if kept != _hash(row):
            faults.append(f"row {number} was changed")
        if row.get("before") != last or row.get("row") != number:
            faults.append(f"row {number} does not follow the one before it")
        last = kept
    return faults


@dataclass(frozen=True, slots=True)
class Replayed:
    """A row, judged again."""

    row: int
    outcome: str
    again: str

    @property
    def equal(self) -> bool:
        """Whether the same came of it."""
        return self.outcome == self.again


def replay(path: str | os.PathLike[str], judge: GuardPipeline) -> list[Replayed]:
    """Every call of a full audit, judged again under the same policy.

    A repaired call counts as equal where it was open to repair again: a repair need not find the same words, so what
    it made is judged instead. What a human said, and failures, are taken as they were.

    Raises:
        PolicyError: the audit is hashed, or was written under another policy.
    """
    plain, found = replace(judge, audit=None, repairer=None), []
    for row in rows_of(path):
        if "scene" not in row:
            raise PolicyError(
                f"{path} keeps hashes alone, which cannot be judged again; write with keep='full'."
            )
        if row["policy"] != judge.policy.digest:
            raise PolicyError(
                f"row {row['row']} of {path} was decided under another policy, {row['policy']}."
            )
        scene = _scene(row["scene"], judge)
        said, outcome = row["executes"] if row["outcome"] == "repaired" else row["call"], row["outcome"]
        (again,) = plain(
            [ToolCall(said["position"], said["id"], said["name"], said["text"], tuple(said["faults"]))], scene
        )
        expected = {"repaired": "allowed", "approved": "review", "rejected": "review"}.get(outcome, outcome)
        same = again.outcome == expected or outcome == "unavailable"
        found.append(Replayed(row["row"], outcome, outcome if same else again.outcome))
    return found


def _scene(kept: dict[str, Any], judge: GuardPipeline) -> CallContext:
    sources = tuple(ContextMessage(*source) for source in kept["sources"])
    return CallContext(sources, kept["tools"], judge.policy, kept["descriptions"])


def _hash(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _hashed(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return {
        "type": type(value).__name__,
        "size": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
    }
