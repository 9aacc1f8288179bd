"""Ends all processes of a run when a process is lost, fails or hangs.

A collective waits forever for a missing process. So each process regularly publishes a heartbeat
and its progress through the coordination service of JAX, and the primary compares them. The
reason, with the process at fault, is reported once. Then all processes exit, with code 1 if a
process failed and with code 69 if a process was lost or hangs. A restarted run continues from its
last checkpoint.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax

from kdescent_dist.config.errors import FAILED, LOST
from kdescent_dist.distributed.abort_handler import abort_as_usual, on_abort
from kdescent_dist.distributed.progress import Progress

_FOLDER = "kdescent_dist/"
_STOP = "stop"
_FOR_EVER = 10 * 365 * 24 * 3600 * 1000  # milliseconds
# Messages of JAX, in errors of several types, when another process of a collective is gone.
_OF_OTHERS = re.compile(
    "(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): "
    ".*(gloo|nccl|connection|socket|heartbeat|task|peer)",
    re.IGNORECASE | re.DOTALL,
)


class Watchdog:
    """Watches the processes from two daemon threads.

    Args:
        client: the client of JAX's coordination service, which runs in process 0.
        coordinator: ``host:port`` of the coordination service.
        process: number of this process.
        processes: number of processes.
        progress: progress of this process.
        heartbeat_timeout: seconds without a heartbeat after which a process is lost.
        step_timeout: seconds without progress after which a run hangs, None for no limit.
        tell: called with the reason in one process before the processes exit. If process 0 is
            lost, every other process calls ``tell``.

    Attributes:
        record: called with the reason in process 0 after ``tell``. If process 0 is lost, every
            other process calls ``record``.
    """

    def __init__(
        self,
        client: Any,
        coordinator: str,
        process: int,
        processes: int,
        progress: Progress,
        *,
        heartbeat_timeout: float,
        step_timeout: float | None,
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._coordinator = coordinator
        self._process = process
        self._processes = processes
        self._heartbeat_timeout = heartbeat_timeout
        self._step_timeout = step_timeout
        self._tell = tell
        self.record: Callable[[str], None] = lambda reason: None
        # Longer for many processes, so that process 0 can read all of their heartbeats.
        self._interval = max(min(1.0, heartbeat_timeout / 5), processes / 500)
        self._progress, self._phase = progress, "start"
        self._furthest = -1
        self._moved = self._heard = self._looked = time.monotonic()
        self._beats: dict[int, tuple[str, float]] = {}  # per process: last heartbeat, its arrival
        self._patience = heartbeat_timeout
        self._over = threading.Event()
        self._ending = threading.Lock()

    def start(self) -> None:
        on_abort(self._aborted)
        for watch in (self._listen, self._guard):
            threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def end_together(self) -> None:
        """Wait at the end of the process until all other processes have ended their work."""
        if not self._over.is_set():
            self._client.wait_at_barrier(f"{_FOLDER}exit", _FOR_EVER)
            self.close()

    def close(self) -> None:
        """Stop watching, before an orderly exit."""
        self._over.set()
        abort_as_usual()

    def progress(self, phase: str) -> None:
        """Note that this process has reached a phase, or a further point within a phase."""
        self._phase = phase
        self._progress.moved()

    def leave(self, error: BaseException, *, expected: bool) -> None:
        """End after an error: in order if all processes raised an error, else exit at once.

        Args:
            error: why this process ends.
            expected: whether all processes may have raised the error.
        """
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if expected:
            try:
                self._client.wait_at_barrier(f"{_FOLDER}end", int(1000 * self._patience))
            except Exception:
                reason = str(error)
            else:
                return self.close()
        if _OF_OTHERS.match(str(error)):
            # Another process is at fault. The primary gets time to find that process first.
            self._patience = 3 * self._interval
            time.sleep(self._heartbeat_timeout + 5 * self._interval)
            self._end(f"the processes lost each other: {reason}")
        self._end(f"process {self._process} of {self._processes} failed: {reason}", FAILED)

    def _listen(self) -> None:
        while not self._over.wait(self._interval):
            try:
                found = self._exchange()
            except Exception as error:
                if not self._over.is_set():
                    self._end_without_primary(f"it does not answer: {str(error).splitlines()[0]}")
                return
            self._heard = time.monotonic()
            if _STOP in found:
                self._follow(found[_STOP])
            if self._process == 0:
                self._compare(found)

    def _exchange(self) -> dict[str, str]:
        # A process that waits in an exchange has counted the exchange, and is ahead of the others.
        beat = f"{self._progress.reached} {time.monotonic()} {self._phase}"
        self._client.key_value_set(f"{_FOLDER}{self._process}", beat, allow_overwrite=True)
        if self._process:  # only the primary compares the heartbeats
            try:
                return {_STOP: self._client.key_value_try_get(_FOLDER + _STOP)}
            except jax.errors.JaxRuntimeError as error:
                if "NOT_FOUND" not in str(error):
                    raise
                return {}
        entries = self._client.key_value_dir_get(_FOLDER)
        return {key.removeprefix(_FOLDER): value for key, value in entries}

    def _compare(self, found: dict[str, str]) -> None:
        now = time.monotonic()
        # After a suspension of this process, old heartbeats mean nothing: the times start anew.
        suspended = now - self._looked > self._patience / 2
        self._looked = now
        for process in range(self._processes):
            beat = found.get(str(process), "")
            last, since = self._beats.get(process, (None, now))
            if beat != last or suspended:
                self._beats[process] = beat, now
            elif now - since > self._patience:
                self._end(
                    f"process {process} of {self._processes} was lost: no sign of life for "
                    f"{now - since:.0f} s (runtime.heartbeat_timeout)"
                )
        reached = self._progress.reached
        if reached != self._furthest or suspended:
            self._furthest, self._moved = reached, now
        if self._step_timeout is not None and now - self._moved > self._step_timeout:
            counts = {p: int(beat.split()[0]) for p, (beat, _) in self._beats.items() if beat}
            behind = [p for p, count in counts.items() if count == min(counts.values())]
            who = "every process" if len(behind) == len(counts) else f"process {behind}"
            where = self._beats[behind[0]][0].split(maxsplit=2)[2]
            self._end(
                f"no progress for {now - self._moved:.0f} s (runtime.step_timeout): {who} of "
                f"{self._processes} hangs in: {where}"
            )

    def _guard(self) -> None:
        """Watch ``_listen``, whose calls do not return if the primary is stopped but not gone."""
        looked = time.monotonic()
        while not self._over.wait(self._interval):
            now, before = time.monotonic(), looked
            looked = now
            if now - before > self._heartbeat_timeout / 2:  # this process was suspended
                self._heard = now
            silent = now - self._heard
            if silent > self._heartbeat_timeout + 2 * self._interval:
                self._end_without_primary(
                    f"it does not answer for {silent:.0f} s (runtime.heartbeat_timeout)"
                )

    def _aborted(self) -> None:
        """JAX aborts a process when process 0 is lost, and for other reasons."""
        if self._process and not self._answers():
            self._end_without_primary("it has closed its connections")
        who = f"process {self._process} of {self._processes}"
        self._leave(f"{who} failed: it was aborted: see its output", FAILED, self._process == 0)

    def _answers(self) -> bool:
        """Whether process 0 still listens."""
        host, _, port = self._coordinator.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
                return True
        except OSError:
            return False

    def _end_without_primary(self, how: str) -> NoReturn:
        self._leave(f"process 0 of {self._processes} was lost: {how}", LOST, True)

    def _leave(self, reason: str, code: int, records: bool) -> NoReturn:
        """End without the coordination service, which does not answer."""
        # A thread that holds the lock may wait for the coordination service.
        self._ending.acquire(timeout=2 * self._interval)
        try:
            self._tell(reason)
            if records:
                self.record(reason)
        finally:
            os._exit(code)

    def _end(self, reason: str, code: int = LOST) -> NoReturn:
        """Ask all processes to end, and end."""
        with self._ending:  # never released: the process exits with the first reason
            try:
                stop = f"{code} {reason}"
                counts = self._publish(stop)
                if counts == stop:
                    self._tell(reason)
                if self._process == 0:
                    self.record(counts.partition(" ")[2])
                    self._let_others_hear()
            finally:
                os._exit(code)

    def _follow(self, stop: str) -> NoReturn:
        """End at the request of another process, which has reported the reason."""
        with self._ending:
            code, _, reason = stop.partition(" ")
            try:
                if self._process == 0:
                    self.record(reason)
                    self._let_others_hear()
            finally:
                os._exit(int(code))

    def _let_others_hear(self) -> None:
        time.sleep(3 * self._interval)  # the service ends with this process

    def _publish(self, stop: str) -> str:
        """Publish a request to end, and return the request that was published first."""
        try:
            self._client.key_value_set(_FOLDER + _STOP, stop)
        except Exception as error:
            if "ALREADY_EXISTS" in str(error):
                return self._client.key_value_try_get(_FOLDER + _STOP)
        return stop
