"""Words for the place where two responses differ most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inferd.compare.outputs import compare
from inferd.rollout.worst import worst_value

Array = np.ndarray[Any, np.dtype[Any]]


def said(expected: dict[str, Array], got: dict[str, Array], words: dict[str, str]) -> str:
    return worst_value(compare(expected, got, None, words), expected, got, words)


@pytest.mark.parametrize(
    ("word", "before", "after", "words"),
    [
        ("FP32", [[0.1, 0.6, 0.3]], [[0.1, 0.2, 0.7]], "y[0, 1]: 0.6 became 0.2, class 1 became 2"),
        ("FP32", [[0.1, 0.6, 0.3]], [[0.1, 0.5, 0.4]], "y[0, 1]: 0.6 became 0.5"),
        ("FP64", [1.0, 2.0], [1.0, float("nan")], "y[1]: 2 became nan"),
        ("INT64", [3, 4], [3, 9], "y[1]: 4 became 9"),
        ("BYTES", [b"cat", b"dog"], [b"cat", b"bird"], "y[1]: 'dog' became 'bird'"),
        ("FP32", [[1.0]], [[1.0]], ""),
        ("FP32", [[1.0]], [[1.0, 2.0]], ""),
    ],
)
def test_output_value_and_class_are_named(word: str, before: list[Any], after: list[Any], words: str) -> None:
    kind = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}[word]
    assert said({"y": np.array(before, kind)}, {"y": np.array(after, kind)}, {"y": word}) == words


def test_text_is_alike_as_bytes_and_as_str() -> None:
    """A server's response has bytes, and a candidate's str."""
    before, after = np.array([b"cat", b"dog"], object), np.array(["cat", "bird"], object)
    assert said({"y": before}, {"y": after}, {"y": "BYTES"}) == "y[1]: 'dog' became 'bird'"


def test_an_output_with_another_decision_comes_first() -> None:
    before = {"a": np.array([[1.0]]), "b": np.array([[0.4, 0.6]])}
    after = {"a": np.array([[9.0]]), "b": np.array([[0.6, 0.4]])}
    assert said(before, after, {"a": "FP64", "b": "FP64"}).startswith("b[0, ")
