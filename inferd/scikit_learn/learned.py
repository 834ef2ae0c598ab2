"""Facts that a fitted pipeline's steps learned of its columns: types, categories, where numbers lie, and where trees split them.

A step sees columns as the steps before it left them. Its facts are turned into facts about clients' values by undoing those steps. Mixed
columns, such as those of a PCA, give no facts. Never in here: records, ONNX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferd.scikit_learn.thresholds import estimator_of
from inferd.steps.columns import MISSING_WORDS
from inferd.tensors import Array

MOST_POINTS = 256  # of one column that one step is asked for
MOST_MEMBERS = 50  # of one forest, say: more trees split at more of the same
# Steps that give a column for each that they take, in the same order.
_ONE_TO_ONE = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PowerTransformer", "QuantileTransformer"})
_LISTS = ("data_min_", "data_max_", "max_abs_", "bin_edges_")  # of each column one number, or several
_TABLES = ("quantiles_", "_fit_X", "support_vectors_", "cluster_centers_", "theta_")  # [any, columns]: records, or numbers like theirs


@dataclass
class Learned:
    """A pipeline's knowledge of one column, as clients send it. kind: "number", "whole" or "text"; `source`: the steps that know it.

    used: whether anything is done with it. middle and spread: about the mean and the standard deviation of numbers. points: limits,
    quantiles and thresholds among its numbers. categories: every value it was trained on. words: its texts are made of them.
    stand_in: its imputer's value for a missing one.
    """

    kind: str = ""
    source: list[str] = field(default_factory=list)
    used: bool = False
    middle: float | None = None
    spread: float | None = None
    points: list[float] = field(default_factory=list)
    categories: list[Any] | None = None
    words: list[str] | None = None
    stand_in: Any = None

    @property
    def known(self) -> bool:
        """Whether values like those that it was trained on can be made of it."""
        return bool(self.categories or self.words or self.points) or (self.kind != "text" and self.middle is not None)

    @property
    def missing_words(self) -> frozenset[str]:
        """Words that mean a missing value in a CSV file, except the column's own categories."""
        return MISSING_WORDS.difference(value for value in self.categories or () if isinstance(value, str))


@dataclass(frozen=True)
class Seen:
    """A column as a step sees it. undo: numbers as the step sees them -> as clients send them."""

    column: Learned
    undo: Callable[[Array], Array]

    def say(self, source: str, *, middle: Any = None, spread: Any = None, points: Sequence[float] = (), **found: Any) -> None:
        """Takes note of what a step found; what one before it has said stays."""
        if middle is not None:
            at, beside = self.undo(np.array([middle, middle + (spread or 0)], dtype=np.float64)).tolist()
            found |= {"middle": at, "spread": abs(beside - at) or None}
        news = {key: value for key, value in found.items() if value is not None and getattr(self.column, key) is None}
        for key, value in news.items():
            setattr(self.column, key, value)
        # A tree that asks whether a value is missing splits at infinity, which steps before it do not take.
        finite = [point for point in points if np.isfinite(point)]
        added = _thinned(self.undo(np.array(finite, dtype=np.float64)))
        self.column.points.extend(added)
        if (news or added) and source not in self.column.source:
            self.column.source.append(source)


def _thinned(points: Array) -> list[float]:
    points = np.unique(points[np.isfinite(points)])
    places = np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int)
    found: list[float] = points[places].tolist()
    return found


def is_missing(value: Any) -> bool:
    """Whether it is None or NaN."""
    return value is None or bool(value != value)


def learn(pipeline: Any, count: int) -> list[Learned]:
    """The knowledge of a fitted pipeline about each of its `count` columns."""
    columns = [Learned() for _ in range(count)]
    with warnings.catch_warnings():  # numbers that no column holds cannot be brought back, and numpy says so
        warnings.simplefilter("ignore")
        _walk(pipeline, [Seen(column, np.asarray) for column in columns])
    for column in columns:
        column.kind = column.kind or _kind(column)
    return columns


def _kind(column: Learned) -> str:
    values = [value for value in column.categories or () if value == value and value is not None]
    if column.words or isinstance(column.stand_in, str) or any(isinstance(value, str) for value in values):
        return "text"
    whole = values and all(
        isinstance(value, (bool, int, np.integer)) or (isinstance(value, float) and value.is_integer()) for value in values
    )
    return "whole" if whole else "number"


