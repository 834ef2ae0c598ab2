"""Lists of image steps: what they are compiled to, against the same steps one by one in Pillow and numpy; and all that is rejected."""

from __future__ import annotations

import gc
import io
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL")

from PIL import Image, ImageDraw

from inferd.errors import Cancelled, ConfigError, InvalidArgument, RequestError
from inferd.protocol import options
from inferd.steps.image import ImagePipeline, compile_image
from inferd.steps.pipeline import EntryPlace, TensorType
from inferd.steps.scratch import scratch
from tests.pngs import png

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
METHODS = {"BILINEAR": "BILINEAR", "NEAREST": "NEAREST", "BICUBIC": "BICUBIC", "AREA": "BOX"}
HALVES = ("normalize", {"mean": [127.5], "std": [128]})
CAFFE = ("normalize", {"mean": [103.9, 116.8, 123.7]})
NORMALIZE = ("normalize", {"mean": MEAN, "std": STD})
GRAPH = TensorType("FP32", (3, 224, 224))
Listed = list[tuple[str, dict[str, Any]]]


def compiled(listed: Listed, graph: TensorType = GRAPH, name: str = ""):
    entry = options.Preprocess(name=name, steps=[options.Step(**{step: how}) for step, how in listed])
    return compile_image(entry, EntryPlace("model 'cats': preprocess[0]", {"x": graph}))


def rejection(listed: Listed, graph: TensorType = GRAPH) -> str:
    with pytest.raises(ConfigError) as told:
        compiled(listed, graph)
    assert str(told.value).startswith("model 'cats': preprocess[0]: ")
    return str(told.value)


def prepared(pipeline, sent, check=lambda place: None) -> np.ndarray:
    """The array that becomes of one request. Raises its error."""
    (answer,) = pipeline.prepare([[sent]], check)
    if isinstance(answer, RequestError):
        raise answer
    (array,) = answer
    assert array.flags.c_contiguous
    ((_, kind),) = pipeline.outputs
    assert all(wanted in (-1, got) for wanted, got in zip(kind.shape, array.shape[1:], strict=True))
    return array


def files(*pictures: np.ndarray, form: str = "PNG", **more) -> list[memoryview]:
    made = []
    for pixels in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form, **more)
        made.append(memoryview(file.getvalue()))
    return made


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth, with noise."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    noise = np.random.default_rng(seed).normal(0, 12, y.shape)
    return np.clip(127 + 110 * np.sin(y / 23 + c + seed) * np.cos(x / 17 - c) + noise, 0, 255).astype(np.uint8)


# ---- the same, one step after another


def resized(pixels: np.ndarray, height: int, width: int, method: str = "BILINEAR") -> np.ndarray:
    by = getattr(Image.Resampling, METHODS[method])
    planes = [np.asarray(Image.fromarray(pixels[:, :, c]).resize((width, height), by)) for c in range(pixels.shape[2])]
    return np.stack(planes, axis=2)


def one_by_one(pixels: np.ndarray, listed: Listed) -> np.ndarray:
    """UINT8 [height, width, channels] -> what the steps make of it, in plain numpy and Pillow."""
    for name, how in listed:
        height, width = pixels.shape[:2]
        if name == "resize":
            if "shortest" in how:
                short = how["shortest"]
                size = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
            elif "longest" in how:
                scale = how["longest"] / max(height, width)
                size = (int(height * scale + 0.5), int(width * scale + 0.5))
            else:
                size = (how["height"], how["width"])
            pixels = resized(pixels, *size, how.get("method", "BILINEAR"))  # type: ignore[call-arg]
        elif name == "letterbox":
            scale = min(how["height"] / height, how["width"] / width)
            inner = resized(pixels, round(height * scale), round(width * scale), how.get("method", "BILINEAR"))
            top, left = (how["height"] - inner.shape[0]) // 2, (how["width"] - inner.shape[1]) // 2
            pixels = np.full((how["height"], how["width"], pixels.shape[2]), how.get("fill", 114), np.uint8)
            pixels[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        elif name == "center_crop":
            half = (lambda rest: rest // 2) if how.get("rounding") == "DOWN" else (lambda rest: round(rest / 2))
            top, left = half(height - how["height"]), half(width - how["width"])
            pixels = pixels[top : top + how["height"], left : left + how["width"]]
        elif name == "pad":
            below, right = how["height"] - height, how["width"] - width
            pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)), constant_values=how.get("fill", 0))
        elif name == "reverse_channels":
            pixels = pixels[:, :, ::-1]
        elif name == "scale":
            pixels = (pixels.astype(np.float64) * how.get("factor", 1 / 255) + how.get("offset", 0)).astype(np.float32)
        elif name == "normalize":
            pixels = ((pixels - np.array(how.get("mean", [0]))) / np.array(how.get("std", [1]))).astype(np.float32)
        elif name == "cast":
            dtype = {"FP32": np.float32, "FP16": np.float16, "INT8": np.int8, "INT32": np.int32, "UINT8": np.uint8}[how["datatype"]]
            if np.issubdtype(dtype, np.integer):
                pixels = np.clip(np.trunc(pixels), np.iinfo(dtype).min, np.iinfo(dtype).max)
            pixels = pixels.astype(dtype)
        elif name == "transpose":
            pixels = pixels.transpose(2, 0, 1)
    return pixels


