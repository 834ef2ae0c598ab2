"""The image kernel against Pillow, and against the filter written out with numpy. Before Pillow 13 its passes came in another order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from inferd._core.media.image import MAX_SIDE, Transform, flatten, instruction_sets

Array = np.ndarray[Any, np.dtype[Any]]
Size = tuple[int, int]
Box = tuple[float, float, float, float]

METHODS = {
    "BILINEAR": Image.Resampling.BILINEAR,
    "NEAREST": Image.Resampling.NEAREST,
    "BICUBIC": Image.Resampling.BICUBIC,
    "AREA": Image.Resampling.BOX,
}
MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # not RGBA: Pillow blends its colors with alpha

sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))
channel_counts = st.sampled_from(sorted(MODES))
methods = st.sampled_from(sorted(METHODS))
seeds = st.integers(0, 2**32 - 1)
few = st.one_of(sizes, st.tuples(st.integers(1, 200), st.integers(1, 20)))  # so that columns are often fetched one by one
hows = st.sampled_from([{}, {"exact": True}, {"antialias": False}])
smaller_sizes = st.tuples(st.integers(1, 128), st.integers(1, 128))  # of which no output has more weights than 16 bits are used for


def picture(size: Size, channels: int, seed: int) -> Array:
    """Noise, hard edges or soft slopes: whatever the seed says."""
    random = np.random.default_rng(seed)
    shape = (*size, channels)
    noise = random.integers(0, 256, shape, dtype=np.uint8)
    match seed % 3:
        case 0:
            return noise
        case 1:
            return np.where(noise < 128, 0, 255).astype(np.uint8)
        case _:
            slope = np.add.outer(np.linspace(0, 200, size[0]), np.linspace(0, 55, size[1]))
            return np.repeat(slope[:, :, None], channels, axis=2).astype(np.uint8)


def transformed(
    pixels: Array, resized: Size, corner: Size = (0, 0), size: Size | None = None, box: Box | None = None, **options: Any
) -> Array:
    size = size or resized
    channels = pixels.shape[2]
    shape = (channels, *size) if options.get("channels_first") else (*size, channels)
    out = np.full(shape, 77, np.float32 if options.get("datatype") == "FP32" else np.uint8)
    Transform(size, channels=channels, **options).apply(pixels, out, resized, corner, box)
    return out


@st.composite
def boxes(draw: st.DrawFn, size: Size) -> Box | None:
    """What of a picture is resized, fractions of its pixels included; None: all of it."""
    if draw(st.booleans()):
        return None
    top, left = draw(st.floats(0, size[0] - 0.25)), draw(st.floats(0, size[1] - 0.25))
    return top, left, draw(st.floats(0.125, size[0] - top)), draw(st.floats(0.125, size[1] - left))


def by_pillow(pixels: Array, resized: Size, method: str) -> Array:
    channels = pixels.shape[2]
    image = Image.frombytes(MODES[channels], (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    answer = image.resize((resized[1], resized[0]), METHODS[method])
    return np.frombuffer(answer.tobytes(), np.uint8).reshape(*resized, channels)


def weights(size: int, resized: int, method: str, antialias: bool, origin: float = 0, span: float | None = None) -> Array:
    """The filter as a matrix [resized, size], each output's weights in a row; BILINEAR or BICUBIC. Of `span` columns from `origin` on."""
    scale = (size if span is None else span) / resized
    stretch = max(scale, 1.0) if antialias else 1.0
    centers = origin + (np.arange(resized) + 0.5) * scale
    edge = 0 if antialias else 2  # columns beyond the edge, which stand for the edge
    distance = np.abs(np.arange(-edge, size + edge) + 0.5 - centers[:, None]) / stretch
    a = -0.5 if antialias else -0.75
    if method == "BILINEAR":
        matrix = np.maximum(0, 1 - distance)
    else:
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        matrix = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    if edge:
        matrix[:, edge] += matrix[:, :edge].sum(axis=1)
        matrix[:, -edge - 1] += matrix[:, -edge:].sum(axis=1)
        matrix = matrix[:, edge:-edge]
    return matrix / matrix.sum(axis=1, keepdims=True)


