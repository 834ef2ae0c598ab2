"""Writes rollouts to their file and to the audit log.

A decision has effect even if it cannot be written. Then the process owes it, and each later write tries it again. Never in here:
decisions, which rollouts run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from inferd.errors import ConfigError, FailedPrecondition
from inferd.log import LIMITED
from inferd.rollout.state import merged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inferd.rollout.audit import Audit
    from inferd.rollout.state import Rollout, RolloutFile, Table

log = logging.getLogger("inferd.rollout")


class Ledger:
    """Methods are called on the event loop's thread, and leave the disk to other threads. `close` and `stamp` are exceptions."""

    def __init__(self, file: RolloutFile, audit: Audit) -> None:
        self._file, self._audit = file, audit
        self._owed: dict[str, Rollout] = {}  # those that have ended here, and not in the file yet: one of each model

    @property
    def path(self) -> Path | None:
        return self._file.path

    @property
    def owes(self) -> bool:
        """Whether there is something that could not be written."""
        return bool(self._owed) or self._audit.owes

    def owe(self, rollout: Rollout) -> None:
        """It has ended: the next write says so."""
        self._owed[rollout.model] = rollout

    async def read(self) -> Table:
        """Raises FailedPrecondition; the log has the reason."""
        return await asyncio.to_thread(self._read)

    async def write(self, change: Callable[[Table], Table]) -> Table:
        """Makes the change, and writes what is owed. Returns what the file has now. Raises FailedPrecondition, or what `change` raises."""
        owed = dict(self._owed)
        table = await asyncio.to_thread(self._write, owed, change)
        self._owed = {model: rollout for model, rollout in self._owed.items() if owed.get(model) is not rollout}
        return table

    async def audit(self, decision: str, rollout: Rollout) -> None:
        """The log has it at once."""
        await asyncio.to_thread(self._audit.append, decision, rollout, time.time_ns())

    def close(self, running: Table) -> None:
        """The process ends: writes what it knows. running: the rollouts that go on after the next start."""
        try:
            self._write(self._owed, lambda table: merged(table, running))
        except FailedPrecondition as error:
            log.error("%s", error)

    def stamp(self) -> tuple[int, int]:
        """Another one: the file has changed. On any thread."""
        try:
            found = self._file.path.stat() if self._file.path is not None else None
        except OSError:
            found = None
        return (0, 0) if found is None else (found.st_ino, found.st_mtime_ns)

    # ---- on another thread ----

    def _read(self) -> Table:
        try:
            return self._file.read()
        except ConfigError as error:
            log.error("%s", error, extra=LIMITED)
            raise FailedPrecondition("the file of rollouts is broken, and nothing is written; the server's log says where") from None

    def _write(self, owed: Table, change: Callable[[Table], Table]) -> Table:
        self._audit.flush()
        with self._file.locked():
            table = self._read()
            after = change(merged(table, owed))
            if after != table:
                self._file.write(after)
        return after