LISTS: dict[str, Listed] = {
    "imagenet": [("resize", {"shortest": 64}), ("center_crop", {"height": 56, "width": 48}), ("scale", {}), NORMALIZE, ("transpose", {})],
    "yolo": [("letterbox", {"height": 64, "width": 80}), ("scale", {}), ("transpose", {})],
    "longest and padded": [("resize", {"longest": 60}), ("pad", {"height": 60, "width": 60, "fill": 7}), HALVES],
    "bgr": [("resize", {"height": 40, "width": 50}), ("reverse_channels", {}), CAFFE, ("transpose", {})],
    "reversed behind": [("resize", {"height": 40, "width": 50}), CAFFE, ("reverse_channels", {})],
    "bytes": [("resize", {"height": 40, "width": 50}), ("reverse_channels", {}), ("transpose", {})],
    "quantized": [("resize", {"height": 40, "width": 50}), ("scale", {"factor": 1, "offset": -128}), ("cast", {"datatype": "INT8"})],
    "whole numbers": [("resize", {"height": 40, "width": 50}), ("cast", {"datatype": "INT32"}), ("transpose", {})],
    "half": [("resize", {"height": 40, "width": 50}), ("scale", {}), ("transpose", {}), ("cast", {"datatype": "FP16"})],
    "as they are": [("cast", {"datatype": "FP32"}), ("transpose", {})],
    "cropped": [("center_crop", {"height": 60, "width": 61}), ("scale", {"factor": 2, "offset": 1})],
    "cropped, rounded down": [("center_crop", {"height": 59, "width": 59, "rounding": "DOWN"}), ("scale", {})],
    "cropped, then resized": [("center_crop", {"height": 60, "width": 61}), ("resize", {"height": 30, "width": 40}), ("scale", {})],
    "resized twice": [("resize", {"shortest": 70}), ("resize", {"height": 30, "width": 40, "method": "BICUBIC"}), ("scale", {})],
    "three passes": [
        ("letterbox", {"height": 90, "width": 90}), ("pad", {"height": 100, "width": 95, "fill": 1}), ("resize", {"shortest": 50}),
        ("reverse_channels", {}), ("scale", {}), ("transpose", {}),
    ],
    "padded, then cropped": [
        ("pad", {"height": 200, "width": 200, "fill": 9}), ("center_crop", {"height": 128, "width": 100}), ("scale", {}),
    ],
    "nearest": [("resize", {"height": 33, "width": 44, "method": "NEAREST"}), ("scale", {})],
    "cubic": [("resize", {"height": 33, "width": 44, "method": "BICUBIC"}), ("scale", {})],
    "area": [("resize", {"height": 33, "width": 44, "method": "AREA", "exact": True}), ("scale", {})],
}  # fmt: skip


def exactly(listed: Listed) -> Listed:
    return [(name, how | {"exact": True} if name in ("resize", "letterbox") else how) for name, how in listed]


def any_graph(listed: Listed, channels: int = 3) -> TensorType:
    """A graph that takes what the list makes, of any size."""
    datatype = "UINT8"
    for name, how in listed:
        datatype = how["datatype"] if name == "cast" else "FP32" if name in ("scale", "normalize") else datatype
    return TensorType(datatype, (channels, -1, -1) if ("transpose", {}) in listed else (-1, -1, channels))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("size", [(120, 160), (163, 97)], ids=str)
def test_exact_lists_are_their_steps_one_by_one(name, size) -> None:
    listed = LISTS[name]
    pixels = photo(*size)
    wanted = one_by_one(pixels, listed)
    encoded = compiled([("decode_image", {}), *exactly(listed)], any_graph(listed))
    given = compiled(exactly(listed), any_graph(listed))
    for array in (prepared(encoded, files(pixels))[0], prepared(given, pixels[None])[0]):
        assert array.dtype == wanted.dtype
        assert array.shape == wanted.shape
        if array.dtype.kind == "f":
            within = 1e-3 if array.dtype == np.float16 else 1e-6
            assert np.allclose(array, wanted, rtol=within, atol=within * np.abs(wanted).max())
        else:
            assert np.array_equal(array, wanted)


