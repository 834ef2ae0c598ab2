"""Whether a converted model agrees with scikit-learn: on a sample, with each value missing, with categories never seen.

Where scikit-learn rejects a record, the server must too; else the results must be the same. Trials find out `missing` and `allowed` of each
column, which the configuration then says. Never in here: files.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferd.errors import ConfigError, InvalidArgument
from inferd.scikit_learn.encoders import MISSING_TEXTS
from inferd.scikit_learn.learned import Learned
from inferd.scikit_learn.samples import Sample
from inferd.scikit_learn.served import Column, Served
from inferd.scikit_learn.trained import Trained
from inferd.steps.columns import MISSING_WORDS
from inferd.tensors import Array, distances

TRIAL_ROWS = 8
MISSING_ROWS = 256  # which way a missing value goes, each node of a tree says for itself
UNSEEN_TEXT = "\u2205 never seen"
UNSEEN_NUMBER = -987_654
FINE = 1e-9  # of an output's largest value: what lies closer together is rounding, as FP64 rounds


@dataclass(frozen=True)
class Difference:
    """One output on the sample, or on other records (`made`). worst: the largest difference, see Tolerance; flipped: labels that differ;
    row: where it is, or the first of these."""

    output: str
    rows: int
    worst: float | None
    flipped: int | None
    kept: bool
    row: int | None = None
    made: bool = False


@dataclass(frozen=True)
class Tolerance:
    """How much results may differ. share: the largest relative difference. spreads: how far apart an output's values lie, [columns], by
    name.

    A difference is relative to the value, but to 1 at least and to the spread at most. 64 seconds are much within a day, though little of
    all seconds since 1970, and targets may be millionths. Differences of probabilities are absolute.
    """

    share: float
    spreads: Mapping[str, Array]

    @classmethod
    def of(cls, results: Mapping[str, Array], share: float) -> Tolerance:
        """By the outputs of scikit-learn for records that are not all alike."""
        return cls(share, {name: _spread(_table(values)) for name, values in results.items() if name != "label"})

    def differences(self, output: str, ours: Array, theirs: Array) -> Array:
        """The relative differences, [rows, columns], to be compared with `share`."""
        size: Any = 1.0
        if output != "probabilities":
            size = np.fmin(np.fmax(np.abs(theirs), 1.0), self.spreads.get(output, math.inf))
        return distances(ours, theirs, size)


def _table(values: Array) -> Array:
    """Numbers as [rows, columns]."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _spread(values: Array) -> Array:
    """How far apart the values of each column lie; the size of those that are all the same."""
    finite = np.isfinite(values)
    seen = finite.any(axis=0)
    low = np.where(seen, np.where(finite, values, math.inf).min(axis=0, initial=math.inf), 0.0)
    high = np.where(seen, np.where(finite, values, -math.inf).max(axis=0, initial=-math.inf), 0.0)
    size = np.maximum(np.abs(low), np.abs(high))
    spread = np.where(high > low, high - low, size)
    spread = np.maximum(spread, FINE * size.max(initial=0.0))
    return np.where(spread > 0, spread, 1.0)


def scikit_learn_results(trained: Trained, sample: Sample) -> dict[str, Array]:
    """The pipeline's own results, by the names of the model's outputs. Raises ValueError where it rejects the sample."""
    frame = sample.as_input(trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: _dense(getattr(trained.pipeline, method)(frame)) for name, method in trained.outputs.items()}


def _dense(values: Any) -> Array:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def compare(expected: Mapping[str, Array], got: Mapping[str, Array], tolerance: Tolerance) -> list[Difference]:
    """One Difference for each output that both have. Raises ConfigError where they have none in common."""
    common = [name for name in expected if name in got]
    if not common:
        raise ConfigError(f"the graph's outputs {', '.join(got)} are none that scikit-learn's results can be held against")
    return [_difference(name, expected[name], got[name], tolerance) for name in common]


def _difference(name: str, expected: Array, got: Array, tolerance: Tolerance) -> Difference:
    rows = len(expected)
    if len(got) != rows:
        return Difference(name, rows, math.inf, None, kept=False)
    if name == "label":
        pairs = zip(np.ravel(got).tolist(), np.ravel(expected).tolist(), strict=True)
        flipped = [row for row, (ours, theirs) in enumerate(pairs) if str(ours) != str(theirs)]
        return Difference(name, rows, None, len(flipped), not flipped, next(iter(flipped), None))
    ours, theirs = _table(got), _table(expected)
    if name == "scores" and (theirs.shape[1], ours.shape[1]) == (1, 2):
        theirs = np.hstack([-theirs, theirs])  # of two classes scikit-learn has the score of the second
    if ours.shape != theirs.shape:
        return Difference(name, rows, math.inf, None, kept=False)
    if not ours.size:
        return Difference(name, rows, 0.0, None, kept=True)
    apart = tolerance.differences(name, ours, theirs)
    row = int(np.argmax(np.max(apart, axis=1)))
    worst = float(apart[row].max())
    return Difference(name, rows, worst, None, worst <= tolerance.share, row)


# ---- what a column lets through


