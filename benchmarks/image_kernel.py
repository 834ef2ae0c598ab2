"""What making a tensor of decoded pixels costs: UINT8 [800, 1280, 3] -> FP32 [3, 224, 224], resized and normalized, on one core.

    python benchmarks/image_kernel.py [--rounds 15] [--images 1] [--no-history]

Beside inferd's kernel stand Pillow, torchvision and OpenCV, each as far as it is installed in this Python: a virtual environment of
its own keeps their numpy away from the tree's (pip install -e . pillow torchvision opencv-python-headless). Everything takes turns in
one process, on one thread; answers are checked before anything is timed. --images: how many pictures take turns, which is whether they
are still in the caches (3 MB each). No file is read, nothing is decoded. A line goes to benchmarks/history/image_kernel.jsonl.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import record

from inferd._core.media.image import Transform, instruction_sets  # the tree's, whichever Python runs this

HISTORY = Path(__file__).resolve().parent / "history" / "image_kernel.jsonl"
PACKAGES = ("pillow", "torch", "torchvision", "opencv-python-headless")
HEIGHT, WIDTH, SIDE = 800, 1280, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FACTORS = [1 / 255 / std for std in STD]
OFFSETS = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
LEVEL = max(FACTORS)  # what one level of 255 is in the tensor

Array = np.ndarray[Any, np.dtype[Any]]
Way = Callable[[int], Array]  # the picture's number -> FP32 [3, SIDE, SIDE]
ASKED = {
    "antialiased": {"torchvision": 1.8, "opencv INTER_AREA + numpy": 5.0, "Pillow + numpy": 5.0},
    "plain bilinear": {"opencv INTER_LINEAR + numpy": 1.5},
}


def pictures(count: int) -> list[Array]:
    """Slopes, edges and noise, as photographs have."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    made = []
    for number in range(count):
        waves = [128 + 90 * np.sin(x / (20 + 7 * c + number) + y / (33 - 5 * c)) for c in range(3)]
        noise = random.normal(0, 12, (HEIGHT, WIDTH, 3))
        made.append(np.clip(np.stack(waves, axis=2) + 40 * ((x // 160 + y // 100) % 2)[:, :, None] + noise, 0, 255).astype(np.uint8))
    return made


def normalized(pixels: Array) -> Array:
    """The fastest way found with numpy: a plane at a time, in place."""
    out = np.empty((3, SIDE, SIDE), np.float32)
    for channel in range(3):
        plane = out[channel]
        np.multiply(pixels[:, :, channel], np.float32(FACTORS[channel]), out=plane, dtype=np.float32)
        plane += np.float32(OFFSETS[channel])
    return out


def inferd_way(images: list[Array], **options: Any) -> Way:
    transform = Transform((SIDE, SIDE), channels=3, factors=FACTORS, offsets=OFFSETS, datatype="FP32", channels_first=True, **options)

    def way(number: int) -> Array:
        out = np.empty((3, SIDE, SIDE), np.float32)
        transform.apply(images[number], out, (SIDE, SIDE))
        return out

    return way


def pillow_ways(images: list[Array]) -> dict[str, dict[str, Way]]:
    from PIL import Image

    opened = [Image.fromarray(image) for image in images]
    bilinear = Image.Resampling.BILINEAR
    return {"antialiased": {"Pillow + numpy": lambda number: normalized(np.asarray(opened[number].resize((SIDE, SIDE), bilinear)))}}


def torchvision_ways(images: list[Array]) -> dict[str, dict[str, Way]]:
    import torch
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)
    planes = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]  # as its decoder gives them
    views = [torch.from_numpy(image).permute(2, 0, 1) for image in images]

    def way_of(tensors: list[Any], antialias: bool) -> Way:
        def way(number: int) -> Array:
            with torch.inference_mode():
                small = functional.resize(tensors[number], [SIDE, SIDE], antialias=antialias)
                values = functional.normalize(functional.to_dtype(small, torch.float32, scale=True), list(MEAN), list(STD))
            array: Array = values.numpy()
            return array

        return way

    # The better of both layouts is what it is compared by.
    return {
        name: {"torchvision planes": way_of(planes, antialias), "torchvision views": way_of(views, antialias)}
        for name, antialias in (("antialiased", True), ("plain bilinear", False))
    }


def opencv_ways(images: list[Array]) -> dict[str, dict[str, Way]]:
    import cv2

    cv2.setNumThreads(1)

    def way_of(method: int) -> Way:
        return lambda number: normalized(cv2.resize(images[number], (SIDE, SIDE), interpolation=method))

    return {
        "antialiased": {"opencv INTER_AREA + numpy": way_of(cv2.INTER_AREA)},
        "plain bilinear": {"opencv INTER_LINEAR + numpy": way_of(cv2.INTER_LINEAR)},
    }


def check(ways: dict[str, Way], same: set[str]) -> dict[str, float]:
    """The largest difference to inferd in levels of 255; raises AssertionError where one of `same` is more than one away."""
    expected = ways["inferd"](0)
    differences = {}
    for name, way in ways.items():
        differences[name] = round(float(np.abs(way(0) - expected).max()) / LEVEL, 3)
        assert name not in same or differences[name] <= 1.05, f"{name} differs by {differences[name]} levels"
    return differences


def medians_us(ways: dict[str, Way], images: int, rounds: int) -> dict[str, float]:
    """Everything takes turns, some 30 calls each; the median of the rounds' medians."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way(0)
            calls = []
            for call in range(30):
                start = time.perf_counter_ns()
                way(call % images)
                calls.append((time.perf_counter_ns() - start) / 1000)
            times[name].append(statistics.median(calls))
    return {name: round(statistics.median(of_rounds), 1) for name, of_rounds in times.items()}


def compared(medians: dict[str, float]) -> dict[str, float]:
    """How many times as long as inferd each takes; of torchvision's layouts the better."""
    others = {name: median for name, median in medians.items() if not name.startswith(("inferd", "torchvision"))}
    layouts = [median for name, median in medians.items() if name.startswith("torchvision")]
    if layouts:
        others["torchvision"] = min(layouts)
    return {name: round(median / medians["inferd"], 2) for name, median in others.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="The image kernel beside Pillow, torchvision and OpenCV.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--no-history", action="store_true")
    given = parser.parse_args()
    load_1m = round(os.getloadavg()[0], 2)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    images = pictures(given.images)
    tables: dict[str, dict[str, Way]] = {
        "antialiased": {"inferd": inferd_way(images), "inferd exact": inferd_way(images, exact=True)},
        "plain bilinear": {"inferd": inferd_way(images, antialias=False)},
    }
    for name in instruction_sets()[1:]:
        tables["antialiased"][f"inferd {name}"] = inferd_way(images, instruction_set=name)
    for library in (pillow_ways, torchvision_ways, opencv_ways):
        try:
            for table, ways in library(images).items():
                tables[table] |= ways
        except ImportError as error:
            print(f"left out: {error}")
    report = record.Report(given.rounds, 0.0)
    for table, ways in tables.items():
        differences = check(ways, {name for name in ways if "INTER_AREA" not in name})
        medians = medians_us(ways, given.images, given.rounds)
        ratios = compared(medians)
        report.numbers[table] = {"medians_us": medians, "ratios": ratios, "largest_differences_levels": differences}
        for name, median in medians.items():
            report.add(f"pixels to tensor, {table}: {name}", "", f"{median:,.0f} us, differs by {differences[name]:.2f} levels at most")
        for name, asked in ASKED[table].items():
            if name in ratios:
                report.add(f"same: times as fast as {name}", f">= {asked}", f"{ratios[name]:.2f}", ratios[name] >= asked)
    if not given.no_history:
        settings = {"rounds": given.rounds, "images": given.images, "instruction_set": instruction_sets()[0], "load_1m": load_1m}
        record.append(HISTORY, report, settings, packages=PACKAGES)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