@pytest.mark.parametrize("name", LISTS)
def test_other_lists_are_within_a_level(name) -> None:
    listed = LISTS[name]
    pixels = photo(130, 170)
    level = {"imagenet": 1 / 255 / min(STD), "longest and padded": 1 / 128, "cropped": 2}.get(name, 1.0)
    level = 1 / 255 if level == 1.0 and ("scale", {}) in listed else level
    array = prepared(compiled(listed, any_graph(listed)), pixels[None])[0]
    passes = 3 if name in ("three passes", "resized twice") else 1
    rounded = 2**-11 if array.dtype == np.float16 else 0.0  # half a step of each of two numbers below 1
    assert np.abs(array.astype(float) - one_by_one(pixels, listed).astype(float)).max() <= level * passes * 1.001 + rounded


def sized(name: str, most: int, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    side = st.integers(1, most)
    return st.tuples(st.just(name), st.fixed_dictionaries({"height": side, "width": side, **more}))


ANY_STEP = st.one_of(
    sized("resize", 50, method=st.sampled_from(sorted(METHODS))),
    sized("center_crop", 50),
    sized("pad", 90, fill=st.integers(0, 255)),
    st.just(("reverse_channels", {})),
)


@settings(max_examples=60)
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.lists(ANY_STEP, max_size=4), st.booleans())
def test_any_list_is_its_steps_one_by_one(size, listed, planar) -> None:
    listed = [*listed, NORMALIZE, *([("transpose", {})] if planar else [])]
    pixels = photo(*size)
    fits = True
    try:
        array = prepared(compiled(exactly(listed), any_graph(listed)), pixels[None])[0]
    except (ConfigError, InvalidArgument):
        fits = False
    if fits:
        assert np.allclose(array, one_by_one(pixels, listed), rtol=1e-6, atol=1e-4)
    else:
        assert {"center_crop", "pad"} & {name for name, _ in listed}


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
def test_colors(color) -> None:
    pixels = photo(40, 50)
    channels = 1 if color == "GRAY" else 3
    pipeline = compiled([("decode_image", {"color": color})], TensorType("UINT8", (-1, -1, channels)))
    wanted = {"RGB": pixels, "BGR": pixels[:, :, ::-1], "GRAY": np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]}[color]
    assert np.array_equal(prepared(pipeline, files(pixels))[0], wanted)


def test_bgr_is_normalized_as_bgr() -> None:
    pixels = photo(20, 20)
    pipeline = compiled([("decode_image", {"color": "BGR"}), NORMALIZE], TensorType("FP32", (-1, -1, 3)))
    assert np.allclose(prepared(pipeline, files(pixels))[0], (pixels[:, :, ::-1] - np.array(MEAN)) / STD, rtol=1e-6)


def test_a_background_is_red_green_blue_whatever_the_color() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(file, "PNG")
    pipeline = compiled([("decode_image", {"color": "BGR", "background": [1, 2, 3]})], TensorType("UINT8", (-1, -1, 3)))
    assert prepared(pipeline, [memoryview(file.getvalue())])[0, 0, 0].tolist() == [3, 2, 1]


def test_rows_are_prepared_each_for_itself() -> None:
    pictures = [photo(50 + 9 * row, 80 - 7 * row, seed=row) for row in range(5)]
    listed = [("decode_image", {}), *LISTS["imagenet"]]
    pipeline = compiled(listed, TensorType("FP32", (3, 56, 48)))
    together = prepared(pipeline, files(*pictures))
    assert together.shape == (5, 3, 56, 48)
    for row, pixels in enumerate(pictures):
        assert np.array_equal(together[row], prepared(pipeline, files(pixels))[0])


def test_one_request_of_no_rows() -> None:
    pipeline = compiled([("decode_image", {}), *LISTS["imagenet"]], TensorType("FP32", (3, 56, 48)))
    assert prepared(pipeline, []).shape == (0, 3, 56, 48)


@pytest.mark.parametrize("lies", range(1, 9))
@pytest.mark.parametrize(("size", "method"), [((400, 600), "BICUBIC"), ((401, 601), "BILINEAR"), ((853, 1279), "BICUBIC")], ids=str)
def test_scaled_differs_little(method, size, lies) -> None:
    """Also where the sides are no multiples of the scale, however the picture lies."""
    exif = Image.Exif()
    exif[0x0112] = lies
    sent = files(photo(*size), form="JPEG", quality=90, exif=exif)
    listed = [("resize", {"height": 60, "width": 70, "method": method}), ("cast", {"datatype": "FP32"})]
    full = prepared(compiled([("decode_image", {}), *listed], any_graph(listed)), sent)
    scaled = prepared(compiled([("decode_image", {"scaled": True}), *listed], any_graph(listed)), sent)
    assert 0 < np.abs(full - scaled).mean() < 1
    assert np.abs(full - scaled).max() < 12


