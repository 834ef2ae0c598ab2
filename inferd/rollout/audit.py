"""The audit log: one line of JSON for each decision of a rollout, with its evidence. Lines are appended, and never changed or removed.

A disk that is full stops no rollout: the line goes to the server's log instead. Never in here: decisions.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from inferd.log import event

if TYPE_CHECKING:
    from pathlib import Path

    from inferd.rollout.state import Rollout

__all__ = ["FILE", "Audit"]

log = logging.getLogger("inferd.rollout")

FILE = "rollouts.audit.jsonl"


class Audit:
    """path: None: the server's log alone has the decisions. failures: lines that could not be written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.failures = 0

    def append(self, decision: str, rollout: Rollout, now_ns: int) -> None:
        """decision: one word. now_ns: by the wall clock. On any thread; several processes may write to one file."""
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
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, msgspec.json.encode(told) + b"\n")  # in one piece, so that lines of two processes do not mix
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.failures += 1
            log.error(
                "the audit log '%s' cannot be written: %s; the decision: %s", self.path, error.strerror, msgspec.json.encode(told).decode()
            )