def _walk(step: Any, seen: Sequence[Seen | None]) -> list[Seen | None]:
    """Takes note of what a step learned of the columns that it sees; None: one that was mixed. Those that it gives; none: all are mixed."""
    if not seen or step == "drop":
        return []
    if hasattr(step, "steps"):
        for _, inner in step.steps:
            seen = _walk(inner, seen)
        return list(seen)
    if (within := estimator_of(step)) is not None:
        return _walk(within, seen)
    if hasattr(step, "transformers_"):
        return _walk_columns(step, seen)
    if hasattr(step, "transformer_list"):
        given = [_walk(inner, seen) for _, inner in step.transformer_list]
        return [column for columns in given for column in columns] if all(given) else []
    for each in seen:
        if each is not None:
            each.column.used = True
    if step == "passthrough":
        return list(seen)
    _note(step, seen)
    members = list(_members(step, len(seen)))
    for member, places in members[:: len(members) // MOST_MEMBERS + 1]:
        _walk(member, [seen[place] for place in places])
    return _given(step, seen)


def _walk_columns(step: Any, seen: Sequence[Seen | None]) -> list[Seen | None]:
    """Walks through a ColumnTransformer."""
    given: list[Seen | None] = [None] * max((part.stop for part in step.output_indices_.values()), default=0)
    for name, inner, _ in step.transformers_:
        made = _walk(inner, [seen[place] for place in step._transformer_to_input_indices[name]])
        part = step.output_indices_.get(name, slice(0, 0))
        if len(made) == part.stop - part.start:
            given[part] = made
    return given


def _members(step: Any, count: int) -> Iterator[tuple[Any, list[int]]]:
    """The estimators that one is made of, each with the places of the columns that it sees."""
    found = getattr(step, "estimators_", ())
    members = [*(found.flat if isinstance(found, np.ndarray) else found)]
    members += [each.estimator for each in getattr(step, "calibrated_classifiers_", ())]
    if (only := estimator_of(step)) is not None:
        members.append(only)
    places = getattr(step, "estimators_features_", None) or [range(count)] * len(members)
    yield from ((member, list(each)) for member, each in zip(members, places, strict=False))


def inner_steps(step: Any) -> Iterator[Any]:
    """All steps and estimators within one, itself first."""
    yield step
    named = [*getattr(step, "steps", ()), *getattr(step, "transformers_", ()), *getattr(step, "transformer_list", ())]
    last = [step.final_estimator_] if hasattr(step, "final_estimator_") else []  # of a stack
    for inner in (*(each[1] for each in named), *(member for member, _ in _members(step, 0)), *last):
        yield from inner_steps(inner)


def _note(step: Any, seen: Sequence[Seen | None]) -> None:
    """Notes a fitted step's facts about each column that it sees. Attributes of other lengths are about something else."""
    word, count = type(step).__name__, len(seen)
    of_data = getattr(step, "strategy", "") != "constant"
    stand_ins = [value.item() if isinstance(value, np.generic) else value for value in _each(step, "statistics_", count)]
    middles = [_each(step, attribute, count) for attribute in ("mean_", "center_")] + [stand_ins if of_data else [None] * count]
    spreads, categories, points = _each(step, "scale_", count), _each(step, "categories_", count), _points(step, count)
    words = list(step.vocabulary_) if hasattr(step, "build_analyzer") and hasattr(step, "vocabulary_") else None
    for place, each in enumerate(seen):
        if each is None:
            continue
        if word == "FeatureHasher":  # which takes texts, and keeps none
            each.column.kind = "text"
        middle = next((found[place] for found in middles if found[place] is not None and not isinstance(found[place], str)), None)
        known = None if categories[place] is None else np.asarray(categories[place]).tolist()
        stand_in = stand_ins[place]
        if isinstance(stand_in, (int, float)):
            stand_in = float(each.undo(np.array([stand_in], dtype=np.float64))[0])
        found = {"stand_in": stand_in, "categories": known, "words": words}
        each.say(word, middle=middle, spread=spreads[place], points=points[place], **found)


def _each(step: Any, attribute: str, count: int) -> list[Any]:
    """An attribute that has something for each column; else nothing for any."""
    found = getattr(step, attribute, None)
    values = list(found) if isinstance(found, list) or (isinstance(found, np.ndarray) and found.ndim) else []
    return values if len(values) == count else [None] * count


def _points(step: Any, count: int) -> list[list[float]]:
    """For each column, numbers among which its own lie, as the step sees them."""
    found: list[list[float]] = [[] for _ in range(count)]
    for attribute in _LISTS:
        for place, values in enumerate(_each(step, attribute, count)):
            found[place] += [] if values is None else np.ravel(values).tolist()
    tables = [getattr(step, attribute, None) for attribute in _TABLES]
    if type(step).__name__ == "PowerTransformer" and step.standardize:
        tables.append(step.inverse_transform(np.tile(np.linspace(-2, 2, 9)[:, None], count)))
    for table in tables:
        if isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == count:
            for place in range(count):
                found[place] += table[:, place].tolist()
    # Boosted histograms with categories put their columns in another order.
    binned = getattr(step, "_bin_mapper", None) if getattr(step, "_preprocessor", None) is None else None
    for place, thresholds in enumerate(getattr(binned, "bin_thresholds_", ())):
        found[place] += thresholds.tolist()
    tree: Any = getattr(step, "tree_", None)
    for place in range(count) if hasattr(tree, "threshold") else ():  # a tree of neighbours has none
        found[place] += tree.threshold[tree.feature == place].tolist()
    return found


def _given(step: Any, seen: Sequence[Seen | None]) -> list[Seen | None]:
    if hasattr(step, "get_support"):
        return [seen[place] for place in step.get_support(indices=True)]
    if type(step).__name__ in ("SimpleImputer", "KNNImputer"):
        return [*(seen[place] for place in kept_of(step)), *(None for _ in flagged_of(step))]
    if type(step).__name__ not in _ONE_TO_ONE:
        # A step that was "passthrough" before fitting is a function that does nothing.
        return list(seen) if getattr(step, "func", step) is None else []
    return [each and Seen(each.column, _undoing(step, place, len(seen), each.undo)) for place, each in enumerate(seen)]


def kept_of(imputer: Any) -> list[int]:
    """The places of the columns that a SimpleImputer or KNNImputer gives: those that had values when it was fitted."""
    if hasattr(imputer, "_valid_mask"):
        return [place for place, has in enumerate(imputer._valid_mask) if has]
    return [place for place, value in enumerate(imputer.statistics_) if imputer.strategy == "constant" or value == value]


def flagged_of(imputer: Any) -> list[int]:
    """The places of the columns of which it says in others behind them whether a value was missing."""
    return list(imputer.indicator_.features_) if imputer.add_indicator else []


def _undoing(step: Any, place: int, count: int, before: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The way back through a step and those before it, of one of `count` columns."""

    def undo(values: Array) -> Array:
        table = np.zeros((len(values), count))
        table[:, place] = values
        return before(step.inverse_transform(table)[:, place] if len(values) else values)

    return undo