def photographs() -> list[bytes]:
    """Two, of 0.3 megapixels, as files."""
    datasets = pytest.importorskip("sklearn.datasets")
    return [(Path(datasets.__file__).parent / "images" / name).read_bytes() for name in ("china.jpg", "flower.jpg")]


def page_of_text() -> bytes:
    page = Image.new("RGB", (900, 900), "white")
    for top in range(0, 900, 14):
        ImageDraw.Draw(page).text((3, top), "The quick brown fox jumps over the lazy dog 0123456789 " * 8, fill="black")
    return as_jpeg(page)


def black_and_white_noise() -> bytes:
    dots = np.random.default_rng(0).integers(0, 2, (900, 900, 1)).astype(np.uint8) * 255
    return as_jpeg(Image.fromarray(dots.repeat(3, axis=2)))


def as_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "side", "means", "largest"),
    [
        (lambda: photographs()[0], 112, (0.1, 0.8), 14),
        (lambda: photographs()[1], 112, (0.1, 0.8), 14),
        (page_of_text, 256, (1, 6), 32),
        (black_and_white_noise, 256, (6, 8), 45),
    ],
    ids=["buildings", "a flower", "small text", "noise"],
)
@pytest.mark.parametrize("method", ["BILINEAR", "BICUBIC"])
def test_scaled_differs_as_the_page_says(make, side, means, largest, method) -> None:
    """The figures of docs/preprocessing.md: least and largest mean, and the largest of all."""
    sent = [memoryview(make())]
    listed = [("resize", {"height": side, "width": side, "method": method}), ("cast", {"datatype": "FP32"})]
    full, scaled = (prepared(compiled([("decode_image", {"scaled": on}), *listed], any_graph(listed)), sent) for on in (False, True))
    apart = np.abs(full - scaled)
    assert means[0] <= apart.mean() <= means[1]
    assert means[1] < apart.max() <= largest


@pytest.mark.parametrize("quality", [0, 60, 90], ids=["as they are", "60", "90"])
def test_gray_differs_from_the_colors_as_the_page_says(quality) -> None:
    pipeline = compiled([("decode_image", {"color": "GRAY"})], TensorType("UINT8", (-1, -1, 1)))
    for file in photographs():
        if quality:
            again = io.BytesIO()
            Image.open(io.BytesIO(file)).save(again, "JPEG", quality=quality)
            file = again.getvalue()
        gray = prepared(pipeline, [memoryview(file)])[0, :, :, 0]
        luma = Image.open(io.BytesIO(file))
        luma.draft("L", luma.size)
        assert np.array_equal(gray, np.asarray(luma))
        apart = np.abs(gray.astype(int) - np.asarray(Image.open(io.BytesIO(file)).convert("L")))
        assert np.percentile(apart, 99) <= 2
        assert 3 < apart.max() <= 31


def test_scaled_makes_the_same_sizes() -> None:
    listed = [("resize", {"shortest": 33}), ("scale", {})]
    for size in ((401, 603), (777, 333)):
        sent = files(photo(*size), form="JPEG")
        wanted = prepared(compiled([("decode_image", {}), *listed], any_graph(listed)), sent).shape
        assert prepared(compiled([("decode_image", {"scaled": True}), *listed], any_graph(listed)), sent).shape == wanted


# ---- what clients send and the graph gets


def test_names_and_types() -> None:
    pipeline = compiled([("decode_image", {}), ("resize", {"height": 224, "width": 224}), ("scale", {}), ("transpose", {})], name="photo")
    assert pipeline.inputs == (("photo", TensorType("BYTES", (1,))),)
    assert pipeline.outputs == (("x", TensorType("FP32", (3, 224, 224))),)
    pipeline = compiled([("resize", {"height": 224, "width": 224}), ("scale", {})], TensorType("FP32", (-1, -1, 3)))
    assert pipeline.inputs == (("x", TensorType("UINT8", (-1, -1, 3))),)
    assert pipeline.outputs == (("x", TensorType("FP32", (224, 224, 3))),)
    assert pipeline.paddings == {}


