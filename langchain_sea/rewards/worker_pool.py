"""A pool of processes that answer requests, each within its deadline or killed.

Why not `pebble` or `multiprocessing`: they import the parent's modules, torch among them, in every process; this pool
starts a bare interpreter on one script, which may then limit its own memory.
"""

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

from langchain_sea.core.timeouts import LateError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WorkerDiedError", "WorkerPool", "shared_pool"]

START_SECONDS = 60.0  # enough for a cold disk and a busy machine


class WorkerDiedError(Exception):
    """A process ended by itself before it answered, or could not be started."""


class _Worker:
    """One process. Requests and replies are lines of JSON; its first line says that it is ready."""

    def __init__(self, command: tuple[str, ...]) -> None:
        """Start the process and wait until it is ready."""
        environment = {
            **os.environ,
            # the worker can import what this process can, but nothing from the folder of its own script
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONHASHSEED": "0",  # sets are iterated in a fixed order
            "PYTHONWARNINGS": "ignore",
        }
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
                [sys.executable, "-P", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                bufsize=0,  # a process forked meanwhile would write a buffer a second time
            )
        except OSError as error:
            raise WorkerDiedError(f"it could not be started, {type(error).__name__}: {error}") from error
        try:
            self._exchange(b"", START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def request(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and return the reply; a worker that raises an error is dead."""
        line = json.dumps({**request, "seconds": seconds}) + "\n"
        reply: dict[str, Any] = json.loads(self._exchange(line.encode(), seconds))
        return reply

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self.process.wait()

    def _exchange(self, data: bytes, seconds: float) -> bytes:
        """Write a line and read one. At the deadline the process is killed, which ends both on every system."""
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            self.process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            line = self._write_and_read(data)
        finally:
            timer.cancel()
            timer.join()
        if timed_out.is_set():
            raise LateError(f"no answer within {seconds} seconds")
        if not line.endswith(b"\n"):
            raise WorkerDiedError(f"it ended with exit code {self.process.wait()}")
        return line

    def _write_and_read(self, data: bytes) -> bytes:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            while data:
                data = data[stdin.write(data) :]
            return stdout.readline()
        except OSError:
            return b""


_Job = tuple["Mapping[str, Any]", float, "Future[dict[str, Any]]"]


class WorkerPool:
    """Up to `size` processes, started when requests need them; one thread speaks to each."""

    def __init__(self, command: tuple[str, ...], size: int) -> None:
        """Start nothing yet; `command` is the arguments of the interpreter."""
        self._command, self._size = command, size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock, self._idle = threading.Lock(), threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._workers: dict[int, _Worker] = {}  # by the number of their thread
        self._closed = False

    def submit(self, request: Mapping[str, Any], seconds: float) -> Future[dict[str, Any]]:
        """Queue a request and return the future of its reply.

        Args:
            request: is sent as JSON.
            seconds: the deadline, counted from when a process starts the request.

        Returns:
            A future that may raise `LateError` or, if two processes died on the request, `WorkerDiedError`.
        """
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._closed:
                raise WorkerDiedError("the pool is closed, because the interpreter is ending")
            self._jobs.put((request, seconds, future))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
                number = len(self._threads)
                thread = threading.Thread(target=self._serve, args=(number,), daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self) -> None:
        """End all processes and threads; requests in progress get a `WorkerDiedError`."""
        with self._lock:
            self._closed = True
            workers, threads = list(self._workers.values()), list(self._threads)
        for _ in threads:
            self._jobs.put(None)
        for worker in workers:
            worker.process.kill()
        for thread in threads:
            thread.join(2.0)

    @property
    def process_ids(self) -> list[int]:
        """The ids of the running processes."""
        with self._lock:
            return [worker.process.pid for worker in self._workers.values()]

    def _serve(self, number: int) -> None:
        """Answer requests until the pool is closed: the loop of one thread."""
        while (job := self._jobs.get()) is not None:
            request, seconds, future = job
            if future.set_running_or_notify_cancel():
                try:
                    try:
                        reply = self._request(number, request, seconds)
                    except WorkerDiedError:  # it may have died of something else, long before: try a new one
                        reply = self._request(number, request, seconds)
                    future.set_result(reply)
                except BaseException as error:  # noqa: BLE001 - raised again by `Future.result`
                    future.set_exception(error)
            self._idle.release()
        self._drop(number)

    def _request(self, number: int, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        try:
            reply = self._get_worker(number).request(request, seconds)
        except BaseException:
            self._drop(number)
            raise
        if reply.get("last"):
            self._drop(number)
        return reply

    def _get_worker(self, number: int) -> _Worker:
        with self._lock:
            worker = self._workers.get(number)
            if self._closed:
                raise WorkerDiedError("the pool is closed, because the interpreter is ending")
        if worker is None:
            try:
                worker = _Worker(self._command)
            except LateError as error:
                raise WorkerDiedError(f"it was not ready within {START_SECONDS} seconds") from error
            with self._lock:
                self._workers[number] = worker
        return worker

    def _drop(self, number: int) -> None:
        with self._lock:
            worker = self._workers.pop(number, None)
        if worker is not None:
            worker.kill()


class _SharedPools:
    """The pools of this process. A forked process starts with none, because threads are not forked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[tuple[tuple[str, ...], int], WorkerPool] = {}
        self.parent_pools: list[object] = []  # kept alive: deleting a `Popen` would reap another's process
        self.registered = False

    def forget(self) -> None:
        self.lock = threading.Lock()
        self.parent_pools.append(self.pools)
        self.pools = {}

    def close(self) -> None:
        for pool in list(self.pools.values()):
            pool.close()

    def get(self, command: tuple[str, ...], size: int) -> WorkerPool:
        with self.lock:
            if not self.registered:
                self.registered = True
                atexit.register(self.close)
                if sys.platform != "win32":
                    os.register_at_fork(after_in_child=self.forget)
            if (command, size) not in self.pools:
                self.pools[command, size] = WorkerPool(command, size)
            return self.pools[command, size]


_shared = _SharedPools()


def shared_pool(command: tuple[str, ...], size: int) -> WorkerPool:
    """Return this process's pool of this command and size; it is closed when the interpreter ends."""
    return _shared.get(command, size)