def by_area(pixels: Array, resized: Size) -> Array:
    """The mean over the covered area: sums up to the edges of what is covered, from one edge to the next."""
    values = pixels.astype(np.float64)
    for axis, wanted in enumerate(resized):
        values = np.moveaxis(values, axis, 0)
        size = len(values)
        edges = np.arange(wanted + 1) * (size / wanted)
        whole = np.minimum(edges.astype(int), size)
        sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])[whole]
        sums += (edges - whole)[:, None, None] * values[np.minimum(whole, size - 1)]
        values = np.moveaxis(np.diff(sums, axis=0) * (wanted / size), 0, axis)
    return values


def by_matrices(pixels: Array, resized: Size, method: str, antialias: bool, rounded_between: bool, box: Box | None = None) -> Array:
    top, left, height, width = box or (0, 0, *pixels.shape[:2])
    vertical = weights(pixels.shape[0], resized[0], method, antialias, top, height)
    horizontal = weights(pixels.shape[1], resized[1], method, antialias, left, width)
    rows_lost, columns_lost = pixels.shape[0] - resized[0], pixels.shape[1] - resized[1]
    rows_first = rows_lost > max(0, 2 * columns_lost)
    # As matrix products: einsum is far slower.
    passes = [(horizontal, 1), (vertical, 0)]
    values = pixels.astype(np.float64)
    for number, (matrix, axis) in enumerate(reversed(passes) if rows_first else passes):
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
        if rounded_between and number == 0:
            values = np.clip(np.floor(values + 0.5), 0, 255)
    return np.clip(values, 0, 255)


# ---- Pillow --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, methods, channel_counts, seeds)
def test_exact_is_pillows_to_the_bit(size: Size, resized: Size, method: str, channels: int, seed: int) -> None:
    pixels = picture(size, channels, seed)
    np.testing.assert_array_equal(transformed(pixels, resized, method=method, exact=True), by_pillow(pixels, resized, method))


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, methods.filter(lambda method: method != "AREA"), channel_counts, seeds)
def test_the_default_is_within_one_level_of_pillows(size: Size, resized: Size, method: str, channels: int, seed: int) -> None:
    pixels = picture(size, channels, seed)
    wanted = by_pillow(pixels, resized, method).astype(float)
    for datatype in ("UINT8", "FP32"):
        difference = transformed(pixels, resized, method=method, datatype=datatype) - wanted
        assert np.abs(difference).max() <= (1 if method == "BILINEAR" else 0)


@example((3, 3), (2, 2), 3, 1)
@example((10, 10), (7, 25), 3, 1)  # enlarged, too
@settings(max_examples=150, deadline=None)
@given(sizes, sizes, channel_counts, seeds)
def test_area_is_within_one_level_of_the_mean_over_the_covered_area(size: Size, resized: Size, channels: int, seed: int) -> None:
    pixels = picture(size, channels, seed)
    wanted = by_area(pixels, resized)
    for datatype in ("UINT8", "FP32"):
        assert np.abs(transformed(pixels, resized, method="AREA", datatype=datatype) - wanted).max() < 1.001


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 1200), st.integers(1, 1200)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["BILINEAR", "AREA"]),
    st.sampled_from(instruction_sets()),
    seeds,
)
def test_so_it_is_where_much_is_lost(size: Size, resized: Size, method: str, instruction_set: str, seed: int) -> None:
    pixels = picture(size, 3, seed)
    made = transformed(pixels, resized, method=method, datatype="FP32", instruction_set=instruction_set)
    wanted = by_area(pixels, resized) if method == "AREA" else by_pillow(pixels, resized, method)
    assert np.abs(made - wanted).max() < 1.001


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((800, 1280), (224, 224)),
        ((480, 640), (256, 341)),
        ((1, MAX_SIDE), (5, 224)),
        ((MAX_SIDE, 1), (224, 5)),
        ((30000, 1), (1, 1)),
        ((1, 30000), (3, 40000)),
        ((2, 2), (MAX_SIDE, 3)),
        ((3, 1), (2, MAX_SIDE)),
        ((MAX_SIDE, 2), (MAX_SIDE, 1)),
        ((600, 600), (5, 4)),
        ((127, 900), (1, 7)),
    ],
)
def test_large_and_long_images(size: Size, resized: Size, method: str, exact: bool) -> None:
    pixels = picture(size, 3, 3)
    made = transformed(pixels, resized, method=method, exact=exact, datatype="FP32")
    wanted = by_area(pixels, resized) if method == "AREA" and not exact else by_pillow(pixels, resized, method)
    assert np.abs(made - wanted).max() <= (0 if exact else 1.001)


