"""What an image costs from its file on: JPEG -> FP32 [3, 224, 224], resized with antialiasing and normalised, on one core.

    python -m venv .peers/images && .peers/images/bin/pip install -r benchmarks/image_requirements.txt
    .peers/images/bin/python benchmarks/image_decode.py [--rounds 200] [--images 4] [--no-history]

Two sizes (1 and 4 megapixels, no multiples of 8; quality 90, 4:2:0), each decoded whole and scaled down on the way. Beside inferd's
pipeline, as a model has it, stand Pillow, torchvision, OpenCV and simplejpeg as far as they are installed in this Python; what is not is
named. Everything takes turns in one process on one thread, and answers are compared before anything is timed. A line goes to
benchmarks/history/image_decode.jsonl. Nothing is asked over a network: image_cost.py does that.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import record  # noqa: E402

from inferd.protocol import options  # noqa: E402 - the tree's, whichever Python runs this
from inferd.steps.image import compile_image  # noqa: E402
from inferd.steps.pipeline import EntryPlace, TensorType  # noqa: E402

HISTORY = ROOT / "benchmarks" / "history" / "image_decode.jsonl"
SIZES = {"1 MP": (803, 1200), "4 MP": (1633, 2449)}  # as cameras and screens have them, in which blocks of 8 and 16 do not come out even
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FACTORS = [1 / 255 / std for std in STD]
OFFSETS = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
LEVEL = min(FACTORS)  # what one level of 255 is in the tensor, of the channel that shows it least
PACKAGES = ("numpy", "pillow", "torch", "torchvision", "opencv-python-headless", "simplejpeg")

Array = np.ndarray[Any, np.dtype[Any]]
Way = Callable[[bytes], Array]  # the file -> FP32 [3, SIDE, SIDE]
FULL = "inferd"
SCALED = "inferd scaled"
ASKED_OF_SCALED = {"torchvision": 1.4, "Pillow": 2.0, "Pillow draft": 1.1, "simplejpeg scaled + opencv INTER_AREA": 1.1}
ASKED = {  # how many times as long as inferd's each takes at least
    "1 MP": {FULL: {"torchvision": 1.15, "Pillow": 1.6, "opencv INTER_AREA": 1.0}, SCALED: ASKED_OF_SCALED},
    "4 MP": {FULL: {}, SCALED: ASKED_OF_SCALED},
}


def photos(height: int, width: int, count: int) -> list[bytes]:
    """Files of pictures that have the spectrum of photographs: amplitude falls with frequency, as it does in nature."""
    random = np.random.default_rng(11)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    amplitude = 1 / np.maximum(frequency, 1) ** 1.35
    made = []
    for _ in range(count):
        shared = random.normal(size=(height, width))
        planes = []
        for _ in range(3):
            noise = 0.85 * shared + 0.15 * random.normal(size=(height, width))
            plane = np.fft.irfft2(np.fft.rfft2(noise) * amplitude, (height, width))
            planes.append(128 + 55 * plane / plane.std())
        file = io.BytesIO()
        Image.fromarray(np.clip(np.stack(planes, axis=2), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90, subsampling="4:2:0")
        made.append(file.getvalue())
    return made


def normalized(pixels: Array) -> Array:
    """The fastest way found with numpy: a plane at a time, in place."""
    out = np.empty((3, SIDE, SIDE), np.float32)
    for channel in range(3):
        plane = out[channel]
        np.multiply(pixels[:, :, channel], np.float32(FACTORS[channel]), out=plane, dtype=np.float32)
        plane += np.float32(OFFSETS[channel])
    return out


def inferd_way(scaled: bool) -> Way:
    listed: list[dict[str, Any]] = [
        {"decode_image": {"scaled": scaled}},
        {"resize": {"height": SIDE, "width": SIDE}},
        {"scale": {}},
        {"normalize": {"mean": MEAN, "std": STD}},
        {"transpose": {}},
    ]
    entry = options.Preprocess(steps=[options.Step(**step) for step in listed])
    pipeline = compile_image(entry, EntryPlace("benchmark", {"image": TensorType("FP32", (3, SIDE, SIDE))}))

    def way(file: bytes) -> Array:
        (answer,) = pipeline.prepare([[[memoryview(file)]]], lambda place: None)
        if isinstance(answer, Exception):
            raise answer
        return answer[0][0]

    return way


def pillow_ways() -> dict[str, Way]:
    def way_of(draft: bool) -> Way:
        def way(file: bytes) -> Array:
            image: Image.Image = Image.open(io.BytesIO(file))
            # A scaled picture ends within its last row and column of pixels; the box says where.
            _, box = (image.draft("RGB", (SIDE, SIDE)) if draft else None) or ("", None)
            return normalized(np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)))

        return way

    return {"Pillow": way_of(False), "Pillow draft": way_of(True)}


def torchvision_ways() -> dict[str, Way]:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)

    def way(file: bytes) -> Array:
        with torch.inference_mode():
            planes = decode_jpeg(torch.frombuffer(bytearray(file), dtype=torch.uint8), mode=ImageReadMode.RGB)
            small = functional.resize(planes, [SIDE, SIDE], antialias=True)
            values = functional.normalize(functional.to_dtype(small, torch.float32, scale=True), list(MEAN), list(STD))
        array: Array = values.numpy()
        return array

    return {"torchvision": way}


def opencv_ways() -> dict[str, Way]:
    import cv2

    cv2.setNumThreads(1)

    def way_of(flag: int) -> Way:
        def way(file: bytes) -> Array:
            pixels = cv2.imdecode(np.frombuffer(file, np.uint8), flag)
            return normalized(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1])

        return way

    return {
        "opencv INTER_AREA": way_of(cv2.IMREAD_COLOR),
        "opencv REDUCED_2 + INTER_AREA": way_of(cv2.IMREAD_REDUCED_COLOR_2),
    }


def simplejpeg_ways() -> dict[str, Way]:
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)

    def way(file: bytes) -> Array:
        pixels = simplejpeg.decode_jpeg(file, "RGB", min_height=SIDE, min_width=SIDE)
        return normalized(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA))

    return {"simplejpeg scaled + opencv INTER_AREA": way}


def all_ways() -> tuple[dict[str, Way], list[str]]:
    """Every way that can be gone here, and what is missing for the others."""
    ways: dict[str, Way] = {FULL: inferd_way(False), SCALED: inferd_way(True)}
    missing = []
    for library in (pillow_ways, torchvision_ways, opencv_ways, simplejpeg_ways):
        try:
            ways |= library()
        except ImportError as error:
            missing.append(str(error))
    return ways, missing


def differences(ways: dict[str, Way], files: list[bytes]) -> dict[str, dict[str, float]]:
    """To a whole decode in Pillow, in levels of 255: the mean and the largest. Raises AssertionError where an answer is another's."""
    found = {}
    for name, way in ways.items():
        apart = np.stack([np.abs(way(file) - ways["Pillow"](file)) / LEVEL for file in files])
        found[name] = {"mean": round(float(apart.mean()), 3), "largest": round(float(apart.max()), 2)}
        if name in (FULL, "torchvision"):
            assert apart.max() <= 1.3, f"{name} differs by {apart.max()} levels"
        if name in (SCALED, "Pillow draft"):  # a part of a pixel beside it, as the others are that are scaled, is 1.5 and more
            assert apart.mean() <= 0.7, f"{name} differs by {apart.mean()} levels in the mean"
        assert apart.mean() < 5, f"{name} differs by {apart.mean()} levels in the mean"
    return found


