"""The messages between a server and a candidate's process (pipe.py). Never in here: how they travel, what they lead to."""

from __future__ import annotations

from typing import Any

import msgspec

from inferd.compare.outputs import Difference
from inferd.compare.statistics import Count
from inferd.rollout.shift import OutputShift
from inferd.rollout.state import Evidence

Spec = tuple[str, str, tuple[int, ...]]  # name, datatype word, shape; -1: any size
Tensor = tuple[str, str, tuple[int, ...], int]  # name, datatype word, shape, bytes: these follow the message


class Worst(msgspec.Struct, frozen=True):
    """One of the requests that differ most."""

    badness: tuple[bool, int, float, float]
    request_id: str
    words: str


class Found(msgspec.Struct):
    """The results of comparing so far, over all processes that this candidate has had."""

    compared: Count = 0  # requests with a response of the stable version, and a response or an error of the candidate
    failed: Count = 0  # of these, those with an error
    error: str = ""  # the last one
    total: Difference = msgspec.field(default_factory=Difference)  # of all others
    shifts: dict[str, OutputShift] = {}  # of these, by output; those of floats alone
    worst: list[Worst] = []
    evidence: list[Evidence] = []


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message to the process. settings: those of config_sources.Defaults. guards: the limit of each. alpha: the probability
    that a guard's verdict is wrong at any time. found: what earlier processes have found. policy: how Linux schedules it once it has
    loaded the model."""

    folder: str
    name: str
    version: int
    settings: dict[str, Any]
    guards: dict[str, float]
    alpha: float
    found: Found
    policy: int = 0


class Mirrored(msgspec.Struct, frozen=True, tag=True):
    """One request with the response of the stable version. response: 0, or bytes of a ModelInferResponse that follow the inputs'."""

    request_id: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    response: int = 0


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The process has loaded the candidate, which has this signature."""

    inputs: list[Spec]
    outputs: list[Spec]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The candidate cannot be loaded."""

    why: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """done: requests that this process has worked off. used_s: the processor time that they took. skipped: of these, those that cannot be
    compared. found: now and then."""

    done: int
    used_s: float
    skipped: int = 0
    found: Found | None = None
