"""The noise floor: a model in other batches, which raises tolerances."""

from __future__ import annotations

import numpy as np
import pytest

from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description
from inferd.compare.outputs import ABSOLUTE, Rule
from inferd.diff.noise import floor, raised
from inferd.diff.requests import Request

ROWS = np.random.default_rng(23).normal(size=(40, 1, 3)).astype(np.float32)


class Wavering:
    """A source whose values depend on how many rows a batch has."""

    def __init__(self, shape=(-1, 3)) -> None:
        self.description = Description("m", "", (Spec("x", "FP32", shape),), (Spec("y", "FP32", shape),))
        self.is_batched = shape[0] < 0
        self.datatypes = {"y": "FP32"}
        self.sizes: list[int] = []

    def infer(self, inputs):
        self.sizes.append(len(inputs["x"]))
        return {"y": inputs["x"] + np.float32(0.01 * (len(inputs["x"]) > 1))}


@pytest.mark.parametrize(("shape", "difference"), [((-1, 3), 0.01), ((1, 3), 0.0)])
def test_the_floor(shape, difference) -> None:
    source = Wavering(shape)
    requests = [Request(str(number), {"x": row}) for number, row in enumerate(ROWS)]
    found = floor(source, requests, [source.infer(each.inputs) for each in requests[:-1]] + [None], {}, 0)
    assert (found.requests, found.outputs["y"].max_absolute) == (39, pytest.approx(difference, rel=1e-3))
    assert (max(source.sizes) > 1) == (shape[0] < 0)
    rules = raised({"y": Rule(), "given": Rule(0.5)}, found)
    assert rules["y"].absolute == pytest.approx(max(3 * difference, ABSOLUTE), rel=1e-3)
    assert rules["given"] == Rule(0.5)
