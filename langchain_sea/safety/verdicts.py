"""The guard's own memory of what it decided: never read from a state that others can change.

It holds the newest batches of each process. What is not in it, such as a batch that another process judged, is judged
again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from langchain_sea.safety.checks import Decision
    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["JudgedBatch", "SharedBatches", "VerdictStore"]

_MAX_BATCHES = 512


@dataclass
class JudgedBatch:
    """The calls of one message, as they were judged.

    Attributes:
        digests: of the calls.
        decisions: about them; those that wait for a human are replaced by the answered ones.
        context: in which they were judged.
        is_final: whether no question is open and all decisions are recorded.
        tools: the hash of what each tool said about itself, by name.
    """

    digests: tuple[str, ...]
    decisions: list[Decision]
    context: CallContext
    is_final: bool = False
    tools: Mapping[str, str] = field(default_factory=dict)

    def find_row(self, position: int) -> int | None:
        """Return which of the decisions is about the call at a position of the message."""
        return next((row for row, d in enumerate(self.decisions) if d.requested.position == position), None)


@dataclass
class VerdictStore:
    """The newest batches by thread and message; safe for threads."""

    _batches: OrderedDict[tuple[str, str], JudgedBatch] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, thread: str, message: str, calls: Sequence[ToolCall] | None = None) -> JudgedBatch | None:
        """Return the batch of a message; with calls, only if it judged exactly these."""
        with self._lock:
            batch = self._batches.get((thread, message))
        if batch is None or (calls is not None and batch.digests != tuple(call.digest for call in calls)):
            return None
        return batch

    def list_changed(self, thread: str, messages: Sequence[str], hashes: Mapping[str, str]) -> list[str]:
        """List tools that say something else now than when the calls of these messages were judged.

        That needs no checkpointer: the client sends the messages of the earlier calls again.
        """
        batches = [self.get(thread, message) for message in messages]
        known = [pair for batch in batches if batch is not None for pair in batch.tools.items()]
        return [name for name, digest in known if hashes.get(name, digest) != digest]

    def newest(self, thread: str, earlier: Collection[str]) -> JudgedBatch | None:
        """Return the batch of a thread that was judged last.

        None where it is of one of the earlier messages: another process judged what came then.
        """
        with self._lock:
            newest = next(
                ((name, batch) for (owner, name), batch in reversed(self._batches.items()) if owner == thread), None
            )
        return None if newest is None or newest[0] in earlier else newest[1]

    def put(self, thread: str, message: str, batch: JudgedBatch) -> JudgedBatch:
        """Keep a batch, and forget the oldest beyond the limit."""
        with self._lock:
            self._batches[thread, message] = batch
            self._batches.move_to_end((thread, message))
            while len(self._batches) > _MAX_BATCHES:
                self._batches.popitem(last=False)
        return batch


@dataclass
class SharedBatches:
    """One batch for each run of a node that runs all calls of a message side by side; safe for threads.

    The first call judges the batch, and the others wait for it. So a human is asked once about all of them, before any
    of them runs. Questions of single calls would be asked in the order in which threads come to them, and the answer to
    one could reach another. A call that needs no answer would run again after each answer.
    """

    _runs: OrderedDict[tuple[int, tuple[str, ...]], tuple[object, Future[JudgedBatch]]] = field(
        default_factory=OrderedDict
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def share(self, run: object, calls: Sequence[ToolCall], judge: Callable[[], JudgedBatch]) -> JudgedBatch:
        """Return the batch of these calls in a run; `judge` is called for the first call alone, unless it raised."""
        key = id(run), tuple(call.digest for call in calls)
        with self._lock:
            is_first = key not in self._runs
            if is_first:
                self._runs[key] = run, Future()  # the run is kept, so that no other one gets its id
                while len(self._runs) > _MAX_BATCHES:
                    self._runs.popitem(last=False)
            future = self._runs[key][1]
        if is_first:
            try:
                future.set_result(judge())
            except BaseException as error:  # noqa: BLE001 - the calls that wait must get it, too
                future.set_exception(error)
                with self._lock:
                    self._runs.pop(key, None)
        return future.result()
