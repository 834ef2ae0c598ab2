"""How two responses to one request differ, output by output; and the same of many requests, by merging.

    total = Difference()
    total.merge(compare(expected, got, rules, datatypes))

Each output is compared by itself, in three ways:
- values: is |got - expected| <= absolute + relative * |expected|, as `numpy.isclose` asks? A row with a value beyond that has changed.
- decisions: the class with the highest value on the last axis, a label, or the side of a threshold. A flip is another decision. If
  expected's two candidates are within the tolerance of each other, that is a tie and no flip.
- ranks: the first five classes and their order. The first label of an output that is RANKED already is its decision.

Text is always bytes here: ONNX Runtime makes str, and all else bytes. Several outputs may belong to one decision, such as a label and its
probabilities (decisions.py finds them). The decision flips where any of them does, and one of them counts it.

Never in here: files, models, what a difference means (verdict.py).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from inferd.tensors import Array, as_numbers, encoded, word_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_MISMATCHES = 16  # texts of one output: there may be one for each pair of shapes
TOP = 5  # classes whose order is compared
RELATIVE = {"FP16": 1e-2, "BF16": 2e-2}  # default tolerances, of the datatype's own rounding; RELATIVE_ELSE of others
RELATIVE_ELSE = 1e-4
ABSOLUTE = 1e-5
MOST = sys.float_info.max  # for infinity, which JSON does not have
NUMBER, LABEL, TEXT = "number", "label", "text"  # numbers have tolerances; the others are the same or not
AUTO, ARGMAX, RANKED, NONE = "auto", "argmax", "ranked", "none"


class Rule(msgspec.Struct, frozen=True):
    """How one output is compared. None: by its datatype. decide: AUTO, ARGMAX, RANKED, NONE, or a threshold. of: the output that counts
    the decision to which this one belongs; '': this one does.

    AUTO takes whole numbers and text as labels. For other values the decision is argmax if the last axis has several. Else the threshold
    is 0.5, which counts only as long as all values lie from 0 to 1."""

    absolute: float | None = None
    relative: float | None = None
    decide: str | float = AUTO
    of: str = ""


class OutputDifference(msgspec.Struct):
    """One output in so many requests. Sums and maxima only, so that two of them add up."""

    requests: int = 0
    rows: int = 0
    changed_rows: int = 0  # a value is beyond the tolerance
    values: int = 0  # numbers that both sides have and that are finite
    max_absolute: float = 0.0
    sum_absolute: float = 0.0
    max_relative: float = 0.0  # |got - expected| / max(|got|, |expected|)
    sum_square_difference: float = 0.0
    sum_square_expected: float = 0.0
    excess: float = 0.0  # the largest difference, in tolerances: beyond 1 a value has changed
    not_finite: int = 0  # values of which one side is NaN or infinite, and the other is not the same
    decisions: int = 0
    decision_flips: int = 0
    max_flip_margin: float = 0.0  # between expected's decision and the one that came: how sure expected was of it
    sum_flip_margin: float = 0.0
    rankings: int = 0
    rank_changes: int = 0
    by_assumed_threshold: bool = False
    joined: bool = False  # another output counts its decision
    low: float = MOST  # of all values of both sides
    high: float = -MOST
    mismatches: dict[str, int] = {}  # why values cannot be compared -> requests; MOST_MISMATCHES of them
    other_mismatches: int = 0  # requests with further reasons

    @property
    def has_decisions(self) -> bool:
        """False where the threshold was assumed, and the values are no probabilities."""
        return self.decisions > 0 and not (self.by_assumed_threshold and (self.low < 0 or self.high > 1))

    @property
    def values_changed(self) -> bool:
        """Whether values changed. False for labels, whose changes are flips."""
        return self.changed_rows > 0 and (self.values + self.not_finite > 0 or not (self.decisions or self.joined))

    @property
    def flips(self) -> int:
        return self.decision_flips if self.has_decisions else 0

    @property
    def mismatched(self) -> int:
        """Requests that could not be compared."""
        return sum(self.mismatches.values()) + self.other_mismatches

    @property
    def mean_absolute(self) -> float:
        return self.sum_absolute / self.values if self.values else 0.0

    @property
    def relative_rms(self) -> float:
        """The root of mean squares of the differences, over that of the expected values: 1 / SNR."""
        if not self.sum_square_difference:
            return 0.0
        return float(np.sqrt(self.sum_square_difference / self.sum_square_expected)) if self.sum_square_expected else MOST

    def merge(self, other: OutputDifference) -> None:
        for field in ADDED:
            setattr(self, field, min(getattr(self, field) + getattr(other, field), MOST))
        for field in LARGEST:
            setattr(self, field, max(getattr(self, field), getattr(other, field)))
        self.low = min(self.low, other.low)
        for words, requests in other.mismatches.items():
            if words in self.mismatches or len(self.mismatches) < MOST_MISMATCHES:
                self.mismatches[words] = self.mismatches.get(words, 0) + requests
            else:
                self.other_mismatches += requests


LARGEST = ("max_absolute", "max_relative", "excess", "max_flip_margin", "high", "by_assumed_threshold", "joined")
ADDED = tuple(field for field in OutputDifference.__struct_fields__ if field not in (*LARGEST, "low", "mismatches"))


class Flips(NamedTuple):
    """The decisions of one output in one request."""

    changed: Array
    margins: Array  # between expected's decision and the one that came
    tied: Array  # expected's two best are within the tolerance of each other


class Difference(msgspec.Struct):
    """All outputs, of one request or of many."""

    requests: int = 0
    changed: int = 0  # requests with a value beyond the tolerance, or a mismatch; another label is a flip
    flipped: int = 0  # requests with a decision that flipped
    mismatched: int = 0  # requests with an output that could not be compared
    decided: int = 0  # requests with a decision
    outputs: dict[str, OutputDifference] = {}

    def merge(self, other: Difference) -> None:
        for field in ("requests", "changed", "flipped", "mismatched", "decided"):
            setattr(self, field, getattr(self, field) + getattr(other, field))
        for name, difference in other.outputs.items():
            self.outputs.setdefault(name, OutputDifference()).merge(difference)

    @property
    def decisive(self) -> int:
        """Requests with a decision; 0 as soon as the values of later requests are no probabilities."""
        return self.decided if any(output.has_decisions for output in self.outputs.values()) else 0

    @property
    def excess(self) -> float:
        """The largest difference of any output, in tolerances; MOST where something could not be compared."""
        if self.mismatched or any(output.not_finite for output in self.outputs.values()):
            return MOST
        return max((output.excess for output in self.outputs.values()), default=0.0)

    @property
    def badness(self) -> tuple[bool, int, float, float]:
        """For sorting requests, the worst last: what could not be compared, decisions that flipped, how sure they were, values."""
        outputs = self.outputs.values()
        margin = max((output.max_flip_margin for output in outputs if output.flips), default=0.0)
        return (self.mismatched > 0, sum(output.flips for output in outputs), margin, self.excess)


def compare(
    expected: Mapping[str, Array],
    got: Mapping[str, Array],
    rules: Mapping[str, Rule] | None = None,
    datatypes: Mapping[str, str] | None = None,
    *,
    batched: bool = True,
) -> Difference:
    """Two responses to one request.

    datatypes: the protocol's words by output name: BF16 arrives as its bits and cannot be told from UINT16. batched: the first axis is
    rows; else a response is one row.
    """
    found, flips = Difference(1), dict[str, Flips | None]()
    for name in [*expected, *(name for name in got if name not in expected)]:
        if name not in got or name not in expected:
            side = "only OLD has it" if name in expected else "only NEW has it"
            output = OutputDifference(1, mismatches={side: 1})
        else:
            word = (datatypes or {}).get(name, "")
            output, flips[name] = compare_output(expected[name], got[name], (rules or {}).get(name, Rule()), word, batched=batched)
        found.outputs[name] = output
    join(found.outputs, flips, rules or {})
    outputs = found.outputs.values()
    found.mismatched = int(any(output.mismatches for output in outputs))
    found.changed = int(any(output.values_changed or output.mismatches for output in outputs))
    found.flipped = int(any(output.flips for output in outputs))
    found.decided = int(any(output.has_decisions for output in outputs))
    return found


def compare_output(
    expected: Array, got: Array, rule: Rule, word: str = "", *, batched: bool = True
) -> tuple[OutputDifference, Flips | None]:
    """One output of one request, and what became of its decisions; None: it has none."""
    expected, got = encoded(expected), encoded(got)
    kinds = [kind_of(array, word) for array in (expected, got)]
    if kinds[0] != kinds[1]:
        return OutputDifference(1, mismatches={f"datatype {spelled(expected)} became {spelled(got)}": 1}), None
    if expected.shape != got.shape:
        return OutputDifference(1, mismatches={f"shape {list(expected.shape)} became {list(got.shape)}": 1}), None
    found = OutputDifference(1, rows=len(expected) if batched and expected.ndim else 1)
    if not expected.size:
        return found, None
    with np.errstate(invalid="ignore", over="ignore"):
        if kinds[0] == NUMBER:
            flips = compare_numbers(as_numbers(expected, word), as_numbers(got, word), rule, word or spelled(expected), found)
        else:
            flips = compare_labels(expected, got, rule, found)
    if flips is not None:
        count_flips(flips, found)
    return found, flips


def join(outputs: Mapping[str, OutputDifference], flips: Mapping[str, Flips | None], rules: Mapping[str, Rule]) -> None:
    """Joins outputs that belong to one decision: the output that counts it gets the flips of all, and the others have none."""
    for main in {rule.of for rule in rules.values() if rule.of}:
        first = flips.get(main)
        others = {name: made for name, rule in rules.items() if rule.of == main and (made := flips.get(name)) is not None}
        if first is None or any(len(made.changed) != len(first.changed) for made in others.values()):
            continue
        # Scores know of ties and margins, and labels of neither.
        tied = first.tied
        for made in others.values():
            tied = tied | made.tied
        changed, margins = first.changed & ~tied, first.margins
        for made in others.values():
            changed, margins = changed | made.changed, np.maximum(margins, made.margins)
        count_flips(Flips(changed, margins, tied), outputs[main])
        for name in others:
            outputs[name].joined = True
            outputs[name].decisions = outputs[name].decision_flips = 0
            outputs[name].max_flip_margin = outputs[name].sum_flip_margin = 0.0


def kind_of(array: Array, word: str) -> str:
    if array.dtype.kind in "OSU":
        return TEXT
    return NUMBER if array.dtype.kind in "fV" or array.dtype.name == "bfloat16" or word == "BF16" else LABEL


def spelled(array: Array) -> str:
    return word_of(array.dtype).upper()


def compare_labels(expected: Array, got: Array, rule: Rule, found: OutputDifference) -> Flips | None:
    """Whole numbers, truth values and text: equal or not. A number that is counted rather than chosen has a threshold or NONE."""
    if isinstance(rule.decide, float | int) and expected.dtype.kind in "iub":
        return compare_numbers(expected.astype(np.float64), got.astype(np.float64), rule, "", found)
    differs = np.asarray(expected != got, bool)
    found.changed_rows = rows_with(differs, found.rows)
    found.excess = MOST if found.changed_rows else 0.0
    if rule.decide == NONE:
        return None
    if rule.decide == RANKED and expected.ndim:
        ranks = differs.reshape(-1, expected.shape[-1])
        found.rankings, found.rank_changes = len(ranks), int(np.count_nonzero(ranks.any(axis=1)))
        differs = ranks[:, 0]
    changed = differs.reshape(-1)
    return Flips(changed, np.zeros(len(changed)), np.zeros(len(changed), bool))


def compare_numbers(expected: Array, got: Array, rule: Rule, word: str, found: OutputDifference) -> Flips | None:
    absolute, relative = tolerance_of(rule, word)
    finite = np.isfinite(expected) & np.isfinite(got)
    alike = finite | (expected == got) | (np.isnan(expected) & np.isnan(got))
    difference = np.minimum(np.where(finite, np.abs(got - expected), 0.0), MOST)
    size = np.where(finite, np.abs(expected), 0.0)
    larger = np.maximum(size, np.where(finite, np.abs(got), 0.0))
    excess = difference / np.maximum(absolute + relative * size, 1e-300)
    squares = [summed(np.square(values)) for values in (difference, size)]
    found.values = int(np.count_nonzero(finite))
    found.not_finite = int(np.count_nonzero(~alike))
    found.max_absolute, found.sum_absolute = float(difference.max()), summed(difference)
    shares = difference / np.where(larger > 0, larger, 1.0)
    found.max_relative = float(np.max(shares))
    found.sum_square_difference, found.sum_square_expected = squares
    found.excess = min(float(np.max(excess)), MOST)
    found.changed_rows = rows_with((excess > 1) | ~alike, found.rows)
    if found.values:
        found.low = float(min(expected[finite].min(), got[finite].min()))
        found.high = float(max(expected[finite].max(), got[finite].max()))
    return decide(expected, got, rule, (absolute, relative), found)


def summed(values: Array) -> float:
    with np.errstate(over="ignore"):
        return min(float(values.sum()), MOST)


def tolerance_of(rule: Rule, word: str) -> tuple[float, float]:
    """Absolute and relative."""
    relative = RELATIVE.get(word, RELATIVE_ELSE) if rule.relative is None else rule.relative
    return ABSOLUTE if rule.absolute is None else rule.absolute, relative


def rows_with(differs: Array, rows: int) -> int:
    return int(np.count_nonzero(differs.reshape(rows, -1).any(axis=1)))


def decide(expected: Array, got: Array, rule: Rule, tolerance: tuple[float, float], found: OutputDifference) -> Flips | None:
    if rule.decide == NONE:
        return None
    by_place = rule.decide in (ARGMAX, RANKED)
    classes = expected.shape[-1] if expected.ndim and isinstance(rule.decide, str) else 1
    if classes > 1 and (expected.ndim > 1 or by_place or found.rows == 1):
        return compare_classes(expected.reshape(-1, classes), got.reshape(-1, classes), tolerance, found)
    if by_place:
        return None
    assumed = rule.decide == AUTO
    threshold = 0.5 if assumed else float(rule.decide)
    found.by_assumed_threshold = assumed
    margins = np.abs(expected - threshold).reshape(-1)
    tied = margins <= tolerance[0] + tolerance[1] * abs(threshold)
    return Flips(((expected >= threshold) != (got >= threshold)).reshape(-1) & ~tied, margins, tied)


def decisions_of(array: Array, rule: Rule, word: str = "") -> list[str]:
    """Each decision of an output in words: the place of a class, a label, or `from` and `below` a threshold."""
    if kind_of(array, word) != NUMBER and not isinstance(rule.decide, float | int):
        told = array.reshape(-1, array.shape[-1])[:, 0] if rule.decide == RANKED and array.ndim else array.reshape(-1)
        return [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in told.tolist()]
    numbers = as_numbers(array, word)
    if numbers.ndim and numbers.shape[-1] > 1 and not isinstance(rule.decide, float | int):
        return list(map(str, numbers.reshape(-1, numbers.shape[-1]).argmax(axis=1).tolist()))
    threshold = 0.5 if isinstance(rule.decide, str) else rule.decide
    return [f"{'from' if each >= threshold else 'below'} {threshold:g}" for each in numbers.reshape(-1).tolist()]


def compare_classes(expected: Array, got: Array, tolerance: tuple[float, float], found: OutputDifference) -> Flips:
    """Rows of classes. The first of equal ones is the decision, as in numpy; NaN comes first."""
    best, chosen = expected.argmax(axis=1), got.argmax(axis=1)
    rows = np.arange(len(expected))
    found.rankings = len(expected)
    found.rank_changes = int(np.count_nonzero((top(expected) != top(got)).any(axis=1)))
    highest = expected[rows, best]
    margins, within = highest - expected[rows, chosen], tolerance[0] + tolerance[1] * np.abs(highest)
    second = np.partition(expected, -2, axis=1)[:, -2]
    return Flips((best != chosen) & ~(margins <= within), margins, highest - second <= within)


def count_flips(flips: Flips, found: OutputDifference) -> None:
    found.decisions, found.decision_flips = len(flips.changed), int(np.count_nonzero(flips.changed))
    of_flips = np.nan_to_num(flips.margins[flips.changed])
    found.max_flip_margin, found.sum_flip_margin = float(of_flips.max(initial=0.0)), summed(of_flips)


def top(rows: Array) -> Array:
    """The places of the first TOP values of each row, the largest first, equal ones by place."""
    if rows.shape[1] > 8 * TOP:  # so that a row of many classes is not sorted whole; equal values at the border keep any order
        places = np.sort(np.argpartition(-rows, TOP, axis=1)[:, :TOP], axis=1)
        order = np.argsort(-np.take_along_axis(rows, places, axis=1), axis=1, kind="stable")
        return np.take_along_axis(places, order, axis=1)
    return np.argsort(-rows, axis=1, kind="stable")[:, :TOP]
