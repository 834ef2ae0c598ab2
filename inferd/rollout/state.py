"""Rollouts as values: what runs, since when, and what is known so far.

They are kept in a small file, so that a restart and other processes find them. Each model has one entry: the rollout that runs, or the
one that ran last. Never in here: decisions, requests, clocks.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from inferd.compare.statistics import Count
from inferd.engine.files.kept_file import KeptFile, append, read, replace
from inferd.engine.files.places import MAX_VERSION
from inferd.errors import ConfigError, FailedPrecondition, NotFound
from inferd.log import LIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

log = logging.getLogger("inferd.rollout")

FILE = "rollouts.json"
LEFT_OUT = ".left-out.jsonl"  # behind the file's name: entries that could not be read, one a line
LONGEST_S = 366 * 86_400.0  # of any time that a client asks for


class Kind(StrEnum):
    """SHADOW: the candidate runs requests beside the stable version, and its responses go nowhere. CANARY: clients get them."""

    SHADOW = "SHADOW"
    CANARY = "CANARY"


class RolloutState(StrEnum):
    """HOLD: the rollout goes on at its present share: the evidence allows no next step."""

    RUNNING = "RUNNING"
    HOLD = "HOLD"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"
    STOPPED = "STOPPED"


ENDED = frozenset({RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.STOPPED})


class Verdict(StrEnum):
    """Where a confidence band is. OPEN: the limit is inside of it."""

    OK = "ok"
    OPEN = "open"
    BAD = "bad"


class Evidence(msgspec.Struct, frozen=True):
    """The evidence of one guard. count: observations. lower and upper: the confidence band of the estimate."""

    guard: str
    count: Count = 0
    estimate: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    limit: float = 0.0
    verdict: Verdict = Verdict.OPEN
    explanation: str = msgspec.field(default="", name="says")  # for people: the figures, and what they would lead to


Version = Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=LONGEST_S)]


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout.

    share: of requests that go to the candidate now. dwell_s: least time at a step of a canary. patience_s: time without a decision until
    HOLD. None: the usual times. memory: state for a restart, by the rollout's kind; empty once it has ended."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    model: str
    kind: Kind
    stable: Version
    candidate: Version
    state: RolloutState = RolloutState.RUNNING
    sample: Share = 1.0
    steps: tuple[Share, ...] = ()
    step: Annotated[int, msgspec.Meta(ge=0)] = 0
    share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    guards: dict[str, float] = {}
    unjudged: bool = False  # of a canary: it takes steps without a guard on predictions
    dwell_s: Seconds | None = None
    patience_s: Seconds | None = None
    counts: dict[str, Count] = {}
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""  # of the last decision
    started_ns: Count = 0  # by the wall clock
    changed_ns: Count = 0
    memory: dict[str, Any] = {}

    @property
    def runs(self) -> bool:
        return self.state not in ENDED


Table: TypeAlias = "Mapping[str, Rollout]"  # by model


def running(table: Table, model: str) -> Rollout:
    """The rollout of a model that runs. Raises NotFound, FailedPrecondition."""
    found = table.get(model)
    if found is None:
        raise NotFound(f"rollout: model {model[:100]!r} has none; `inferd rollout shadow` and `canary` begin one")
    if not found.runs:
        why = f"rollout: the last one of model '{model}' has ended: {found.state}, {found.reason or 'no reason given'}"
        if found.state is RolloutState.PROMOTED:
            why += f"; `inferd models HOST rollback {model} stable` goes back to version {found.stable}"
        raise FailedPrecondition(why)
    return found


def begun(table: Table, rollout: Rollout) -> Table:
    """The table with a new rollout. Raises FailedPrecondition where the model has one that runs."""
    other = table.get(rollout.model)
    if other is not None and other.runs:
        raise FailedPrecondition(
            f"rollout: model '{rollout.model}' has one already: {other.kind.lower()} of version {other.candidate}, {other.state}; "
            "promote it, roll it back or stop it first"
        )
    return {**table, rollout.model: rollout}


def merged(table: Table, known: Table) -> Table:
    """The table with what a process knows of those that run there, too. None that has ended runs again, and no step is taken back."""
    both = [(there, known[model]) for model, there in table.items() if model in known]
    news = [
        here
        for there, here in both
        if there.id == here.id and there.runs and (not here.runs or (here.step, here.share) >= (there.step, there.share))
    ]
    return {**table, **{rollout.model: rollout for rollout in news}}


def _rollout(model: str, raw: msgspec.Raw, check: Callable[[Rollout], None]) -> Rollout | str:
    """An entry of the file, or why it is none."""
    try:
        found = msgspec.json.decode(raw, type=Rollout)
        check(found)
    except (ValueError, RecursionError) as error:
        return str(error)
    if found.model != model:
        return f"model: expected the key {model[:100]!r}, got {found.model[:100]!r}"
    return found


class RolloutFile(KeptFile):
    """Where a table is kept. path: None: nowhere, so that a restart forgets all rollouts. check: raises ValueError for a rollout that
    cannot go on from its memory."""

    def __init__(self, path: Path | None, check: Callable[[Rollout], None] = lambda _: None) -> None:
        super().__init__(path)
        self._check = check
        self._kept: Table = {}  # where there is no file

    def read(self) -> Table:
        """The rollouts that were written last; none where there is no file. A malformed entry is left out, and the log says so. Raises
        ConfigError for a file that holds no table."""
        if self.path is None:
            return self._kept
        try:
            written = self._written()
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(
                f"rollouts: '{self.path}' cannot be read: {why}; mend the file, or remove it to begin without rollouts"
            ) from None
        return dict(self._rollouts(written))

    def _written(self) -> dict[str, msgspec.Raw]:
        """The entries, each as it stands in the file. Raises OSError, DecodeError, RecursionError."""
        assert self.path is not None
        return msgspec.json.decode(read(self.path), type=dict[str, msgspec.Raw])

    def _rollouts(self, written: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, Rollout]]:
        for model, raw in written.items():
            found = _rollout(model, raw, self._check)
            if isinstance(found, Rollout):
                yield model, found
                continue
            log.error("rollouts: '%s': that of model %r is left out: %s; mend or remove it", self.path, model, found, extra=LIMITED)

    def _keep_left_out(self) -> None:
        """The entries that cannot be read go into a file of their own before this one is replaced. Raises OSError."""
        assert self.path is not None
        try:
            written = self._written()
        except (FileNotFoundError, msgspec.DecodeError, RecursionError):
            return
        path = self.path.with_name(self.path.name + LEFT_OUT)
        for model, raw in written.items():
            if not isinstance(_rollout(model, raw, self._check), Rollout):
                append(path, msgspec.json.encode({"model": model, "entry": raw}) + b"\n")
                log.error("rollouts: '%s': the entry of model %r was moved to '%s'", self.path, model, path)

    def write(self, table: Table) -> None:
        """All of it or nothing. Raises FailedPrecondition."""
        if self.path is None:
            log.warning("rollouts are lost at a restart: no folder can be written to; --state-dir names one", extra=LIMITED)
            self._kept = table
            return
        try:
            self._keep_left_out()
            replace(self.path, msgspec.json.format(msgspec.json.encode(dict(table))))
        except OSError as error:
            log.error("rollouts cannot be written to '%s': %s", self.path, error.strerror, extra=LIMITED)
            raise FailedPrecondition(f"the file of rollouts cannot be written ({error.strerror}); the server's log says where") from None