def settle_columns(trained: Trained, served: Served, sample: Sample, share: float) -> tuple[Served, list[str], list[str]]:
    """The same model with `missing` and `allowed` as the pipeline has them. share: see Tolerance.

    Also returns the columns whose missing values it rejects, though the pipeline does not, and notices of other decisions."""
    tolerance = Tolerance.of(_unless_rejected(trained, sample) or {}, share)
    some = sample.part(range(min(TRIAL_ROWS, sample.rows)))
    by_name = dict(zip(trained.names, trained.learned, strict=True))
    many = sample.part(range(min(MISSING_ROWS, sample.rows)))
    rejected: list[str] = []
    told: list[str] = []
    for column in served.columns:
        found = _settle_missing(trained, served, many, column, by_name[column.name], tolerance)
        if found is None and served.needs_value(column):
            told.append(
                f"column {column.name!r}: scikit-learn gives a result where it is missing, and a tensor of {column.datatype} cannot say "
                "so: such records need another --format"
            )
        elif found is None:
            rejected.append(column.name)
        served = found or served
    served, several = _settle_lacking(trained, served, many, tolerance)
    for column in served.columns:
        served, word = _settle_unseen(trained, served, some, column, by_name[column.name], tolerance)
        told += word
    return served, rejected + several, [*told, *_unsaid(served, by_name)]


def _unsaid(served: Served, by_name: Mapping[str, Learned]) -> Iterator[str]:
    """A notice for each column that has a category which readers of records or files take for a missing value."""
    for column in served.columns:
        categories = {value for value in by_name[column.name].categories or () if isinstance(value, str)}
        words = MISSING_WORDS.difference(column.allowed) if column.missing is not None else frozenset()
        unsaid = sorted((words | {""}) & categories)
        if unsaid:
            names = ", ".join(map(repr, unsaid))
            forms = "JSON and ARROW" if "" in unsaid else "JSON, ARROW and TENSORS"
            yield (
                f"column {column.name!r}: the pipeline learned the text {names} as a category, and in CSV, as pandas reads it, that is a "
                f"missing value: it is a category in {forms} alone; for files give it another name before fitting"
            )


def _unless_rejected(trained: Trained, sample: Sample) -> dict[str, Array] | None:
    """scikit-learn's results, or None where it rejects the sample."""
    try:
        return scikit_learn_results(trained, sample)
    except Exception:  # an estimator may raise anything for what it does not take
        return None


def agrees(served: Served, records: Sequence[dict[str, Any]], expected: dict[str, Array], tolerance: Tolerance) -> bool:
    """Whether the results for records are as expected. The records may be alike, so `tolerance` has the spreads of other records."""
    try:
        return all(difference.kept for difference in compare(expected, served.results(records), tolerance))
    except (InvalidArgument, ConfigError):
        return False
    except Exception:  # onnxruntime's own, for a graph that fails at such a record
        return False


def _settle_missing(
    trained: Trained, served: Served, sample: Sample, column: Column, learned: Learned, tolerance: Tolerance
) -> Served | None:
    """The model with `missing` set so that it agrees with scikit-learn; None where no setting does."""
    nothing = sample.holding(column.name, None if sample.columns[column.name].dtype == object else math.nan)
    expected = _unless_rejected(trained, nothing)
    if expected is None:
        return served
    names = [each.name for each in served.columns]
    records = nothing.records(names)
    for text in stand_ins(column, learned):
        try:
            changed = served.changed(replace(column, missing=text))
        except ConfigError:
            continue
        if agrees(changed, records, expected, tolerance):
            return changed
    return None


def _settle_lacking(trained: Trained, served: Served, sample: Sample, tolerance: Tolerance) -> tuple[Served, list[str]]:
    """Tries records that lack several values at once. If the graph does not agree for them, no value may be missing; returns these columns,
    too."""
    names = [column.name for column in served.columns if column.missing is not None]
    lacking = sample.lacking(names)
    expected = _unless_rejected(trained, lacking) if len(names) > 1 else None
    if expected is None or agrees(served, lacking.records([column.name for column in served.columns]), expected, tolerance):
        return served, []
    for column in served.columns:
        served = served.changed(replace(column, missing=None))
    return served, names


def stand_ins(column: Column, learned: Learned) -> list[str]:
    """Candidates for the value of `missing`, the likeliest first."""
    if column.datatype == "BYTES":
        known = [learned.stand_in] if isinstance(learned.stand_in, str) else []
        return list(dict.fromkeys([*known, "nan", "None", "", *MISSING_TEXTS.values()]))
    known = [_text_of(learned.stand_in)] if isinstance(learned.stand_in, (int, float)) and learned.stand_in == learned.stand_in else []
    unseen = [str(UNSEEN_NUMBER)] if learned.categories else []  # which is what NaN is to an encoder that did not see it either
    return ["NaN", *known, *unseen]


def _settle_unseen(
    trained: Trained, served: Served, sample: Sample, column: Column, learned: Learned, tolerance: Tolerance
) -> tuple[Served, list[str]]:
    known = [value for value in learned.categories or () if value is not None and value == value]
    if not known:
        return served, []
    now = next(each for each in served.columns if each.name == column.name)
    value: Any = UNSEEN_TEXT if sample.columns[column.name].dtype == object else float(UNSEEN_NUMBER)
    strange = sample.holding(column.name, value)
    expected = _unless_rejected(trained, strange)
    records = strange.records([each.name for each in served.columns])
    if expected is not None and agrees(served, records, expected, tolerance):
        return served, []
    changed = served.changed(replace(now, allowed=tuple(map(_text_of, known))))
    if expected is None:
        return changed, []
    return changed, [
        f"column {column.name!r}: scikit-learn gives a result where its value was never seen, and the graph otherwise: it is rejected"
    ]


def _text_of(value: Any) -> str:
    """As the configuration has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return json.dumps(value)
    return str(int(value)) if float(value).is_integer() and abs(value) < 1 << 63 else repr(float(value))