# ---- the filter written out ------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data(), smaller_sizes, few, st.booleans(), channel_counts, seeds)
def test_values_are_the_filters(data: st.DataObject, size: Size, resized: Size, antialias: bool, channels: int, seed: int) -> None:
    pixels, box = picture(size, channels, seed), data.draw(boxes(size))
    values = transformed(pixels, resized, antialias=antialias, datatype="FP32", box=box)
    # Half a level by rounding at the end, and less than half of both passes: much less, as no picture is made for these weights.
    assert np.abs(values - by_matrices(pixels, resized, "BILINEAR", antialias, rounded_between=False, box=box)).max() < 0.5 + 0.2
    np.testing.assert_array_equal(values, transformed(pixels, resized, antialias=antialias, box=box))


@settings(max_examples=200, deadline=None)
@given(
    st.data(),
    st.tuples(st.integers(1, 40), st.integers(3, 200)),
    st.tuples(st.integers(1, 60), st.integers(1, 30)),
    st.sampled_from(instruction_sets()),
    st.sampled_from(["UINT8", "FP32"]),
    st.booleans(),
    seeds,
)
def test_columns_that_are_fetched_one_by_one_are_the_ones(
    data: st.DataObject, size: Size, resized: Size, instruction_set: str, datatype: str, first: bool, seed: int
) -> None:
    """Where most source columns have no output three channels are fetched, and four are not: the same to the bit."""
    pixels = picture(size, 4, seed)
    window = (0, 0), resized
    if data.draw(st.booleans()):
        window = data.draw(st.tuples(*(st.integers(-9, side) for side in resized))), data.draw(st.tuples(*[st.integers(1, 40)] * 2))
    options: dict[str, Any] = {"datatype": datatype, "instruction_set": instruction_set, "channels_first": first, "fill": 9}
    box = data.draw(boxes(size))
    exactly_as_large = pixels[:, :, :3].copy()  # no byte behind its last row
    fetched, other = (transformed(each, resized, *window, box, antialias=False, **options) for each in (exactly_as_large, pixels))
    np.testing.assert_array_equal(fetched, other[:3] if first else other[:, :, :3])


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize(("size", "resized"), [((1, 3), (4, 1)), ((2, 3), (1, 1)), ((40, 64), (9, 9))])
def test_the_smallest_images_of_which_columns_are_fetched_one_by_one(size: Size, resized: Size, instruction_set: str) -> None:
    pixels = picture(size, 3, 0)
    values = transformed(pixels, resized, antialias=False, instruction_set=instruction_set)
    assert np.abs(values - by_matrices(pixels, resized, "BILINEAR", antialias=False, rounded_between=False)).max() < 0.5 + 0.2


@settings(max_examples=50, deadline=None)
@given(sizes, sizes, seeds)
def test_bicubic_without_antialiasing(size: Size, resized: Size, seed: int) -> None:
    assume(size != resized)
    pixels = picture(size, 3, seed)
    expected = by_matrices(pixels, resized, "BICUBIC", antialias=False, rounded_between=True)
    assert np.abs(transformed(pixels, resized, method="BICUBIC", antialias=False) - expected).max() < 2


@example((247, 110), (2, 1), 200, "AREA", True)  # weights that all round the same way
@example((1, 94), (1, 1), 1, "AREA", False)
@given(sizes, sizes, st.integers(0, 255), methods, st.booleans())
def test_one_color_stays_what_it_is(size: Size, resized: Size, level: int, method: str, antialias: bool) -> None:
    pixels = np.full((*size, 3), level, np.uint8)
    values = transformed(pixels, resized, method=method, antialias=antialias, datatype="FP32")
    np.testing.assert_array_equal(values, np.full((*resized, 3), level, np.float32))


@pytest.mark.parametrize("method", ["BILINEAR", "AREA"])
@pytest.mark.parametrize("shrunk", [9, 17, 23, 31, 33, 45, 60, 63, 64, 94, 110, 124, 127, 128])
def test_every_color_stays_what_it_is(method: str, shrunk: int) -> None:
    for level in range(256):
        pixels = np.full((shrunk, 3 * shrunk, 1), level, np.uint8)
        assert (transformed(pixels, (1, 3), method=method) == level).all()


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("channels", sorted(MODES))
def test_nothing_to_resize(method: str, channels: int) -> None:
    pixels = picture((37, 53), channels, 0)
    np.testing.assert_array_equal(transformed(pixels, (37, 53), method=method), pixels)
    np.testing.assert_array_equal(transformed(pixels, (37, 53), method=method, datatype="FP32"), pixels)
    one_axis = transformed(pixels, (37, 20), method=method, exact=True)
    np.testing.assert_array_equal(one_axis, by_pillow(pixels, (37, 20), method))


