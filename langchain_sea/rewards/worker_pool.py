"""Processes that answer requests by the line, each within its time or killed. Knows not what they compute."""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DeadError", "LateError", "Pool", "shared_pool"]

START_SECONDS = 60.0  # a cold disk and a busy machine


class LateError(Exception):
    """A request ran out of its time; its process is gone."""


class DeadError(Exception):
    """A process ended by itself where it should have answered, or could not be started."""


class _Worker:
    """One process: requests and replies are lines of JSON, and its first line says that it is ready."""

    def __init__(self, command: tuple[str, ...]) -> None:
        """Start it and wait until it is ready."""
        environment = {
            **os.environ,
            # what this process imports, that one can: but never from the folder of the script it runs
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONHASHSEED": "0",  # sets are gone through in one order
            "PYTHONWARNINGS": "ignore",
        }
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
                [sys.executable, "-P", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                bufsize=0,  # a buffer would be written a second time by a process forked meanwhile
            )
        except OSError as error:
            raise DeadError(f"it could not be started, {type(error).__name__}: {error}") from error
        try:
            self._exchange(b"", START_SECONDS)
        except BaseException:
            self.end()
            raise

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The reply, or `LateError` or `DeadError`."""
        line = json.dumps({**request, "seconds": seconds}) + "\n"
        reply: dict[str, Any] = json.loads(self._exchange(line.encode(), seconds))
        return reply

    def end(self) -> None:
        """Kill it and wait for its end."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self.process.wait()

    def _exchange(self, data: bytes, seconds: float) -> bytes:
        """A line for a line. A kill ends both writing and reading, on every system."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        clock = threading.Timer(seconds, stop)
        clock.daemon = True
        clock.start()
        try:
            line = self._written_and_read(data)
        finally:
            clock.cancel()
            clock.join()
        if late.is_set():
            raise LateError(f"no answer within {seconds} seconds")
        if not line.endswith(b"\n"):
            raise DeadError(f"it ended with exit code {self.process.wait()}")
        return line

    def _written_and_read(self, data: bytes) -> bytes:
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        assert pipe_in is not None and pipe_out is not None  # noqa: PT018 - both are pipes
        try:
            while data:
                data = data[pipe_in.write(data) :]
            return pipe_out.readline()
        except OSError:
            return b""


_Item = tuple["Mapping[str, Any]", float, "Future[dict[str, Any]]"]


class Pool:
    """Up to `size` processes, started as requests need them, each with a thread that alone speaks to it."""

    def __init__(self, command: tuple[str, ...], size: int) -> None:
        """Nothing is started yet; `command` is what the interpreter is given."""
        self._command, self._size = command, size
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._lock, self._idle = threading.Lock(), threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._workers: dict[int, _Worker] = {}  # by their thread's number
        self._closed = False

    def ask(self, request: Mapping[str, Any], seconds: float) -> Future[dict[str, Any]]:
        """The reply to come; the seconds count from when a process takes the request up."""
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._closed:
                raise DeadError("the pool is closed, as the interpreter ends")
            self._items.put((request, seconds, future))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
                number = len(self._threads)
                thread = threading.Thread(target=self._serve, args=(number,), daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self) -> None:
        """End processes and threads; what is under way ends as dead."""
        with self._lock:
            self._closed = True
            workers, threads = list(self._workers.values()), list(self._threads)
        for _ in threads:
            self._items.put(None)
        for worker in workers:
            worker.process.kill()
        for thread in threads:
            thread.join(2.0)

    @property
    def processes(self) -> list[int]:
        """The ids of those that are up."""
        with self._lock:
            return [worker.process.pid for worker in self._workers.values()]

    def _serve(self, number: int) -> None:
        while (item := self._items.get()) is not None:
            request, seconds, future = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._answered(number, request, seconds))
                except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                    future.set_exception(error)
            self._idle.release()
        self._drop(number)

    def _answered(self, number: int, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """A dead process is replaced once: it may have died of something else, long before."""
        try:
            return self._asked(number, request, seconds)
        except DeadError:
            return self._asked(number, request, seconds)

    def _asked(self, number: int, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        try:
            reply = self._worker(number).ask(request, seconds)
        except BaseException:
            self._drop(number)
            raise
        if reply.get("last"):
            self._drop(number)
        return reply

    def _worker(self, number: int) -> _Worker:
        with self._lock:
            found = self._workers.get(number)
            if self._closed:
                raise DeadError("the pool is closed, as the interpreter ends")
        if found is None:
            try:
                found = _Worker(self._command)
            except LateError as error:
                raise DeadError(f"it was not ready within {START_SECONDS} seconds") from error
            with self._lock:
                self._workers[number] = found
        return found

    def _drop(self, number: int) -> None:
        with self._lock:
            worker = self._workers.pop(number, None)
        if worker is not None:
            worker.end()


class _Shared:
    """The pools of this process; a forked one inherits none, for it has not their threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[tuple[tuple[str, ...], int], Pool] = {}
        self.inherited: list[object] = []  # kept, so that nobody takes their processes' end for his own
        self.registered = False

    def forget(self) -> None:
        self.lock = threading.Lock()
        self.inherited.append(self.pools)
        self.pools = {}

    def close(self) -> None:
        for pool in list(self.pools.values()):
            pool.close()

    def register(self) -> None:
        if not self.registered:
            self.registered = True
            atexit.register(self.close)
            if sys.platform != "win32":
                os.register_at_fork(after_in_child=self.forget)


_shared = _Shared()


def shared_pool(command: tuple[str, ...], size: int) -> Pool:
    """The one pool of this process for this command and size, closed when the interpreter ends."""
    with _shared.lock:
        _shared.register()
        key = (command, size)
        if key not in _shared.pools:
            _shared.pools[key] = Pool(command, size)
        return _shared.pools[key]
