"""The committed `digits` model: it reads digits that it was not trained on, and the served repository is the script's work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).parents[2] / "examples"
ACCURACY = 0.969  # of the unseen images; stated in examples/README.md


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(EXAMPLES / "models" / "digits" / "1" / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    return dict(np.load(EXAMPLES / "digits_sample.npz"))


def test_reads_unseen_digits(session, sample) -> None:
    label, probabilities = session.run(None, {"image": sample["image"]})
    assert (label == sample["label"]).mean() >= ACCURACY
    assert label.dtype == np.int64
    assert (probabilities.argmax(axis=1) == label).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_row_does_not_depend_on_its_batch(session, sample) -> None:
    _, together = session.run(None, {"image": sample["image"][:32]})
    alone = np.concatenate([session.run(None, {"image": sample["image"][row : row + 1]})[1] for row in range(32)])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-7)


def test_sample_is_real_data_in_raw_pixels(sample) -> None:
    images, labels = load_digits(return_X_y=True)
    known = {(image.astype(np.float32).tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
    assert len(sample["image"]) == len(sample["label"]) == 360
    assert all((image.tobytes(), int(label)) in known for image, label in zip(sample["image"], sample["label"], strict=True))


def test_single_digit_is_the_first_of_the_sample(sample) -> None:
    digit = np.load(EXAMPLES / "digit.npy")
    assert digit.dtype == np.float32
    np.testing.assert_array_equal(digit, sample["image"][:1])


@pytest.mark.parametrize("name", ["digits", "identity"])
def test_models_are_valid_onnx_with_a_free_batch_axis(name) -> None:
    model = onnx.load(EXAMPLES / "models" / name / "1" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "rows"
