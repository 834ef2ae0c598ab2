"""Encoders that skl2onnx lacks or gets wrong: for fractions, truth values and missing values, for groups of rare categories, and for
bins."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from inferd.scikit_learn.learned import inner_steps
from inferd.scikit_learn.nodes import Nodes, become
from inferd.tensors import Array

# The graph's names of missing values that are categories of a text column. U+FFFF is never part of text that is interchanged, so that
# the text "nan" is a text like any other.
MISSING_TEXTS = {"nan": "\uffffnan", "None": "\uffffNone"}


def keep_encoders(pipeline: Any) -> None:
    """Has skl2onnx convert such encoders of a pipeline so."""
    for step in inner_steps(pipeline):
        word = type(step).__name__
        if word == "KBinsDiscretizer":
            become(step, partial(_binned, step), len(step.n_bins_) if step.encode == "ordinal" else sum(step.n_bins_))
        elif word == "OneHotEncoder" and (step._infrequent_enabled or any(map(_is_kept, step.categories_))):
            become(step, partial(_one_hot, step), len(step.get_feature_names_out()))
        elif word == "OrdinalEncoder" and any(map(_is_kept, step.categories_)):
            become(step, partial(_ordinal, step), len(step.categories_))
        elif word == "TargetEncoder" and any(map(_is_kept, step.categories_)):
            become(step, partial(_target, step), len(step.encodings_))


def _binned(step: Any, nodes: Nodes) -> str:
    found = []
    for (column, _), edges in zip(nodes.columns(), step.bin_edges_, strict=True):
        passed = nodes.add("GreaterOrEqual", nodes.cast(column, nodes.floats), edges[None, 1:-1].astype(nodes.floats))
        place = nodes.over_columns("ReduceSum", nodes.cast(passed, nodes.floats))
        found.append(place if step.encode == "ordinal" else _hot(nodes, place, np.arange(len(edges) - 1), is_text=False))
    return nodes.side_by_side(found)


def _is_kept(categories: Array) -> bool:
    """Whether categories need an encoder of ours: fractions, truth values, or a missing value among them."""
    if categories.dtype != object:
        return categories.dtype.kind == "b" or (categories.dtype.kind == "f" and not np.array_equal(categories, np.floor(categories)))
    return any(isinstance(value, bool) or value is None or value != value for value in categories)


def _one_hot(step: Any, nodes: Nodes) -> str:
    found = []
    for place, (column, is_text) in enumerate(nodes.columns()):
        hot = _hot(nodes, column, step.categories_[place], is_text)
        groups = _groups(step, place)
        if groups is not None:
            hot = _grouped(nodes, hot, groups, takes_unknown=step.handle_unknown in ("infrequent_if_exist", "warn"))
        dropped = None if step.drop_idx_ is None else step._drop_idx_after_grouping[place]
        if dropped is not None:
            features = len(step.categories_[place]) if groups is None else max(groups) + 1
            hot = nodes.picked(hot, np.delete(np.arange(features), dropped))
        found.append(hot)
    return nodes.side_by_side(found)


def _groups(step: Any, place: int) -> Array | None:
    """The group that each of a column's categories is put into; None where they stay as they are."""
    found = step._default_to_infrequent_mappings[place] if step._infrequent_enabled else None
    return None if found is None else np.asarray(found)


def _grouped(nodes: Nodes, hot: str, groups: Array, *, takes_unknown: bool) -> str:
    """Which groups hold the hot categories. groups: the group of each category; the last group has the rare ones.

    takes_unknown: an unknown value counts as rare, too.
    """
    table = np.eye(max(groups) + 1, dtype=nodes.floats)
    found = nodes.add("MatMul", hot, table[groups])
    if takes_unknown:
        unknown = nodes.add("Sub", np.ones(1, dtype=nodes.floats), nodes.over_columns("ReduceSum", found))
        found = nodes.add("Add", found, nodes.add("Mul", unknown, table[-1:]))
    return found


def _hot(nodes: Nodes, column: str, categories: Array, is_text: bool) -> str:
    """Which of the categories a column holds, [rows, categories]; none where it holds another value."""
    if is_text:
        texts = [(each if isinstance(each, str) else MISSING_TEXTS[str(each)]).encode() for each in categories]
        hot = nodes.add("OneHotEncoder", column, domain="ai.onnx.ml", cats_strings=texts, zeros=1)
        return nodes.cast(nodes.add("Reshape", hot, np.array([-1, len(texts)])), nodes.floats)
    numbers = categories.astype(nodes.floats)
    column = nodes.cast(column, nodes.floats)
    found = nodes.add("Equal", column, numbers[None, :])
    if np.isnan(numbers).any():
        found = nodes.add("Or", found, nodes.add("And", nodes.add("IsNaN", column), np.isnan(numbers)[None, :]))
    return nodes.cast(found, nodes.floats)


def _ordinal(step: Any, nodes: Nodes) -> str:
    return nodes.side_by_side([_place(step, nodes, column, place, is_text) for place, (column, is_text) in enumerate(nodes.columns())])


def _place(step: Any, nodes: Nodes, column: str, place: int, is_text: bool) -> str:
    """The place of a column's value among the categories or their groups, or what stands for NaN, or for none of them."""
    categories, groups = step.categories_[place], _groups(step, place)
    hot = _hot(nodes, column, categories, is_text)
    # NaN, the last category, is in no group.
    places = np.arange(len(categories)) if groups is None else np.append(groups, 0)[: len(categories)]
    found = nodes.add("MatMul", hot, places.astype(nodes.floats)[:, None])
    nan = [each for each, value in enumerate(categories.tolist()) if value != value]
    if nan:
        is_nan = nodes.cast(nodes.picked(hot, nan), np.bool_)
        found = nodes.add("Where", is_nan, np.array(step.encoded_missing_value, dtype=nodes.floats), found)
    if step.unknown_value is not None:
        is_known = nodes.cast(nodes.over_columns("ReduceMax", hot), np.bool_)
        found = nodes.add("Where", is_known, found, np.array(step.unknown_value, dtype=nodes.floats))
    return found


def _target(step: Any, nodes: Nodes) -> str:
    """The learned mean of the target for each category, and for each of several classes; its overall mean for any other value."""
    means = np.atleast_1d(step.target_mean_).astype(nodes.floats)
    found = []
    for place, (column, is_text) in enumerate(nodes.columns()):
        hot = _hot(nodes, column, step.categories_[place], is_text)
        learned = np.column_stack(step.encodings_[place * len(means) : (place + 1) * len(means)]).astype(nodes.floats)
        is_known = nodes.cast(nodes.over_columns("ReduceMax", hot), np.bool_)
        found.append(nodes.add("Where", is_known, nodes.add("MatMul", hot, learned), means))
    return nodes.side_by_side(found)
