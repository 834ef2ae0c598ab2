"""The committed `topics` model: it tells what questions are about that no documentation holds, whoever else is in the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from inferd.client_inputs.raw import read
from inferd.client_inputs.targets import Description
from inferd.engine.embedded import Engine
from inferd.errors import InvalidArgument

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "raw" / "topics"
TOPICS = (MODEL / "labels.txt").read_text().splitlines()
ABOUT = [topic for topic in ("dates", "files", "networks", "threads", "numbers", "texts", "data formats", "windows") for _ in range(2)]


@pytest.fixture(scope="module")
def engine():
    with Engine(MODEL) as engine:
        yield engine


@pytest.fixture(scope="module")
def questions(engine: Engine) -> np.ndarray:
    """Those of examples/questions.txt, as `inferd infer --text @FILE` reads them."""
    described = Description("topics", "1", engine.metadata().inputs, ())
    found = read(described, texts=[f"@{EXAMPLES / 'questions.txt'}"])["text"]
    return np.array(found, object).reshape(-1, 1)


def test_it_knows_what_the_questions_are_about(engine: Engine, questions: np.ndarray) -> None:
    answer = engine.infer(None, {"text": questions})
    assert answer["topic_label"][:, 0].astype(str).tolist() == ABOUT
    assert answer["topic"].shape == (16, 3)
    assert (answer["topic"][:, 0] > 0.5).all()


def test_a_row_does_not_depend_on_its_batch(engine: Engine, questions: np.ndarray) -> None:
    together = engine.infer(None, {"text": questions})["topic"]
    alone = np.concatenate([engine.infer(None, {"text": question[None]})["topic"] for question in questions])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_text_without_a_word_is_rejected(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="input 'text', row 0: "):
        engine.infer(None, {"text": [[" "]]})


def test_the_model_is_small_and_knows_each_token() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) < 200_000
    model = onnx.load(MODEL / "1" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input] == ["rows", "rows"]
    vocabulary = json.loads((MODEL / "1" / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (weights,) = (constant for constant in model.graph.initializer if constant.name == "weights")
    assert list(weights.dims) == [len(vocabulary), len(TOPICS)]