# ---- affine, layout, window ----------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(sizes, few, methods, channel_counts, hows, st.booleans(), st.booleans(), st.booleans(), seeds)
def test_affine_and_layout_are_numpys(
    size: Size, resized: Size, method: str, channels: int, how: dict[str, bool], first: bool, reverse: bool, each: bool, seed: int
) -> None:
    pixels = picture(size, channels, seed)
    random = np.random.default_rng(seed)
    factors = random.uniform(0.001, 2, channels if each else 1).astype(np.float32)
    offsets = random.uniform(-3, 3, channels if each else 1).astype(np.float32)
    plain = transformed(pixels, resized, method=method, datatype="FP32", **how)
    if how.get("exact"):
        np.testing.assert_array_equal(plain, by_pillow(pixels, resized, method))
    ordered = plain[:, :, ::-1] if reverse else plain
    expected = ordered * factors + offsets
    layout: dict[str, Any] = {"method": method, "channels_first": first, "reverse_channels": reverse, **how}
    values = transformed(pixels, resized, datatype="FP32", factors=factors.tolist(), offsets=offsets.tolist(), **layout)
    values = values.transpose(1, 2, 0) if first else values
    assert (np.abs(values - expected) <= 1e-6 * (np.abs(ordered * factors) + np.abs(offsets))).all()
    rounded = transformed(pixels, resized, **layout)
    rounded = rounded.transpose(1, 2, 0) if first else rounded
    np.testing.assert_array_equal(rounded, np.floor(ordered + 0.5).astype(np.uint8))


corners = st.tuples(st.integers(-250, 250), st.integers(-250, 250))


@settings(max_examples=150, deadline=None)
@given(sizes, few, few, corners, methods, hows, st.booleans(), seeds)
def test_a_window_is_cut_out_of_the_whole(
    size: Size, resized: Size, window: Size, corner: Size, method: str, how: dict[str, bool], first: bool, seed: int
) -> None:
    pixels = picture(size, 3, seed)
    options: dict[str, Any] = {"method": method, "datatype": "FP32", "factors": [0.5, 1, 2], "offsets": [1, 2, 3], **how}
    around = np.tile(np.float32([9 * 0.5 + 1, 9 + 2, 9 * 2 + 3]), (resized[0] + 1000, resized[1] + 1000, 1))
    around[500 : 500 + resized[0], 500 : 500 + resized[1]] = transformed(pixels, resized, **options)
    top, left = corner[0] + 500, corner[1] + 500
    expected = around[top : top + window[0], left : left + window[1]]
    got = transformed(pixels, resized, corner, window, fill=9, channels_first=first, **options)
    np.testing.assert_array_equal(got.transpose(1, 2, 0) if first else got, expected)


@pytest.mark.parametrize("corner", [(MAX_SIDE, 0), (0, -MAX_SIDE), (-4, 0), (0, 9)])
def test_a_window_beside_the_picture_is_filled(corner: Size) -> None:
    assert (transformed(picture((5, 6), 3, 0), (8, 9), corner, (4, 4), fill=114) == 114).all()


@given(sizes, few, channel_counts, methods, hows, st.booleans(), seeds)
def test_nothing_is_written_beside_the_array(
    size: Size, resized: Size, channels: int, method: str, how: dict[str, bool], floating: bool, seed: int
) -> None:
    count = resized[0] * resized[1] * channels
    dtype = np.float32 if floating else np.uint8
    memory = np.full(count + 128, 113, dtype)
    out = memory[64:-64].reshape(*resized, channels)
    transform = Transform(resized, channels=channels, method=method, datatype="FP32" if floating else "UINT8", **how)
    transform.apply(picture(size, channels, seed), out, resized)
    assert (memory[:64] == 113).all()
    assert (memory[-64:] == 113).all()


# ---- transparent pixels


