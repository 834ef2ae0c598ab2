"""Requests that a tap has seen, on their way to a candidate in a process of its own (candidate.py).

A thread takes them when the stable version's queue is empty, and sends them on; a second one reads what was found. At most WINDOW requests
are on their way, and fewer where the cores are busy (Pace). Where more come, the tap drops the newest and counts them. A process that
has requests and a core, and says nothing within HUNG_S, is ended. It is started again then, as one that crashes is, later each time. Each
request that the tap has offered is compared or dropped in the end. Never in here: what a difference means, event loops.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from inferd._core.codec.infer import InferRequest
from inferd.errors import FailedPrecondition
from inferd.record.decoded import outputs_of
from inferd.rollout import child_process
from inferd.rollout.messages import Failed, Mirrored, Progress, Ready
from inferd.rollout.pipe import Closed, Pipe
from inferd.system.cpu_time import SpareCores, waited_s
from inferd.system.pace import Pace

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from inferd._core.batching.tap import Tap, Tapped
    from inferd.rollout.messages import Setup

log = logging.getLogger("inferd.rollout")

WINDOW = 128  # requests that the process has and has not reported
TAKEN = 4  # requests of a tap at once: others wait meanwhile for Python, and for the core
RESERVED = 0.5  # of all cores: a server that needs more than the half feels whatever else runs, at any priority
SHARE = 0.25  # of what is left beyond that: the candidate's
LEAST, MOST = 0.0025, 0.25  # of a core, which it has in any case, and at best
PAUSE_S = 0.01  # after them, and where there is nothing to send, or the stable version is busy
HUNG_S = 30.0  # without a word about requests that it has, though it had a core in the second half of them
POLICY = os.SCHED_IDLE  # of the process, once it has loaded the model
START_S = 600.0  # the longest load
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before a process is started again


class Mirror:
    """title: the candidate, for messages. busy(): whether the stable version has requests that wait; on any thread.

    compared, lost and the like are counts since this object was made; `found` goes on from what the setup has."""

    def __init__(self, title: str, setup: Setup, tap: Tap, busy: Callable[[], bool]) -> None:
        self.title, self._setup, self.tap, self._busy = title, setup, tap, busy
        self.found = setup.found
        self.compared = self.skipped = 0  # by all processes, as they have reported
        self.unanswered = 0  # requests that the stable version rejected
        self.lost = 0  # sent to a process that ended before it was done with them, or never sent
        self.restarts = 0
        self.too_large = ""  # why it is not started again: it held too much memory
        self.ready: Future[Ready] = Future()  # of the first process
        self._sent = self._done = self._skipped_here = 0  # of this process
        self._moved_s = 0.0  # when it said something last
        self._waited_s: float | None = None  # for a core, until the middle of its silence
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    @property
    def dropped(self) -> int:
        """By the tap, and behind it."""
        return self.tap.dropped + self.unanswered + self.lost + self.skipped

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the process. Requests that it has not finished count as lost. Call it once the tap sees no more. Idempotent."""
        self._stopping.set()
        self._kill()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        while taken := self.tap.take():
            self.lost += len(taken)

    # ---- the thread ----

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            self._serve()
            if self._stopping.is_set() or self.too_large or (self.ready.done() and self.ready.exception() is not None):
                break
            pause_s = FIRST_PAUSE_S if time.monotonic() - began_s > LONGEST_PAUSE_S else min(2 * pause_s, LONGEST_PAUSE_S)
            self.restarts += 1
            log.warning("%s: its process has ended, and begins again in %.0f s", self.title, pause_s)
            self._stopping.wait(pause_s)
        if not self.ready.done():
            self.ready.set_exception(FailedPrecondition(f"{self.title}: it was stopped before it was loaded"))

    def _serve(self) -> None:
        """One process, from its start to its end."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                child = self._child = child_process.start(theirs.fileno())
            memory = child_process.MemoryWatch(child)
            memory.start()
            reader: threading.Thread | None = None
            self._sent = self._done = self._skipped_here = 0
            spare = SpareCores()
            self._pace = Pace(spare.left, RESERVED * spare.cores, SHARE, LEAST, MOST)
            try:
                if self._stopping.is_set():
                    return
                pipe = Pipe(ours)
                self._load(pipe, ours)
                ours.settimeout(HUNG_S)
                self._moved_s = time.monotonic()
                reader = threading.Thread(target=self._read, args=(pipe,), name="shadow reads", daemon=True)
                reader.start()
                self._send(pipe, child)
            except (Closed, TimeoutError):
                pass
            except FailedPrecondition as error:
                if not self.ready.done():
                    self.ready.set_exception(FailedPrecondition(f"{self.title}: {memory.why}") if memory.why else error)
                else:
                    log.error("%s", error)
            except Exception:
                log.exception("%s: requests cannot be mirrored", self.title)
            finally:
                self._kill()
                memory.stop()
                child.wait()
                if memory.why:
                    self.too_large = f"{self.title}: {memory.why}"
                    log.error("%s", self.too_large)
                if reader is not None:
                    reader.join()
                self.lost += self._sent - self._done
                self._sent = self._done = 0

    def _load(self, pipe: Pipe, ours: socket.socket) -> None:
        ours.settimeout(START_S)
        try:
            pipe.send(msgspec.structs.replace(self._setup, found=self.found, policy=POLICY))
            told, _ = pipe.receive(Ready | Failed)  # type: ignore[arg-type]
        except (Closed, TimeoutError):
            raise FailedPrecondition(f"{self.title}: its process ended while it loaded the model") from None
        if isinstance(told, Failed):
            raise FailedPrecondition(f"{self.title}: {told.why}")
        if not self.ready.done():
            self.ready.set_result(told)

    def _send(self, pipe: Pipe, child: subprocess.Popen[bytes]) -> None:
        while not self._stopping.is_set() and child.poll() is None:
            room = min(WINDOW, self._pace.room()) - (self._sent - self._done)
            if room <= 0 or self._busy() or not (taken := self.tap.take(min(room, TAKEN))):
                if self._sent > self._done and self._is_hung(child.pid):
                    log.error("%s: no response within %g s: its process is ended", self.title, HUNG_S)
                    return
                self._stopping.wait(max(PAUSE_S, self._pace.rest_s()))
                continue
            if self._sent == self._done:
                self._moved_s = time.monotonic()
            taken.reverse()
            while taken:
                tapped = taken.pop()
                if tapped.code:
                    self.unanswered += 1
                    continue
                try:
                    self._pass_on(pipe, tapped)
                except BaseException:
                    self.lost += 1 + len(taken)
                    raise
            self._stopping.wait(PAUSE_S)

    def _is_hung(self, pid: int) -> bool:
        """Where all cores are busy, a process of idle priority may be silent for long, and is as it should be."""
        silent_s = time.monotonic() - self._moved_s
        if silent_s < HUNG_S / 2:
            self._waited_s = None
        elif self._waited_s is None:
            self._waited_s = waited_s(pid)
        elif silent_s > HUNG_S:
            if waited_s(pid) - self._waited_s < HUNG_S / 4:
                return True
            self._moved_s, self._waited_s = time.monotonic(), None
        return False

    def _pass_on(self, pipe: Pipe, tapped: Tapped) -> None:
        request: Any = tapped.request
        sent = request.sent()
        inputs = [(name, word, shape, len(content)) for name, word, shape, content in sent]
        parts = [content for *_, content in sent]
        outputs, response = [], 0
        if isinstance(request, InferRequest) and tapped.response_bytes is not None:
            parts.append(tapped.response_bytes)  # the process parses it
            response = len(tapped.response_bytes)
        else:
            tensors, _ = outputs_of(tapped)
            if not tensors:
                self.unanswered += 1  # its client has left meanwhile
                return
            outputs = [(each.name, each.datatype, each.shape, memoryview(each.data).nbytes) for each in tensors]
            parts += [memoryview(each.data) for each in tensors]
        pipe.send(Mirrored(getattr(request, "id", ""), inputs, outputs, response), parts)
        self._sent += 1

    def _read(self, pipe: Pipe) -> None:
        """Reads the process's results until it ends."""
        with suppress(Closed):
            while True:
                try:
                    told, _ = pipe.receive(Progress)
                except TimeoutError:
                    continue  # nothing was to be said
                self._moved_s = time.monotonic()
                self._pace.told(told.done, told.used_s)
                skipped = told.skipped - self._skipped_here
                self.skipped += skipped
                self.compared += told.done - self._done - skipped
                self._skipped_here, self._done = told.skipped, told.done
                if told.found is not None:
                    self.found = told.found

    def _kill(self) -> None:
        child = self._child
        if child is not None:
            with suppress(OSError):
                child.kill()
