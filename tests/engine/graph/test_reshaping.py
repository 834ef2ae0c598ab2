"""Shapes that clients see in place of the graph's, and models that are served so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from inferd._core.batching.batch import Batch
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.embedded import Engine
from inferd.engine.graph.reshaping import Reshape, holds_as_much
from inferd.engine.loading.planner import Host
from inferd.engine.models.repository import Repository
from inferd.errors import ConfigError
from tests import models


@pytest.mark.parametrize(
    ("outer", "inner", "same"),
    [
        ([1000], [1, 1000, 1, 1], True),
        ([1], [], True),
        ([], [], True),
        ([16], [4, 5], False),
        ([4, -1], [2, 2, -1, 1], True),
        ([4, -1], [-1, 4], False),
        ([-1, 4, -1], [-1, 2, 2, -1], True),
        ([-1], [-1, -1], False),
        ([-1, 1, -1], [-1, -1], True),
    ],
)
def test_a_row_keeps_its_elements(outer: list[int], inner: list[int], same: bool) -> None:
    assert holds_as_much(outer, inner) == same


@given(
    st.lists(st.integers(1, 3), max_size=3), st.lists(st.integers(1, 3), max_size=3), st.integers(1, 4), st.booleans(), st.integers(0, 1)
)
def test_there_and_back(front: list[int], back: list[int], size: int, free: bool, kept: int) -> None:
    """The fixed axes of each side are one, around an axis that may be free."""
    middle = -1 if free else size
    reshape = Reshape((*front, middle, *back), (int(np.prod(front)), middle, int(np.prod(back))), kept)
    array = np.arange(5 * int(np.prod(front)) * size * int(np.prod(back))).reshape(5, *front, size, *back)
    array = array if kept else array[0]
    inside = array.reshape(reshape.inward(array.shape))
    assert inside.shape[kept:] == (int(np.prod(front)), size, int(np.prod(back)))
    assert reshape.outward(inside.shape) == array.shape
    assert reshape.outward((9, 9)) == (9, 9), "what the graph does not promise stays as it is"


def flattening(word: str, *sizes: int | str) -> bytes:
    """x[N,sizes] -> y, the same."""
    return models.model([helper.make_node("Identity", ["x"], ["y"])], [("x", word, ("N", *sizes))], [("y", word, ("N", *sizes))])


CONFIG = """
max_batch_size: 4
input {{ name: "x" data_type: TYPE_{word} dims: [ {outer} ] reshape {{ shape: [ {inner} ] }} }}
output {{ name: "y" data_type: TYPE_{word} dims: [ {back} ] reshape {{ shape: [ {inner} ] }} }}
dynamic_batching {{ }}
"""


@pytest.mark.parametrize("word", ["FP32", "BYTES", "BF16"])
@pytest.mark.parametrize("size", [3, "n"])
def test_models_are_served_in_the_shapes_of_clients(tmp_path: Path, word: str, size: int | str) -> None:
    """With bound arrays, and with those of onnxruntime. The graph has rows [4, size], clients send [2, 2, size] and get [1, 4, size]."""
    free = size if isinstance(size, int) else -1
    text = CONFIG.format(word="STRING" if word == "BYTES" else word, outer=f"2, 2, {free}", inner=f"4, {free}", back=f"1, 4, {free}")
    models.repository(tmp_path, {"m": flattening(word, 4, size)}, {"m": text})
    numbers = np.arange(2 * 4 * 3)
    array = numbers.astype(bytes).astype(object) if word == "BYTES" else numbers.astype(np.uint16 if word == "BF16" else np.float32)
    with Engine(tmp_path / "m") as engine:
        given = engine.infer("m", {"x": array.reshape(2, 2, 2, 3)})["y"]
    assert given.shape == (2, 1, 4, 3)
    assert given.reshape(-1).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            CONFIG.format(word="FP32", outer="12", inner="3, 4", back="12"),
            r"input 'x': reshape.shape is \[3, 4\], and the graph says \[4, 3\]",
        ),
        ('max_batch_size: 4 input { name: "x" dims: [4, 12] reshape { shape: [4, 4, 3] } }', "without the batch axis"),
    ],
)
def test_shapes_that_the_graph_does_not_have(tmp_path: Path, text: str, words: str) -> None:
    models.repository(tmp_path, {"m": flattening("FP32", 4, 3)}, {"m": text})
    repository = Repository(Defaults(), deliver=Batch.deliver, host=Host(2, 2))
    with pytest.raises(ConfigError, match=words):
        repository.load(tmp_path)