def medians_ms(ways: dict[str, Way], files: list[bytes], rounds: int) -> dict[str, float]:
    """Everything takes turns, a call each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter_ns()
            way(files[turn % len(files)])
            times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: round(statistics.median(calls), 3) for name, calls in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="JPEG to tensor beside Pillow, torchvision, OpenCV and simplejpeg.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--no-history", action="store_true")
    given = parser.parse_args()
    load_1m = round(os.getloadavg()[0], 2)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ways, missing = all_ways()
    for reason in missing:
        print(f"left out: {reason}")
    report = record.Report(given.rounds, 0.0)
    for size, (height, width) in SIZES.items():
        files = photos(height, width, given.images)
        apart = differences(ways, files)
        medians = medians_ms(ways, files, given.rounds)
        kilobytes = sum(map(len, files)) // len(files) // 1000
        for name, median in medians.items():
            levels = f"{apart[name]['mean']:.2f} levels in the mean, {apart[name]['largest']:.1f} at most"
            report.add(f"JPEG to tensor, {size} ({kilobytes} KB): {name}", "", f"{median:.2f} ms, differs by {levels}")
        ratios: dict[str, dict[str, float]] = {}
        for own, asked in ASKED[size].items():
            ratios[own] = {name: round(medians[name] / medians[own], 2) for name in medians if own in medians and not name.startswith(FULL)}
            for name, least in asked.items():
                if name in ratios[own]:
                    report.add(
                        f"{own}, {size}: times as fast as {name}", f">= {least}", f"{ratios[own][name]:.2f}", ratios[own][name] >= least
                    )
        report.numbers[size] = {"medians_ms": medians, "ratios": ratios, "differences_levels": apart}
    if not given.no_history:
        record.append(HISTORY, report, {"rounds": given.rounds, "images": given.images, "load_1m": load_1m}, packages=PACKAGES)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
