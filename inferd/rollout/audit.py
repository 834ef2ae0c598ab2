"""The audit log: one line of JSON for each decision of a rollout, with its evidence. Lines are appended, and never changed or removed.

A disk that is full stops no rollout: the line goes to the server's log at once, and into the file once there is room. Never in here:
decisions.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from inferd.log import event

if TYPE_CHECKING:
    from pathlib import Path

    from inferd.rollout.state import Rollout

log = logging.getLogger("inferd.rollout")

FILE = "rollouts.audit.jsonl"
MAX_OWED = 1000  # lines that are kept until they can be written


class Audit:
    """path: None: the server's log alone has the decisions. failures: lines that could not be written at once. On any thread."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.failures = 0
        self._owed: deque[bytes] = deque(maxlen=MAX_OWED)  # lines that the file does not have
        self._lock = threading.Lock()

    def append(self, decision: str, rollout: Rollout, now_ns: int) -> None:
        """decision: one word. now_ns: by the wall clock. Several processes may write to one file."""
        log.info(
            "rollout of model '%s', version %d to %d: %s: %s",
            *(rollout.model, rollout.stable, rollout.candidate, decision, rollout.reason),
            extra=event("rollout_decided", model=rollout.model, rollout=rollout.id, decision=decision),
        )
        if self.path is None:
            return
        told = {
            "time": datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
            "decision": decision,
            **{name: value for name, value in msgspec.to_builtins(rollout).items() if name != "memory"},
        }
        line = msgspec.json.encode(told)
        with self._lock:
            self._owed.append(line + b"\n")
        if why := self.flush():
            self.failures += 1
            log.error("the audit log '%s' cannot be written: %s; the decision: %s", self.path, why, line.decode())

    @property
    def owes(self) -> bool:
        """Whether lines wait for `flush`."""
        return bool(self._owed)

    def flush(self) -> str:
        """Writes the lines that wait, oldest first. Returns why it could not; ''."""
        with self._lock:
            while self._owed:
                try:
                    self._write(self._owed[0])
                except OSError as error:
                    return error.strerror or str(error)
                self._owed.popleft()
        return ""

    def _write(self, line: bytes) -> None:
        """All of a line or nothing. Raises OSError: at once for a FIFO that nobody reads."""
        assert self.path is not None
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