def test_pixels_that_are_not_resized_have_the_size_of_the_graph() -> None:
    pipeline = compiled([("scale", {}), ("transpose", {})])
    assert pipeline.inputs == (("x", TensorType("UINT8", (224, 224, 3))),)
    pipeline = compiled([("scale", {}), ("transpose", {})], TensorType("FP32", (1, -1, -1)))
    assert pipeline.inputs == (("x", TensorType("UINT8", (-1, -1, 1))),)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_have_the_channels_of_the_graph(channels) -> None:
    listed = [("resize", {"height": 30, "width": 40, "exact": True}), ("cast", {"datatype": "FP32"})]
    pixels = photo(70, 50, channels)
    array = prepared(compiled(listed, TensorType("FP32", (30, 40, channels))), pixels[None])
    assert np.array_equal(array[0], one_by_one(pixels, listed))


SIDES = {"height": 224, "width": 224}
DECODE, RESIZE, CROP, SCALE, PLANAR = ("decode_image", {}), ("resize", SIDES), ("center_crop", SIDES), ("scale", {}), ("transpose", {})


@pytest.mark.parametrize(
    ("listed", "graph", "why"),
    [
        # the result and the graph
        ([("resize", {"height": 224, "width": 200}), SCALE, PLANAR], None,
         r"make FP32\[3,224,200\] \(C, H, W\), and the graph's input 'x' takes FP32\[3,224,224\]: W is 200 and must be 224; change"),
        ([("resize", {"shortest": 224}), SCALE, PLANAR], None,
         "H is any and must be 224, W is any and must be 224; add resize, letterbox or center_crop"),
        ([DECODE, SCALE, PLANAR], None, "H is any and must be 224"),
        ([RESIZE, SCALE], None, "H is 224 and must be 3, C is 3 and must be 224; add transpose"),
        ([RESIZE, SCALE, PLANAR], ("FP32", (224, 224, 3)), "remove transpose"),
        ([("decode_image", {"color": "GRAY"}), RESIZE, SCALE, PLANAR], None,
         "C is 1 and must be 3; change .* the color of decode_image"),
        ([RESIZE, PLANAR], None, r"make UINT8.* takes FP32.*: add scale, normalize, or cast"),
        ([RESIZE, SCALE, PLANAR], ("FP16", (3, 224, 224)), 'add cast { datatype: "FP16" }'),
        ([RESIZE, SCALE], ("FP32", (150528,)), "three axes beside the batch axis"),
        # the order
        ([RESIZE, DECODE], None, r"steps\[1\] \(decode_image\): .*can only be the first step"),
        ([SCALE, RESIZE], None,
         r"steps\[1\] \(resize\): it works on UINT8 pixels, and steps\[0\] \(scale\) makes other numbers of them: put it before that"),
        ([("normalize", {"mean": [1]}), CROP], None, r"steps\[1\] \(center_crop\): it works on UINT8"),
        ([("cast", {"datatype": "FP32"}), ("pad", SIDES)], None, r"steps\[1\] \(pad\): it works on UINT8"),
        ([SCALE, ("letterbox", SIDES)], None, r"steps\[1\] \(letterbox\): it works on UINT8"),
        ([PLANAR, SCALE], None, r"steps\[1\] \(scale\): transpose must come last"),
        ([PLANAR, PLANAR], None, r"steps\[1\] \(transpose\): transpose must come last"),
        ([PLANAR, RESIZE], None, r"steps\[1\] \(resize\): transpose must come last"),
        ([("cast", {"datatype": "FP16"}), SCALE], None, r"steps\[1\] \(scale\): it works on UINT8 and FP32, and there is a cast to FP16"),
        ([("cast", {"datatype": "INT8"}), ("cast", {"datatype": "FP32"})], None, r"steps\[1\] \(cast\): there is a cast to INT8 before it"),
        ([DECODE, ("log_mel", {})], None, r"steps\[1\] \(log_mel\): it takes no images"),
        ([DECODE, ("tokenize", {})], None, r"steps\[1\] \(tokenize\): it takes no images"),
        # parameters
        ([("resize", {})], None, r"steps\[0\] \(resize\): give one of: height and width, shortest, longest"),
        ([("resize", {"height": 224})], None, "give one of"),
        ([("resize", {"height": 224, "width": 224, "shortest": 5})], None, "give one of"),
        ([("resize", {"shortest": 5, "longest": 5})], None, "give one of"),
        ([("resize", {"height": 70000, "width": 1})], None, "at most 65535 pixels a side are possible, got 70000"),
        ([("letterbox", {"height": 5})], None, "give height and width"),
        ([("letterbox", {"height": 5, "width": 5, "fill": 256})], None, "fill: expected 0 to 255, got 256"),
        ([("center_crop", {})], None, "give height and width"),
        ([("pad", {"width": 5})], None, "give height and width"),
        ([("pad", {"height": 5, "width": 5, "fill": 1000})], None, "fill: expected 0 to 255, got 1000"),
        ([("scale", {"factor": float("nan")})], None, "factor and offset: expected finite numbers"),
        ([("scale", {"offset": float("inf")})], None, "factor and offset: expected finite numbers"),
        ([("scale", {"factor": 3e38})], None, "too large for FP32"),
        ([("normalize", {})], None, "give mean, std or both"),
        ([("normalize", {"mean": [1, 2]})], None, "mean: expected one number, or one for each of 3 channels, got 2"),
        ([("normalize", {"std": [1, 0, 1]})], None, "std: expected numbers above 0"),
        ([("normalize", {"std": [-1]})], None, "std: expected numbers above 0"),
        ([("normalize", {"mean": [float("nan")]})], None, "mean: expected finite numbers"),
        ([("cast", {"datatype": "FLOAT"})], None, "datatype: expected one of FP16, FP32, .* got 'FLOAT'"),
        ([("decode_image", {"background": [1, 2]})], None, "background: expected red, green and blue from 0 to 255"),
        ([("decode_image", {"background": [1, 2, 256]})], None, "background: expected red, green and blue"),
        ([("decode_image", {"color": "GRAY"}), ("reverse_channels", {})], None, r"have 1 channel\(s\): remove it"),
        ([DECODE, ("resize", SIDES | {"exact": True, "antialias": False})], ("UINT8", (224, 224, 3)),
         r"steps\[1\] \(resize\): exact is what Pillow makes, .*, and antialias is false: leave one of the two out"),
        ([("letterbox", SIDES | {"method": "BICUBIC", "exact": True, "antialias": False})], None, r"steps\[0\] \(letterbox\): exact is"),
        ([("decode_image", {"max_pixels": (1 << 30) + 1}), RESIZE], None, "max_pixels: at most 1073741824 are possible, got 1073741825"),
        ([("decode_image", {"max_pixels": 1000}), RESIZE], None, "makes 224 x 224 pixels, more than max_pixels"),
        # sizes that are known
        ([("resize", {"height": 200, "width": 300}), CROP], None,
         r"steps\[1\] \(center_crop\): center_crop takes the middle 224 x 224 .* that is 200 x 300"),
        ([("resize", {"height": 200, "width": 300}), ("pad", SIDES)], None, r"steps\[1\] \(pad\): pad fills up to"),
        # sides that are known
        ([("resize", {"shortest": 200}), CROP], None,
         r"steps\[1\] \(center_crop\): center_crop takes the middle 224 x 224 .* at most 200 and \d+: none is that large; resize them to"),
        ([DECODE, ("resize", {"longest": 224}), ("center_crop", {"height": 225, "width": 1})], None, "at most 224 and 224"),
        ([("resize", {"shortest": 225}), ("pad", SIDES)], None, r"steps\[1\] \(pad\): .* at least 225 and 225: none is that small"),
        ([("decode_image", {"max_pixels": 40_000}), CROP], None, "at most 200 and 40000"),
        ([("decode_image", {"max_pixels": 1000}), ("resize", {"shortest": 32})], None, "makes at least 32 x 32 pixels, more than max_"),
        # scaled
        ([("decode_image", {"scaled": True}), SCALE, PLANAR], ("FP32", (3, -1, -1)),
         r"steps\[0\] \(decode_image\): scaled needs a resize or a letterbox"),
        ([("decode_image", {"scaled": True}), CROP], None, "scaled needs a resize"),
        ([("decode_image", {"scaled": True}), ("resize", SIDES | {"method": "AREA"})], None,
         r"steps\[1\] \(resize\): decode_image is scaled, behind which method is BILINEAR or BICUBIC with antialias, and here is AREA: p"),
        ([("decode_image", {"scaled": True}), ("resize", {"shortest": 9, "method": "NEAREST"})], None, "and here is NEAREST: pixels"),
        ([("decode_image", {"scaled": True}), ("letterbox", SIDES | {"antialias": False})], None,
         r"steps\[1\] \(letterbox\): .* and here is antialias: false: .*; remove scaled, or change this"),
    ],
)  # fmt: skip
def test_lists_that_are_rejected(listed, graph, why) -> None:
    told = rejection(listed, TensorType(*graph) if graph else GRAPH)
    assert re.search(why, told), told


