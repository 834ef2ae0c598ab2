"""WebP files -> pixels, against Pillow, which has libwebp, too; and every way in which a file can be wrong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.media import webp

Image = pytest.importorskip("PIL.Image")

SIZES = [(1, 1), (1, 9), (7, 8), (16, 17), (33, 31), (64, 3), (120, 200)]
KINDS = [{"lossless": True}, {"lossless": True, "exact": True}, {"quality": 90}, {"quality": 5}, {"quality": 60, "alpha_quality": 30}]


def colors(height: int, width: int, channels: int) -> np.ndarray:
    """A smooth picture with some noise, from opaque to transparent."""
    random = np.random.default_rng(height * 1000 + width)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    wave = 127 + 150 * np.sin(y / 9 + c) * np.cos(x / 7 - c)
    return np.clip(wave + random.normal(0, 8, wave.shape), 0, 255).astype(np.uint8)


def saved(size: tuple[int, int], channels: int = 3, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colors(*size, channels)).save(file, "WEBP", **options)
    return file.getvalue()


def decoded(file: bytes, size: tuple[int, int], channels: int = 3) -> np.ndarray | None:
    pixels = np.full((*size, channels), 77, np.uint8)
    return pixels if webp.decode(file, pixels) else None


def by_pillow(file: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert(mode))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_equals_pillow(size, channels, options) -> None:
    file = saved(size, channels, **options)
    assert np.array_equal(decoded(file, size, 3), by_pillow(file, "RGB"))
    assert np.array_equal(decoded(file, size, 4), by_pillow(file, "RGBA"))


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_chunks_of_a_picture_are_enough(options) -> None:
    file = saved((9, 7), 4, **options)
    picture = file[30 if file[12:16] == b"VP8X" else 12 :]
    assert np.array_equal(decoded(picture, (9, 7), 4), by_pillow(file, "RGBA"))


def test_what_stands_around_the_picture_is_passed_over() -> None:
    file = saved((9, 7), 4, exif=b"Exif\0\0II*\0" + bytes(99), icc_profile=bytes(1001), xmp=bytes(77))
    assert np.array_equal(decoded(file, (9, 7)), by_pillow(file, "RGB"))
    assert np.array_equal(decoded(file + b"behind", (9, 7)), by_pillow(file, "RGB"))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_file_that_is_cut_short_is_damaged(channels, options) -> None:
    size = (40, 30)
    file = saved(size, channels, **options)
    for nbytes in range(0, len(file), max(1, len(file) // 200)):
        assert decoded(file[:nbytes], size) is None


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_corrupted_file_is_a_picture_or_damaged(channels, options) -> None:
    """And nothing is written behind the pixels."""
    size = (24, 19)
    file = saved(size, channels, **options)
    random = np.random.default_rng(3)
    nbytes = size[0] * size[1] * channels
    memory = np.full(nbytes + 64, 7, np.uint8)
    found = set()
    for _ in range(300):
        broken = bytearray(file)
        for at in random.integers(12, len(file), random.integers(1, 4)):
            broken[at] = random.integers(256)
        found.add(webp.decode(bytes(broken), memory[:nbytes].reshape(*size, channels)))
        assert (memory[nbytes:] == 7).all()
    assert found == {True, False}
    assert np.array_equal(decoded(file, size, channels), by_pillow(file, "RGBA" if channels == 4 else "RGB")), "nothing is left of them"


def test_another_size_is_rejected() -> None:
    file = saved((5, 6))
    for size in ((6, 5), (5, 7), (4, 6), (0, 6), (1, 30)):
        assert decoded(file, size) is None


def test_animations_are_rejected() -> None:
    file = io.BytesIO()
    first, *others = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    first.save(file, "WEBP", save_all=True, append_images=others)
    assert decoded(file.getvalue(), (4, 4)) is None


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.empty((5, 6, 2), np.uint8), r"pixels: expected UINT8 \[height, width, 3 or 4\]"),
        (np.empty((5, 6), np.uint8), "expected 3, got 2"),
        (np.empty((5, 6, 3), np.uint16), "expected 'uint8_t' but got 'unsigned short'"),
    ],
)
def test_pixels_have_three_or_four_channels_of_a_byte(pixels, why) -> None:
    with pytest.raises(ValueError, match=why):
        webp.decode(saved((5, 6)), pixels)


def test_pixels_are_writable_and_in_a_row() -> None:
    file = saved((5, 6))
    fixed = np.empty((5, 6, 3), np.uint8)
    fixed.flags.writeable = False
    for pixels in (fixed, np.empty((5, 12, 3), np.uint8)[:, ::2]):
        with pytest.raises((BufferError, ValueError)):
            webp.decode(file, pixels)


BEGINNINGS = [b"", *(b"RIFF\x40\0\0\0WEBP" + kind for kind in (b"VP8X\n\0\0\0", b"VP8L", b"VP8 "))]


@settings(max_examples=150)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=120))
def test_anything_else_is_no_webp(beginning, noise) -> None:
    assert decoded(beginning + noise, (3, 5)) is None
