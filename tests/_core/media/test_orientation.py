"""Turning and mirroring, against Pillow's ImageOps.exif_transpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.media.orientation import orient

Image = pytest.importorskip("PIL.Image")

BY_PILLOW = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == 1:
        return pixels
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).transpose(BY_PILLOW[orientation])
    return np.asarray(image).reshape(image.height, image.width, -1)


@given(st.integers(1, 100), st.integers(1, 100), st.sampled_from([1, 3]), st.integers(1, 8))
def test_equals_pillow(height, width, channels, orientation) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    memory = np.full(height * width * channels + 64, 77, np.uint8)
    wanted = upright(pixels, orientation)
    out = memory[32:-32].reshape(wanted.shape)
    orient(pixels, out, orientation)
    assert np.array_equal(out, wanted)
    assert (memory[:32] == 77).all()
    assert (memory[-32:] == 77).all()


def test_nothing_is_turned_as_well() -> None:
    orient(np.empty((0, 5, 3), np.uint8), np.empty((5, 0, 3), np.uint8), 6)


def test_takes_read_only_pixels() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels.flags.writeable = False
    orient(pixels, np.empty((3, 2, 3), np.uint8), 8)


@pytest.mark.parametrize(
    ("pixels", "out", "orientation", "why"),
    [
        ((2, 3, 3), (2, 3, 3), 0, "expected 1 to 8, got 0"),
        ((2, 3, 3), (2, 3, 3), 9, "expected 1 to 8, got 9"),
        ((2, 3, 3), (2, 3, 3), 6, "height and width"),
        ((2, 3, 3), (3, 2, 3), 2, "height and width"),
        ((2, 3, 3), (2, 3, 1), 2, "channels"),
        ((2, 3, 2), (2, 3, 2), 2, "1 or 3"),
        ((2, 3), (2, 3), 2, "expected 3, got 2"),
    ],
)
def test_rejects(pixels, out, orientation, why) -> None:
    with pytest.raises(ValueError, match=why):
        orient(np.empty(pixels, np.uint8), np.empty(out, np.uint8), orientation)


def test_rejects_what_is_not_contiguous() -> None:
    with pytest.raises((ValueError, BufferError)):
        orient(np.empty((4, 4, 3), np.uint8)[:, ::2], np.empty((4, 2, 3), np.uint8), 1)
