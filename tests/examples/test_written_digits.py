"""The `written_digits` model: the one of `digits`, whose input its steps make of pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from inferd import Engine

EXAMPLES = Path(__file__).parents[2] / "examples"


def written(image: np.ndarray, form: str) -> bytes:
    ink = Image.fromarray(np.uint8(np.rint(image * (255 / 16)))).resize((160, 160), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    ImageOps.invert(ink).save(content, form)
    return content.getvalue()


def test_it_is_the_model_of_digits() -> None:
    models = [EXAMPLES / folder / "1" / "model.onnx" for folder in ("raw/written_digits", "models/digits")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_it_reads_pictures_of_digits_that_it_has_not_seen() -> None:
    sample = np.load(EXAMPLES / "digits_sample.npz")
    images, labels = sample["image"][:120], sample["label"][:120]
    rows = np.empty((len(images), 1), object)
    rows[:, 0] = [written(image, ("PNG", "JPEG", "BMP", "WEBP")[number % 4]) for number, image in enumerate(images)]
    with Engine(EXAMPLES / "raw" / "written_digits") as engine:
        parts = [engine.infer(None, {"picture": rows[first : first + 60]}) for first in (0, 60)]
    read = np.concatenate([part["digit_label"][:, 0] for part in parts])
    assert (read.astype(str) == labels.astype(str)).mean() >= 0.94
