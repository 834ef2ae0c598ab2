"""Encoders of numbers and truth values, which skl2onnx has of whole numbers alone, and where NaN is no category; and bins, which it has
as FP32."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from inferd.features.learned import inner_steps
from inferd.features.nodes import Nodes, become

__all__ = ["keep_encoders"]

Array = np.ndarray[Any, np.dtype[Any]]


def keep_encoders(pipeline: Any) -> None:
    """Has skl2onnx convert such encoders of a pipeline so. Those that put rare categories together are left to it."""
    for step in inner_steps(pipeline):
        word = type(step).__name__
        if word == "KBinsDiscretizer":
            become(step, partial(_binned, step), len(step.n_bins_) if step.encode == "ordinal" else sum(step.n_bins_))
        elif word in ("OneHotEncoder", "OrdinalEncoder") and not step._infrequent_enabled and any(map(_is_kept, step.categories_)):
            if word == "OneHotEncoder":
                become(step, partial(_one_hot, step), sum(len(_shown(step, place)) for place in range(len(step.categories_))))
            else:
                become(step, partial(_ordinal, step), len(step.categories_))


def _binned(step: Any, nodes: Nodes) -> str:
    found = []
    for (column, _), edges in zip(nodes.columns(), step.bin_edges_, strict=True):
        passed = nodes.add("GreaterOrEqual", nodes.cast(column, nodes.floats), edges[None, 1:-1].astype(nodes.floats))
        place = nodes.over_columns("ReduceSum", nodes.cast(passed, nodes.floats))
        found.append(place if step.encode == "ordinal" else _hot(nodes, place, np.arange(len(edges) - 1), is_text=False))
    return nodes.side_by_side(found)


def _is_kept(categories: Array) -> bool:
    """Of numbers that are not all whole, or of NaN; of truth values, of which some may have been missing."""
    if categories.dtype != object:
        return categories.dtype.kind == "b" or (categories.dtype.kind == "f" and not np.array_equal(categories, np.floor(categories)))
    return any(isinstance(value, bool) for value in categories)


def _shown(step: Any, place: int) -> Array:
    """The categories of a column that have a feature."""
    dropped = None if step.drop_idx_ is None else step.drop_idx_[place]
    categories: Array = step.categories_[place]
    return categories if dropped is None else np.delete(categories, dropped)


def _one_hot(step: Any, nodes: Nodes) -> str:
    columns = enumerate(nodes.columns())
    return nodes.side_by_side([_hot(nodes, column, _shown(step, place), is_text) for place, (column, is_text) in columns])


def _hot(nodes: Nodes, column: str, categories: Array, is_text: bool) -> str:
    """Which of the categories a column holds, [rows, categories]; none where it holds another value."""
    if is_text:
        texts = [str(each).encode() for each in categories]
        hot = nodes.add("OneHotEncoder", column, domain="ai.onnx.ml", cats_strings=texts, zeros=1)
        return nodes.cast(nodes.add("Reshape", hot, np.array([-1, len(texts)])), nodes.floats)
    numbers = categories.astype(nodes.floats)
    column = nodes.cast(column, nodes.floats)
    found = nodes.add("Equal", column, numbers[None, :])
    if np.isnan(numbers).any():
        found = nodes.add("Or", found, nodes.add("And", nodes.add("IsNaN", column), np.isnan(numbers)[None, :]))
    return nodes.cast(found, nodes.floats)


def _ordinal(step: Any, nodes: Nodes) -> str:
    return nodes.side_by_side(
        [_place(step, nodes, column, step.categories_[place], is_text) for place, (column, is_text) in enumerate(nodes.columns())]
    )


def _place(step: Any, nodes: Nodes, column: str, categories: Array, is_text: bool) -> str:
    """The place of a column's value among the categories, or what stands for NaN, or for none of them."""
    hot = _hot(nodes, column, categories, is_text)
    found = nodes.add("MatMul", hot, np.arange(len(categories), dtype=nodes.floats)[:, None])
    nan = [place for place, value in enumerate(categories.tolist()) if value != value]
    if nan:
        is_nan = nodes.cast(nodes.picked(hot, nan), np.bool_)
        found = nodes.add("Where", is_nan, np.array(step.encoded_missing_value, dtype=nodes.floats), found)
    if step.unknown_value is not None:
        is_known = nodes.cast(nodes.over_columns("ReduceMax", hot), np.bool_)
        found = nodes.add("Where", is_known, found, np.array(step.unknown_value, dtype=nodes.floats))
    return found
