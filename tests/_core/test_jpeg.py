"""JPEG files -> pixels, against Pillow, which has libjpeg-turbo, too; and every way in which a file can be wrong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

jpeg = pytest.importorskip("inferd._core.jpeg", reason="inferd was built without libturbojpeg")
Image = pytest.importorskip("PIL.Image")

SIZES = [(1, 1), (1, 9), (7, 8), (8, 8), (16, 17), (33, 31), (64, 3), (120, 200)]


def colors(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth picture with some noise: what JPEG is made for, and not empty."""
    random = np.random.default_rng(height * 1000 + width)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    wave = 127 + 100 * np.sin(y / 9 + c) * np.cos(x / 7 - c)
    return np.clip(wave + random.normal(0, 8, wave.shape), 0, 255).astype(np.uint8)


def saved(image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def photo(height: int = 120, width: int = 200, **options) -> bytes:
    return saved(Image.fromarray(colors(height, width)), **{"quality": 90} | options)


def decoded(file: bytes, channels: int = 3, eighths: int = 8) -> np.ndarray | None:
    head = jpeg.header(file)
    assert head is not None
    pixels = np.full((*jpeg.scaled_size(head[0], head[1], eighths), channels), 77, np.uint8)
    return pixels if jpeg.decode(file, pixels) else None


def by_pillow(file: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        if mode == "L" and image.mode == "RGB":
            image.draft("L", image.size)
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_equals_pillow(size, subsampling, progressive):
    file = photo(*size, subsampling=subsampling, progressive=progressive)
    assert jpeg.header(file)[:2] == size
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, channels=1), by_pillow(file, "L"))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gray_files(size):
    file = saved(Image.fromarray(colors(*size, 1)[:, :, 0]), quality=80)
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, channels=1), by_pillow(file, "L"))


@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_printers_colors(size, transform):
    file = bytearray(saved(Image.fromarray(colors(*size, 4), "CMYK"), quality=90))
    adobe = file.index(b"Adobe")
    assert file[adobe + 11] == 0
    file[adobe + 11] = transform  # says what the channels are; there are four in any case
    file = bytes(file)
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, channels=1), by_pillow(file, "L"))


def test_colors_that_were_not_converted():
    file = saved(Image.fromarray(colors(30, 40)), quality=90, keep_rgb=True)
    assert np.array_equal(decoded(file), by_pillow(file))


@pytest.mark.parametrize("eighths", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_scaled(size, eighths):
    file = photo(*size)
    pixels = decoded(file, eighths=eighths)
    assert pixels.shape == (-(-size[0] * eighths // 8), -(-size[1] * eighths // 8), 3)
    if eighths != 3:  # Pillow has no 3/8
        with Image.open(io.BytesIO(file)) as image:
            image.draft("RGB", (pixels.shape[1], pixels.shape[0]))
            if image.size == (pixels.shape[1], pixels.shape[0]):
                assert np.array_equal(pixels, np.asarray(image))
    elif min(size) > 100:
        with Image.open(io.BytesIO(file)) as image:
            like = np.asarray(image.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BOX))
        assert np.abs(pixels.astype(int) - like).mean() < 6


def test_counts_scans():
    assert jpeg.header(photo())[2] == 1
    assert jpeg.header(photo(progressive=True))[2] > 5


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_is_cut_short_is_damaged(progressive):
    file = photo(40, 60, progressive=progressive)
    for nbytes in range(len(file)):
        head = jpeg.header(file[:nbytes])
        if head is not None:
            assert head[:2] == (40, 60)
            assert not jpeg.decode(file[:nbytes], np.empty((40, 60, 3), np.uint8))


@pytest.mark.parametrize("kind", ["colors", "progressive", "gray", "CMYK"])
def test_a_corrupted_file_is_a_picture_or_damaged(kind):
    image = Image.fromarray(colors(24, 40, 4), "CMYK") if kind == "CMYK" else Image.fromarray(colors(24, 40))
    file = saved(image.convert("L") if kind == "gray" else image, quality=70, progressive=kind == "progressive")
    random = np.random.default_rng(0)
    for _ in range(1500):
        broken = bytearray(file)
        for at in random.integers(2, len(file), random.integers(1, 4)):
            broken[at] = random.integers(256)
        head = jpeg.header(broken)
        if head is None or head[0] * head[1] > 100_000:
            continue
        memory = np.full(head[0] * head[1] * 3 + 64, 77, np.uint8)
        jpeg.decode(broken, memory[32:-32].reshape(head[0], head[1], 3))
        assert (memory[:32] == 77).all()
        assert (memory[-32:] == 77).all()


@given(st.binary(max_size=200))
def test_anything_else_is_no_jpeg(noise):
    assert jpeg.header(noise) is None
    assert jpeg.header(b"\xff\xd8\xff" + noise) is None or noise
    assert not jpeg.decode(b"\xff\xd8" + noise, np.empty((1, 1, 3), np.uint8))


@given(st.integers(2, 700), st.binary(max_size=40))
def test_heads_that_are_overwritten(at, noise):
    file = bytearray(photo(16, 16))
    file[at : at + len(noise)] = noise
    head = jpeg.header(file)
    if head is not None and head[0] * head[1] <= 100_000:
        jpeg.decode(file, np.empty((*head[:2], 3), np.uint8))


def test_tables_of_one_file_are_not_lent_to_the_next():
    whole = photo(16, 16)
    tables = whole.index(b"\xff\xdb")
    without = whole[:tables] + whole[tables + 2 + int.from_bytes(whole[tables + 2 : tables + 4], "big") :]
    second = without.index(b"\xff\xdb")
    without = without[:second] + without[second + 2 + int.from_bytes(without[second + 2 : second + 4], "big") :]
    assert decoded(whole) is not None
    pixels = np.empty((16, 16, 3), np.uint8)
    assert not jpeg.decode(without, pixels)


def test_what_lies_behind_the_picture_is_not_read():
    assert np.array_equal(decoded(photo() + b"\0" * 1000), decoded(photo()))


@pytest.mark.parametrize("shape", [(16, 15, 3), (15, 16, 3), (32, 32, 3), (8, 16, 3), (0, 16, 3)], ids=str)
def test_another_size_is_refused(shape):
    with pytest.raises(ValueError, match="is no scale of this picture"):
        jpeg.decode(photo(16, 16), np.empty(shape, np.uint8))


@pytest.mark.parametrize(
    "pixels", [np.empty((16, 16), np.uint8), np.empty((16, 16, 4), np.uint8), np.empty((16, 16, 3), np.float32)], ids=lambda a: str(a.shape)
)
def test_other_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match="expected UINT8"):
        jpeg.decode(photo(16, 16), pixels)


def test_pixels_must_be_writable_and_contiguous():
    frozen = np.empty((16, 16, 3), np.uint8)
    frozen.flags.writeable = False
    for pixels in (frozen, np.empty((16, 32, 3), np.uint8)[:, ::2]):
        with pytest.raises((ValueError, BufferError)):
            jpeg.decode(photo(16, 16), pixels)