@given(sizes, st.tuples(*[st.integers(0, 255)] * 3), seeds)
def test_pixels_are_blended_as_pillow_does(size: Size, background: tuple[int, int, int], seed: int) -> None:
    pixels = picture(size, 4, seed)
    behind = Image.new("RGBA", (size[1], size[0]), (*background, 255))
    behind.alpha_composite(Image.fromarray(pixels, "RGBA"))
    out = np.empty((*size, 3), np.uint8)
    flatten(pixels, background, out)
    np.testing.assert_array_equal(out, np.asarray(behind)[:, :, :3])
    gray = np.empty((*size, 1), np.uint8)
    flatten(pixels, background, gray)
    np.testing.assert_array_equal(gray[:, :, 0], np.asarray(behind.convert("L")))


@given(sizes, seeds)
def test_colors_are_made_gray_as_pillow_does(size: Size, seed: int) -> None:
    pixels = picture(size, 3, seed)
    gray, same = np.empty((*size, 1), np.uint8), np.empty((*size, 3), np.uint8)
    flatten(pixels, None, gray)
    flatten(pixels, None, same)
    np.testing.assert_array_equal(gray[:, :, 0], np.asarray(Image.fromarray(pixels).convert("L")))
    np.testing.assert_array_equal(same, pixels)


def test_every_color_is_blended_as_pillow_does() -> None:
    values = np.arange(256, dtype=np.uint8)
    pixels = np.zeros((256, 256, 4), np.uint8)  # each level in each transparency
    pixels[:, :, 0], pixels[:, :, 3] = values[:, None], values[None, :]
    for level in range(256):
        behind = Image.new("RGBA", (256, 256), (level, level, level, 255))
        behind.alpha_composite(Image.fromarray(pixels, "RGBA"))
        out = np.empty((256, 256, 3), np.uint8)
        flatten(pixels, (level, level, level), out)
        np.testing.assert_array_equal(out, np.asarray(behind)[:, :, :3])


@pytest.mark.parametrize(
    ("pixels", "background", "out", "why"),
    [
        ((4, 5, 1), (0, 0, 0), (4, 5, 3), "expected pixels of 3 or 4 channels and out of 1 or 3, got 1 and 3"),
        ((4, 5, 4), (0, 0, 0), (4, 5, 4), "expected pixels of 3 or 4 channels and out of 1 or 3, got 4 and 4"),
        ((4, 5, 4), (0, 0, 0), (5, 4, 3), "out: expected the height and width of pixels"),
        ((4, 5, 4), (0, 0, 0), (4, 4, 3), "out: expected the height and width of pixels"),
        ((4, 5, 4), (0, 256, 0), (4, 5, 3), "background: expected 0 to 255, got 256"),
    ],
)
def test_what_cannot_be_made_flat(pixels: Any, background: Any, out: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        flatten(np.zeros(pixels, np.uint8), background, np.zeros(out, np.uint8))


# ---- machines, threads, arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"exact": True}, {"antialias": False}], ids=str)
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    ("size", "resized"), [((800, 300), (57, 224)), ((33, 65), (64, 31)), ((7, 5), (40, 50)), ((1, 1), (3, 3)), ((50, 300), (60, 70))]
)
def test_all_instructions_give_the_same(method: str, size: Size, resized: Size, how: dict[str, bool]) -> None:
    pixels = picture(size, 3, 0)
    options: dict[str, Any] = {"method": method, "datatype": "FP32", "factors": [0.017], "channels_first": True, **how}
    best = transformed(pixels, resized, **options)
    for name in instruction_sets():
        np.testing.assert_array_equal(transformed(pixels, resized, instruction_set=name, **options), best)


