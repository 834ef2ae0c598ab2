"""Which output of a response is the prediction, and what it says of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.tap import Tap, Tapped
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.feedback.prediction import Prediction
from inferd.feedback.reading import MAX_CLASSES, Reading
from inferd.protocol.inference import ModelConfig
from inferd.tensors import word_of
from tests.fake_backend import Caller
from tests.wire import infer_request

TEXTS = np.array(["cat", "dog"], object)
SHARES = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]], np.float32)


def tapped(outputs: dict[str, Any], asked: tuple[str, ...] = (), **inputs: Any) -> Tapped:
    """A request of two rows, and its response."""
    inputs = inputs or {"x": np.zeros((2, 4), np.float32)}
    specs = [[(name, word_of(each.dtype), (-1, *each.shape[1:])) for name, each in side.items()] for side in (inputs, outputs)]
    signature, queue, tap = Signature("m", "1", *specs, 8), Batcher(8, Statistics(8)), Tap()
    queue.taps = (tap,)
    request = decode_infer_request(Message(infer_request("", inputs, outputs=asked).SerializeToString()))
    request.check(signature)
    queue.put(request, Caller())
    batch = queue.poll()
    batch.gather(Tensors([np.array(each) for each in inputs.values()], [word for _, word, _ in specs[0]], True, 2))
    batch.encode(Tensors(list(outputs.values()), [word for _, word, _ in specs[1]], True, 2))
    batch.deliver()
    (found,) = tap.take()
    return found


def read(
    outputs: dict[str, Any], config: ModelConfig | None = None, labels: Any = None, slices: Any = (), **more: Any
) -> Prediction | None:
    specs = [(name, word_of(each.dtype), (-1, *each.shape[1:])) for name, each in outputs.items()]
    return Reading(specs, config, labels, slices).read(tapped(outputs, **more), "id", "m", 1, 5)


def test_a_label() -> None:
    for labels, expected in (
        (TEXTS, ["cat", "dog"]),
        (TEXTS[:, None], ["cat", "dog"]),
        (np.array([7, -1]), ["7", "-1"]),
        (np.array([True, False]), ["True", "False"]),
    ):
        assert read({"y": labels}) == Prediction("id", "m", 1, 5, expected)


def test_classes_by_their_probabilities() -> None:
    found = read({"y": SHARES})
    assert found is not None
    assert (found.predicted, found.classes) == (["1", "2"], ("0", "1", "2"))
    np.testing.assert_array_equal(found.probabilities, SHARES)
    found = read({"y": SHARES}, labels={"y": ["a", "b", "c"]})
    assert found is not None
    assert (found.predicted, found.classes) == (["b", "c"], ("a", "b", "c"))


@pytest.mark.parametrize("values", [-SHARES, 2 * SHARES, SHARES * np.float32(np.nan)])
def test_values_that_are_no_probabilities(values: Any) -> None:
    found = read({"y": values})
    assert found is not None
    assert (found.probabilities, found.classes) == (None, ())


def test_a_number_a_row() -> None:
    found = read({"y": np.array([[1.5], [np.nan]], np.float32)})
    assert found is not None
    np.testing.assert_array_equal(found.predicted, [1.5, np.nan])


def test_a_label_beside_its_probabilities() -> None:
    for outputs in ({"label": TEXTS, "p": SHARES}, {"p": SHARES, "index": np.array([1, 2]), "label": TEXTS}):
        found = read(outputs)
        assert found is not None
        assert found.predicted == ["cat", "dog"]
        np.testing.assert_array_equal(found.probabilities, SHARES)
    found = read({"label": TEXTS, "p": SHARES, "more": SHARES})
    assert found == Prediction("id", "m", 1, 5, ["cat", "dog"]), "two outputs may be the probabilities"


def test_ranks() -> None:
    text = 'inferd { postprocess { output: "y" name: "top" steps { top_k { k: 2 } } } }'
    config = text_format.Parse(text, ModelConfig())
    ranks = np.array([["cat", "dog"], ["dog", "cat"]], object)
    found = read({"top": SHARES[:, :2].copy(), "top_index": np.array([[0, 1], [1, 0]]), "top_label": ranks}, config)
    assert found == Prediction("id", "m", 1, 5, ["cat", "dog"])
    found = read({"top": SHARES[:, :2].copy(), "top_index": np.array([[0, 1], [1, 0]])}, config)
    assert found == Prediction("id", "m", 1, 5, ["0", "1"])


def test_what_has_no_prediction() -> None:
    assert read({"y": SHARES, "z": SHARES}) is None
    assert read({"y": np.zeros((2, 3, 4, 5), np.float32)}) is None
    assert read({"y": np.zeros((2, 3), np.int64)}) is None
    assert read({"y": TEXTS, "p": SHARES}, asked=("p",)) is None, "the client did not ask for it"
    assert read({"y": np.array(["a" * 300, "b"], object)}) is None


def test_so_many_classes_that_probabilities_are_left_out() -> None:
    values = np.zeros((2, 10 * MAX_CLASSES), np.float32)
    values[:, 4321] = 1
    found = read({"y": values})
    assert found == Prediction("id", "m", 1, 5, ["4321", "4321"])


def test_slices() -> None:
    inputs = {"region": np.array([b"north", b""], object), "age": np.array([[4], [5]]), "x": np.zeros((2, 4), np.float32)}
    found = read({"y": TEXTS}, slices=("region", "age", "x", "other"), **inputs)
    assert found is not None
    assert found.slices == {"region": ["north", "—"], "age": ["4", "5"]}
