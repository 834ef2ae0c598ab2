"""Which candidate can take a version's place."""

from __future__ import annotations

import pytest

from inferd.rollout.messages import Spec
from inferd.rollout.signatures import difference

X, Y = ("x", "FP32", (-1, 4)), ("y", "FP32", (-1, 2))


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([X], [Y], ""),
        ([("x", "FP32", (-1, -1))], [Y], ""),
        ([X], [("y", "FP32", (-1, -1))], ""),
        ([("x", "FP16", (-1, 4))], [Y], "input 'x' is FP16[?, 4], and was FP32[?, 4]"),
        ([("x", "FP32", (1, 4))], [Y], "input 'x' is FP32[1, 4], and was FP32[?, 4]"),
        ([("x", "FP32", (-1, 4, 1))], [Y], "input 'x' is FP32[?, 4, 1], and was FP32[?, 4]"),
        ([("z", "FP32", (-1, 4))], [Y], "it has no input 'x'"),
        ([X, ("z", "FP32", (1,))], [Y], "it has one more input, 'z'"),
        ([X], [], "it has no output 'y'"),
        ([X], [("y", "FP32", (-1, 3))], "output 'y' is FP32[?, 3], and was FP32[?, 2]"),
    ],
)
def test_differences_are_named(inputs: list[Spec], outputs: list[Spec], words: str) -> None:
    assert difference(([X], [Y]), (inputs, outputs)) == words
