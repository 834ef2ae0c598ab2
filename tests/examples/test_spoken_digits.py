"""The committed `spoken_digits` model: it tells words apart that voices say which it was not trained on, from files as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from inferd.engine.configuration.model_config import read_model_config
from inferd.steps.audio import compile_audio
from inferd.steps.pipeline import EntryPlace, TensorType

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "raw" / "spoken_digits"
WORDS = (MODEL / "labels.txt").read_text().split()


@pytest.fixture(scope="module")
def said():
    """A function: a file -> the probabilities of the ten words."""
    (entry,) = read_model_config(MODEL, MODEL.name).config.inferd.preprocess
    pipeline = compile_audio(entry, EntryPlace(MODEL.name, {"log_mel": TensorType("FP32", (40, 100))}, (MODEL,)))
    session = onnxruntime.InferenceSession(MODEL / "1" / "model.onnx", providers=["CPUExecutionProvider"])

    def probabilities(path: Path) -> np.ndarray:
        ((log_mel,),) = pipeline.prepare([[[memoryview(path.read_bytes())]]], lambda request: None)
        (logits,) = session.run(None, {"log_mel": log_mel})
        exponents = np.exp(logits[0] - logits[0].max())
        return exponents / exponents.sum()

    return probabilities


@pytest.mark.parametrize("word", WORDS)
def test_words_of_an_unheard_voice(said, word) -> None:
    probabilities = said(EXAMPLES / "spoken_digits" / f"{word}.ogg")
    assert WORDS[int(probabilities.argmax())] == word


def test_the_single_clip(said) -> None:
    assert WORDS[int(said(EXAMPLES / "seven.wav").argmax())] == "seven"


def test_the_model_is_small_and_valid() -> None:
    path = MODEL / "1" / "model.onnx"
    assert path.stat().st_size < 200_000
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_training_says_what_it_needs(tmp_path: Path) -> None:
    """Without espeak-ng on the path nothing is begun."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_spoken_digits.py")], capture_output=True, text=True, timeout=120, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 1
    assert done.stderr.startswith("espeak-ng, which says the words, is not installed: apt install espeak-ng")