# ---- what requests are told


SMALL: Listed = [("decode_image", {"max_pixels": 1_000_000}), ("resize", {"height": 20, "width": 30}), ("scale", {}), ("transpose", {})]


def test_a_row_that_is_no_picture_is_named() -> None:
    pipeline = compiled(SMALL, TensorType("FP32", (3, 20, 30)), name="photo")
    good = files(photo(40, 50))
    with pytest.raises(InvalidArgument, match=r"input 'photo', row 1: expected a JPEG, PNG, WebP or BMP file, got GIF: convert it first"):
        prepared(pipeline, [*good, memoryview(b"GIF89a"), *good])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "BMP"])
def test_only_the_request_with_the_broken_file_fails(form) -> None:
    pipeline = compiled(SMALL, TensorType("FP32", (3, 20, 30)))
    (good,) = files(photo(40, 50), form=form)
    (wanted,) = prepared(pipeline, [good])
    cut = range(0, len(good) - 60, max(1, len(good) // 25))
    broken = [[[good[:nbytes]]] for nbytes in cut]
    answers = pipeline.prepare([[[good]], *broken, [[good, good]]], lambda place: None)
    assert np.array_equal(answers[0][0][0], wanted)
    assert np.array_equal(answers[-1][0], [wanted, wanted])
    for answer in answers[1:-1]:
        assert isinstance(answer, InvalidArgument)
        assert answer.reason == "bad_content"
        assert str(answer).startswith("input 'x', row 0: ")


def test_one_pixel_is_a_picture() -> None:
    pixels = np.full((1, 1, 3), 200, np.uint8)
    array = prepared(compiled(SMALL, TensorType("FP32", (3, 20, 30))), files(pixels))
    assert np.allclose(array, 200 / 255)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WebP", "BMP"])
def test_what_was_decoded_of_a_rejected_file_is_freed_at_once(form, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def pixels(use, shape):
        array = np.empty(shape, np.uint8)
        made.append(weakref.ref(array))
        return array

    def opened():
        return sum(isinstance(each, Image.Image) for each in gc.get_objects())

    pipeline = compiled([("decode_image", {}), ("resize", {"height": 224, "width": 224}), ("scale", {}), ("transpose", {})])
    (file,) = files(photo(200, 300), form=form)
    broken = {"PNG": png((200, 300), 8, 2, b"\0" * 9000), "JPEG": file[:4000].tobytes() + file[-2:].tobytes()}
    prepared(pipeline, [file])
    gc.collect()
    monkeypatch.setattr(scratch, "pixels", pixels)
    before = opened()
    gc.disable()
    try:
        (answer,) = pipeline.prepare([[[memoryview(broken.get(form, file[: len(file) // 2].tobytes()))]]], lambda place: None)
        assert isinstance(answer, InvalidArgument)
        assert opened() == before
        assert not any(each() is not None for each in made)
    finally:
        gc.enable()


def test_strips_are_rejected() -> None:
    pipeline = compiled(
        [("decode_image", {}), ("resize", {"shortest": 224}), ("center_crop", {"height": 224, "width": 224})],
        TensorType("UINT8", (224, 224, 3)),
    )
    sent = files(np.zeros((1, 2000, 3), np.uint8))
    with pytest.raises(InvalidArgument, match=r"row 0: a picture of 1 x 2000 .* would become 224 x 448000 pixels: .* less of a strip"):
        prepared(pipeline, sent)
    pipeline = compiled([("cast", {"datatype": "FP32"})], TensorType("FP32", (-1, -1, 3)))
    with pytest.raises(InvalidArgument, match="65535 a side"):
        prepared(pipeline, np.zeros((1, 1, 70000, 3), np.uint8))


def test_what_a_resize_may_make_is_limited() -> None:
    pipeline = compiled([("decode_image", {"max_pixels": 10_000}), ("resize", {"shortest": 90})], TensorType("UINT8", (-1, -1, 3)))
    assert prepared(pipeline, files(photo(10, 12))).shape == (1, 90, 108, 3)
    with pytest.raises(InvalidArgument, match="at most 10000 are possible"):
        prepared(pipeline, files(photo(10, 13)))


def test_what_the_rows_of_one_request_become_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(ImagePipeline, "_rows", lambda pipeline, rows, size: made.append(rows) or np.empty((rows, *size, 3), np.uint8))
    listed = [("decode_image", {"max_pixels": 10_000}), ("resize", {"shortest": 50})]
    pipeline = compiled(listed, TensorType("UINT8", (-1, -1, 3)))
    assert prepared(pipeline, files(*[photo(20, 20)] * 4)).shape == (4, 50, 50, 3)
    told = r"row 0: 5 pictures like this one become 5 x 50 x 50 pixels .* at most 10000 \(max_pixels of decode_image\): send fewer"
    with pytest.raises(InvalidArgument, match=told):
        prepared(pipeline, files(*[photo(20, 20)] * 5))
    assert made == [4]  # nothing was made of what is rejected
    pipeline = compiled([*listed, ("resize", {"height": 60, "width": 60})], TensorType("UINT8", (-1, -1, 3)))
    assert prepared(pipeline, files(*[photo(20, 20)] * 5)).shape == (5, 60, 60, 3)  # the configuration says how large it may be


def test_pixels_of_one_request_are_limited_too() -> None:
    pipeline = compiled([("cast", {"datatype": "FP32"})], TensorType("FP32", (-1, -1, 3)))
    with pytest.raises(InvalidArgument, match=r"row 0: 51 pictures like this one become 51 x 1000 x 1000 pixels .* at most 50000000 "):
        prepared(pipeline, np.zeros((51, 1000, 1000, 3), np.uint8))


def test_a_picture_that_does_not_fit_is_rejected() -> None:
    pipeline = compiled([("center_crop", {"height": 20, "width": 20})], TensorType("UINT8", (20, 20, 3)))
    with pytest.raises(InvalidArgument, match=r"row 0: center_crop takes the middle 20 x 20 .* that is 19 x 30: resize it first"):
        prepared(pipeline, np.zeros((1, 19, 30, 3), np.uint8))
    pipeline = compiled([("pad", {"height": 20, "width": 20})], TensorType("UINT8", (20, 20, 3)))
    with pytest.raises(InvalidArgument, match="row 0: pad fills up to 20 x 20"):
        prepared(pipeline, np.zeros((1, 21, 3, 3), np.uint8))
    with pytest.raises(InvalidArgument, match="it has no pixels"):
        prepared(pipeline, np.zeros((1, 0, 3, 3), np.uint8))


def test_rows_that_become_different_sizes_are_rejected() -> None:
    pipeline = compiled(
        [("decode_image", {}), ("resize", {"shortest": 30}), ("scale", {}), ("transpose", {})], TensorType("FP32", (3, -1, -1))
    )
    assert prepared(pipeline, files(photo(40, 60), photo(80, 120))).shape == (2, 3, 30, 45)
    with pytest.raises(InvalidArgument, match=r"row 1: it becomes 45 x 30 \(height x width\), and row 0 30 x 45: .* requests of their own"):
        prepared(pipeline, files(photo(40, 60), photo(60, 40)))


def test_nobody_works_for_a_request_that_is_gone() -> None:
    pipeline = compiled(SMALL, TensorType("FP32", (3, 20, 30)))
    sent = files(photo(40, 50), photo(40, 50), photo(40, 50))
    asked: list[int] = []

    def check(place: int) -> None:
        asked.append(place)
        if place == 1 and asked.count(1) == 4:
            raise Cancelled("nobody waits")

    answers = pipeline.prepare([[sent], [sent], [sent]], check)
    assert asked == [0] * 6 + [1] * 4 + [2] * 6  # before each row, and between its decoding and the rest
    assert isinstance(answers[1], Cancelled)
    assert answers[0][0].shape == answers[2][0].shape == (3, 3, 20, 30)


@settings(max_examples=100)
@given(st.sampled_from(["JPEG", "PNG", "WebP", "BMP"]), st.integers(0, 2000), st.binary(min_size=1, max_size=20))
def test_broken_files_are_rejected_or_pictures(form, at, noise) -> None:
    (file,) = files(photo(24, 20), form=form)
    broken = bytearray(file)
    at %= len(broken)
    broken[at : at + len(noise)] = noise
    pipeline = compiled(SMALL, TensorType("FP32", (3, 20, 30)))
    (answer,) = pipeline.prepare([[[memoryview(broken)]]], lambda place: None)
    if isinstance(answer, RequestError):
        assert isinstance(answer, InvalidArgument)
        assert str(answer).startswith("input 'x', row 0: ")
    else:
        assert answer[0].shape == (1, 3, 20, 30)


# ---- graphs without an axis of channels


def test_gray_pictures_go_into_a_graph_of_two_axes() -> None:
    pixels = photo(40, 30, 1)[:, :, 0]
    listed: Listed = [("decode_image", {"color": "GRAY"}), ("resize", {"height": 8, "width": 6, "exact": True}), ("scale", {"factor": 1.0})]
    pipeline = compiled(listed, TensorType("FP32", (8, 6)))
    assert pipeline.outputs == (("x", TensorType("FP32", (8, 6))),)
    np.testing.assert_array_equal(prepared(pipeline, files(pixels, pixels)), [resized(pixels[..., None], 8, 6)[..., 0]] * 2)


def test_colored_pictures_do_not() -> None:
    assert "C is 3 and must be 1" in rejection(
        [("decode_image", {}), ("resize", {"height": 8, "width": 6}), ("scale", {})], TensorType("FP32", (8, 6))
    )
