"""A comparison as one value, which tables, pages and files show. Never in here: how it comes about (run.py), how it looks."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from inferd.bench.compare import Comparison
from inferd.compare.outputs import Difference

FORMAT = 1


class Word(Enum):
    """The verdict."""

    SAME = "SAME"
    WORSE = "WORSE"
    INCONCLUSIVE = "INCONCLUSIVE"


class DiffVerdict(msgspec.Struct, frozen=True):
    """checks: of each check its name, its word, and its result in words."""

    word: Word
    sentence: str
    checks: list[tuple[str, Word, str]]


class Limits(msgspec.Struct, frozen=True):
    """The most that NEW may differ by.

    max_changed, max_flips: shares of requests. max_slower: a share of OLD's p50. max_worse: a share of the rows with known truth. These
    rows must rule out a larger loss.
    """

    max_changed: float = 0.0
    max_flips: float = 0.0
    max_slower: float = 0.05
    max_worse: float = 0.05


class Failures(msgspec.Struct):
    """Requests without a response: of one side, or of both, which tells nothing of NEW."""

    only_old: int = 0
    only_new: int = 0
    both: int = 0
    first: str = ""  # the first error of NEW, or else of OLD


class Worst(msgspec.Struct):
    """One of the requests that differ most. values: of each tensor the first ones. why: what differs, in words."""

    name: str
    why: str
    inputs: dict[str, Any]
    old: dict[str, Any]
    new: dict[str, Any]


class Distribution(msgspec.Struct):
    """The largest difference of each request in one output, as quantiles; and how often which decision became which."""

    quantiles: list[tuple[float, float]] = []
    transitions: list[tuple[str, str, int]] = []
    shares: dict[str, tuple[int, int]] = {}  # a decision -> how often OLD and NEW make it


class Truth(msgspec.Struct):
    """Rows in which both models, one of them or neither decide as the labels say."""

    output: str
    both: int = 0
    only_old: int = 0
    only_new: int = 0
    neither: int = 0

    @property
    def rows(self) -> int:
        return self.both + self.only_old + self.only_new + self.neither


class Report(msgspec.Struct, kw_only=True):
    """All of `inferd diff`, as --json writes it."""

    format: int = FORMAT
    old: str
    new: str
    on: str
    requests: int
    difference: Difference
    noise: Difference
    tolerances: dict[str, tuple[float, float]] = {}  # of each output: absolute, relative
    failures: Failures
    worst: list[Worst] = []
    distributions: dict[str, Distribution] = {}
    truth: Truth | None = None
    performance: Comparison | None = None
    limits: Limits
    verdict: DiffVerdict | None = None
    notices: list[str] = []
    command: str = ""
    made_unix_s: float = 0.0
    versions: dict[str, str] = {}
