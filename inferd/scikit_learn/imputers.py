"""Imputers of numbers, and what says that a number was missing.

skl2onnx has an imputer of FP32 alone, forgets `add_indicator`, finds other neighbours than KNNImputer, and has no MissingIndicator.
Imputers of texts are none of these: the server does what they do (trained.without_text_imputers).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from inferd.scikit_learn.learned import flagged_of, inner_steps, is_missing, kept_of
from inferd.scikit_learn.nodes import Nodes, become
from inferd.tensors import Array

_FAR = np.finfo(np.float64).max  # between records that have no value in common


def keep_imputers(pipeline: Any) -> None:
    """Has skl2onnx convert the imputers of a pipeline so."""
    for step in inner_steps(pipeline):
        word = type(step).__name__
        if word == "MissingIndicator":
            become(step, partial(_flags, step, step.features_), len(step.features_))
        elif word == "KNNImputer" and step.metric == "nan_euclidean" and step.weights in ("uniform", "distance"):  # functions have no graph
            _become_imputer(step, _with_neighbours)
        elif word == "SimpleImputer" and not any(isinstance(value, str) for value in step.statistics_):
            _become_imputer(step, _with_statistics)


def _become_imputer(step: Any, fill: Callable[[Any, Nodes], str]) -> None:
    """fill: gives the columns that it keeps, without missing values."""
    flagged = flagged_of(step)

    def write(nodes: Nodes) -> str:
        return nodes.side_by_side([fill(step, nodes), *([_flags(step, flagged, nodes)] if flagged else [])])

    become(step, write, len(kept_of(step)) + len(flagged))


def _flags(step: Any, places: Any, nodes: Nodes) -> str:
    """Whether each value of these columns is missing: 1, or 0."""
    return nodes.cast(nodes.picked(_missing(step, nodes, nodes.numbers()), places), nodes.floats)


def _missing(step: Any, nodes: Nodes, given: str) -> str:
    """Whether each value is what scikit-learn's `missing_values` says."""
    if is_missing(step.missing_values):
        return nodes.add("IsNaN", given)
    return nodes.add("Equal", given, np.array(step.missing_values, dtype=nodes.floats))


def _kept(step: Any, nodes: Nodes, name: str) -> str:
    """The columns that it keeps, of all."""
    kept = kept_of(step)
    return name if len(kept) == step.n_features_in_ else nodes.picked(name, kept)


def _with_statistics(step: Any, nodes: Nodes) -> str:
    given = _kept(step, nodes, nodes.numbers())
    statistics = np.asarray(step.statistics_, dtype=nodes.floats)[kept_of(step)]
    if nodes.floats is np.float32 and is_missing(step.missing_values):  # the one case that has an operator of its own
        return nodes.add("Imputer", given, domain="ai.onnx.ml", imputed_value_floats=statistics, replaced_value_float=math.nan)
    return nodes.add("Where", _missing(step, nodes, given), statistics, given)


def _with_neighbours(step: Any, nodes: Nodes) -> str:
    given = nodes.numbers()
    missing = _missing(step, nodes, given)
    apart = _distances(step, nodes, given, missing)
    means = []
    for place in kept_of(step):
        donors = np.flatnonzero(~step._mask_fit_X[:, place])
        means.append(_mean_of_neighbours(step, nodes, nodes.picked(apart, donors), step._fit_X[donors, place].astype(np.float64)))
    found = nodes.cast(nodes.side_by_side(means), nodes.floats)
    return nodes.add("Where", _kept(step, nodes, missing), found, _kept(step, nodes, given))


def _distances(step: Any, nodes: Nodes, given: str, missing: str) -> str:
    """The distance from each record to each of training, [rows, records], over the values that both have.

    It is FP64, and added up in the order of sklearn.metrics.pairwise.nan_euclidean_distances: a record of training is exactly as near to
    itself as there.
    """
    lacks, zero = step._mask_fit_X.T.astype(np.float64), np.zeros(1)
    table = np.where(step._mask_fit_X, 0.0, step._fit_X).astype(np.float64)
    lacking = nodes.cast(missing, np.float64)
    record = nodes.add("Where", missing, zero, nodes.cast(given, np.float64))
    own, others = nodes.add("Mul", record, record), table * table
    squares = nodes.add("MatMul", nodes.add("Mul", record, np.full(1, -2.0)), table.T)
    squares = nodes.add("Add", squares, nodes.over_columns("ReduceSum", own))
    squares = nodes.add("Max", nodes.add("Add", squares, others.sum(axis=1)), zero)
    squares = nodes.add("Sub", squares, nodes.add("MatMul", own, lacks))
    squares = nodes.add("Max", nodes.add("Sub", squares, nodes.add("MatMul", lacking, others.T)), zero)
    common = nodes.add("MatMul", nodes.add("Sub", np.ones(1), lacking), 1.0 - lacks)
    squares = nodes.add("Mul", nodes.add("Div", squares, nodes.add("Max", common, np.ones(1))), np.full(1, float(len(lacks))))
    return nodes.add("Where", nodes.add("Equal", common, zero), np.full(1, _FAR), nodes.add("Sqrt", squares))


def _mean_of_neighbours(step: Any, nodes: Nodes, apart: str, values: Array) -> str:
    """The mean of a column's `values` at the nearest records; of all its values where a record has nothing in common with any.

    apart: the distances of each record from those of training."""
    count = np.array([min(step.n_neighbors, len(values))])
    near, places = nodes.add_several("TopK", apart, count, outputs=2, axis=1, largest=0)
    weights = nodes.cast(nodes.add("Less", near, np.full(1, _FAR)), np.float64)
    if step.weights == "distance":
        same = nodes.cast(nodes.add("Equal", near, np.zeros(1)), np.float64)
        is_there = nodes.cast(nodes.over_columns("ReduceMax", same), np.bool_)
        weights = nodes.add("Where", is_there, same, nodes.add("Div", weights, near))
    weighted = nodes.add("Mul", weights, nodes.add("Gather", values, places, axis=0))
    total = nodes.over_columns("ReduceSum", weights)
    mean = nodes.add("Div", nodes.over_columns("ReduceSum", weighted), total)
    return nodes.add("Where", nodes.add("Equal", total, np.zeros(1)), np.full(1, values.mean()), mean)