def test_threads_share_a_transform() -> None:
    transform = Transform((32, 32), channels=3, datatype="FP32", channels_first=True)
    pictures = [picture((40 + number, 60), 3, number) for number in range(80)]  # more sizes than tables are kept

    def apply(pixels: Array) -> Array:
        out = np.empty((3, 32, 32), np.float32)
        transform.apply(pixels, out, (32, 32))
        return out

    expected = [apply(pixels) for pixels in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for got, wanted in zip(pool.map(apply, pictures), expected, strict=True):
                np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": (0, 4)}, "height: expected 1 to 65535, got 0"),
        ({"size": (4, MAX_SIDE + 1)}, "width: expected 1 to 65535, got 65536"),
        ({"channels": 2}, "channels: expected 1, 3 or 4"),
        ({"method": "LANCZOS"}, "method: expected one of BILINEAR, NEAREST, BICUBIC, AREA"),
        ({"datatype": "FP64"}, "datatype: expected UINT8 or FP32"),
        ({"factors": [2.0]}, "UINT8 takes factor 1"),
        ({"offsets": [1.0]}, "UINT8 takes factor 1"),
        ({"datatype": "FP32", "factors": [1.0, 2.0]}, "factors: expected 1 or 3 numbers, got 2"),
        ({"exact": True, "antialias": False}, "Pillow antialiases always"),
        ({"fill": 256}, "fill: expected 0 to 255"),
        ({"instruction_set": "z80"}, "instruction_set: expected one of"),
    ],
)
def test_wrong_settings(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Transform(**{"size": (4, 4), "channels": 3, **options})


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"pixels": np.zeros((5, 5), np.uint8)}, "pixels: expected UINT8 of three axes"),
        ({"pixels": np.zeros((5, 5, 3), np.int8)}, "pixels: expected UINT8 of three axes"),
        ({"pixels": np.zeros((5, 5, 3), np.uint8)[:, ::2]}, "pixels: expected a C-contiguous array"),
        ({"pixels": np.zeros((5, 5, 4), np.uint8)}, "pixels: expected 3 channels, got 4"),
        ({"pixels": np.zeros((0, 5, 3), np.uint8)}, "pixels' height: expected 1 to 65535, got 0"),
        ({"pixels": np.zeros((1, MAX_SIDE + 1, 3), np.uint8)}, "pixels' width: expected 1 to 65535"),
        ({"pixels": None}, "pixels: expected a C-contiguous array, got NoneType"),
        ({"out": np.zeros((4, 4, 3), np.uint8)}, "out: expected FP32 of three axes"),
        ({"out": np.zeros((3, 4, 4), np.float32)}, "out: expected shape"),
        ({"out": np.zeros((4, 8, 3), np.float32)[:, ::2]}, "out: expected a C-contiguous writable array"),
        ({"resized": (0, 4)}, "resized: expected 1 to 65535"),
        ({"resized": (4, MAX_SIDE + 1)}, "resized: expected 1 to 65535"),
        ({"corner": (MAX_SIDE + 1, 0)}, "corner: expected -65535 to 65535"),
    ],
)
def test_wrong_arrays(arguments: dict[str, Any], why: str) -> None:
    transform = Transform((4, 4), channels=3, datatype="FP32")
    right: dict[str, Any] = {"pixels": np.zeros((5, 5, 3), np.uint8), "out": np.zeros((4, 4, 3), np.float32), "resized": (4, 4)}
    with pytest.raises(ValueError, match=why):
        transform.apply(**{**right, **arguments})


@pytest.mark.parametrize("box", [(-0.1, 0, 5, 5), (0, 0.5, 5, 5), (0, 0, 5, 5.1), (0, 0, 0, 5), (0, 0, float("nan"), 5)])
def test_a_box_lies_in_the_pixels(box: tuple[float, float, float, float]) -> None:
    out = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="box: expected a part of 5 pixels"):
        Transform((4, 4), channels=3).apply(np.zeros((5, 5, 3), np.uint8), out, (4, 4), box=box)


@pytest.mark.parametrize("method", ["BILINEAR", "BICUBIC", "AREA", "NEAREST"])
@pytest.mark.parametrize("box", [(0.0, 0.0, 49.25, 60.5), (0.75, 0.5, 49.25, 60.5), (10.0, 20.0, 12.0, 9.0), (3.0, 4.0, 30.0, 31.0)])
def test_a_box_is_pillows(box: tuple[float, float, float, float], method: str) -> None:
    """Also one of as many pixels as it becomes."""
    pixels = picture((50, 61), 3, 1)
    out = np.zeros((12, 9, 3), np.uint8)
    Transform((12, 9), channels=3, method=method, exact=method != "NEAREST").apply(pixels, out, (12, 9), box=box)
    top, left, height, width = box
    by = Image.Resampling[{"AREA": "BOX"}.get(method, method)]
    expected = np.asarray(Image.fromarray(pixels).resize((9, 12), by, box=(left, top, left + width, top + height)))
    assert np.array_equal(out, expected)


def test_an_array_that_may_not_be_written() -> None:
    out = np.zeros((4, 4, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a C-contiguous writable array"):
        Transform((4, 4), channels=3).apply(np.zeros((5, 5, 3), np.uint8), out, (4, 4))


def test_pixels_may_be_read_only() -> None:
    pixels = np.frombuffer(bytes(range(75)), np.uint8).reshape(5, 5, 3)
    np.testing.assert_array_equal(transformed(pixels, (5, 5)), pixels)
