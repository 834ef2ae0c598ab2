"""What each step of docs/preprocessing.md costs: one row on one core, in this process, medians; where many rows gain, of many, too.

    python benchmarks/step_cost.py [--rounds 5] [--no-history]

Inputs are of everyday sizes: a JPEG of one megapixel, ten seconds of sound, a sentence of 23 tokens, a record of twelve columns, the
scores of 1000 classes, a detector's 8400 boxes. Times are of whole pipelines as a model has them, without a server around them. A
line goes to benchmarks/history/step_cost.jsonl.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import record
import soundfile
from PIL import Image
from sklearn.datasets import load_sample_image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from inferd.protocol import options
from inferd.steps.audio import compile_audio
from inferd.steps.image import compile_image
from inferd.steps.outputs import compile_output
from inferd.steps.pipeline import EntryPlace, InputPipeline, TensorType
from inferd.steps.table import compile_table
from inferd.steps.text import compile_text

HISTORY = Path(__file__).resolve().parent / "history" / "step_cost.jsonl"
LEAST_S = 0.05  # that one round of one step takes
TOGETHER = 64
RATE = 16_000
Listed = Sequence[dict[str, Any]]
Case = tuple[str, Callable[[], object], int]  # what, one call, rows of it


def row_us(call: Callable[[], object], rows: int, rounds: int) -> float:
    """The median time of one row."""
    call()
    begun = time.perf_counter()
    call()
    repeats = max(1, round(LEAST_S / max(time.perf_counter() - begun, 1e-7)))
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(repeats):
            call()
        took.append((time.perf_counter() - begun) / repeats / rows * 1e6)
    return statistics.median(took)


def prepares(pipeline: InputPipeline, values: Any, requests: int = 1) -> Callable[[], object]:
    """A call of the pipeline with so many requests of these values."""
    given = [values] * requests

    def call() -> object:
        found = pipeline.prepare(given, lambda place: None)
        if isinstance(found[0], Exception):
            raise found[0]
        return found

    return call


def entry(steps: Listed) -> options.Preprocess:
    return options.Preprocess(steps=[options.Step(**step) for step in steps])


def images() -> Iterator[Case]:
    photo = Image.fromarray(load_sample_image("china.jpg")).resize((1280, 854), Image.Resampling.BICUBIC).crop((0, 0, 1280, 800))
    pixels = np.ascontiguousarray(np.asarray(photo))
    small = np.ascontiguousarray(pixels[:256, :256])

    def encoded(form: str, **how: Any) -> list[memoryview]:
        content = io.BytesIO()
        photo.save(content, form, **how)
        return [memoryview(content.getvalue())]

    def pixel_steps(steps: Listed, result: TensorType, given: Any) -> Callable[[], object]:
        return prepares(compile_image(entry(steps), EntryPlace("", {"x": result})), [given[None]])

    free, square = TensorType("UINT8", (-1, -1, 3)), TensorType("UINT8", (224, 224, 3))
    decode = compile_image(entry([{"decode_image": {}}]), EntryPlace("", {"x": free}))
    for form, how in (("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {"quality": 90}), ("BMP", {})):
        yield f"decode_image {form}", prepares(decode, [encoded(form, **how)]), 1
    for scaled in (False, True):
        steps = [{"decode_image": {"scaled": scaled}}, {"resize": {"height": 224, "width": 224}}]
        together = compile_image(entry(steps), EntryPlace("", {"x": square}))
        yield f"decode_image JPEG, resize{', scaled' if scaled else ''}", prepares(together, [encoded("JPEG", quality=90)]), 1
    size = {"height": 224, "width": 224}
    for what, how in (
        ("", {}),
        (", antialias false", {"antialias": False}),
        (", BICUBIC", {"method": "BICUBIC"}),
        (", exact", {"exact": True}),
    ):
        yield f"resize{what}", pixel_steps([{"resize": size | how}], square, pixels), 1
    yield "letterbox", pixel_steps([{"letterbox": size}], square, pixels), 1
    yield "center_crop", pixel_steps([{"center_crop": size}], square, small), 1
    yield "pad", pixel_steps([{"pad": {"height": 320, "width": 320}}], TensorType("UINT8", (320, 320, 3)), small), 1
    yield "reverse_channels", pixel_steps([{"center_crop": size}, {"reverse_channels": {}}], square, small), 1
    numbers: Listed = [{"center_crop": size}, {"scale": {}}, {"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}]
    yield "scale, normalize", pixel_steps(numbers, TensorType("FP32", (224, 224, 3)), small), 1
    yield "scale, normalize, transpose", pixel_steps([*numbers, {"transpose": {}}], TensorType("FP32", (3, 224, 224)), small), 1
    half = [{"center_crop": size}, {"scale": {}}, {"cast": {"datatype": "FP16"}}]
    yield "cast to FP16", pixel_steps(half, TensorType("FP16", (224, 224, 3)), small), 1


def audio() -> Iterator[Case]:
    seconds = np.arange(10 * RATE) / RATE
    sound = (0.3 * np.sin(2 * np.pi * 440 * seconds) + 0.02 * np.random.default_rng(0).normal(size=len(seconds))).astype(np.float32)

    def encoded(form: str, rate: int = RATE) -> list[memoryview]:
        content = io.BytesIO()
        soundfile.write(content, sound if rate == RATE else np.interp(np.arange(10 * rate) / rate, seconds, sound), rate, format=form)
        return [memoryview(content.getvalue())]

    def steps(listed: Listed, shape: tuple[int, ...], values: Any) -> Callable[[], object]:
        return prepares(compile_audio(entry(listed), EntryPlace("", {"x": TensorType("FP32", shape)})), [values])

    samples = {"samples": {"sample_rate": RATE}}
    for form in ("WAV", "FLAC", "OGG", "MP3"):
        yield f"decode_audio {form}", steps([{"decode_audio": {"sample_rate": RATE}}], (-1,), encoded(form)), 1
    yield "decode_audio WAV, 44.1 to 16 kHz", steps([{"decode_audio": {"sample_rate": RATE}}], (-1,), encoded("WAV", 44_100)), 1
    yield "samples", steps([samples], (-1,), sound[None]), 1
    yield "resample 16 to 8 kHz", steps([samples, {"resample": {"sample_rate": 8_000}}], (-1,), sound[None]), 1
    yield "fit_length to 30 s", steps([samples, {"fit_length": {"samples": 30 * RATE}}], (30 * RATE,), sound[None]), 1
    yield "log_mel", steps([samples, {"log_mel": {}}], (80, -1), sound[None]), 1
    yield "mfcc", steps([samples, {"mfcc": {}}], (20, -1), sound[None]), 1


def texts(folder: Path) -> Iterator[Case]:
    words = Tokenizer(WordLevel({"[UNK]": 0, **{f"word{number}": number for number in range(1, 200)}}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    words.save(str(folder / "tokenizer.json"))
    free = {name: TensorType("INT64", (-1,)) for name in ("input_ids", "attention_mask", "token_type_ids")}
    pipeline = compile_text(entry([{"tokenize": {}}]), EntryPlace("", free, (folder,)))
    sentence = [memoryview(" ".join(f"word{number}" for number in range(1, 24)).encode())]
    yield "tokenize", prepares(pipeline, [sentence]), 1
    yield f"tokenize, of {TOGETHER}", prepares(pipeline, [sentence], TOGETHER), TOGETHER


def tables() -> Iterator[Case]:
    names = [f"column{number}" for number in range(12)]
    values = {name: number + 0.5 for number, name in enumerate(names)}
    texts = {name: f"value{number}" for number, name in enumerate(names)}
    times = {name: f"2024-05-01T{number:02}:30:00Z" for number, name in enumerate(names)}

    def as_json(record: dict[str, Any]) -> list[list[memoryview]]:
        return [[memoryview(json.dumps(record).encode())]]

    def encoded(**how: Any) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": "BYTES", **how} for name in names]

    numbers = [{"name": name} for name in names]
    as_csv = [[memoryview(",".join(map(str, values.values())).encode())]]
    as_tensors = [np.full((1, 1), value, np.float32) for value in values.values()]
    cases: list[tuple[str, str, list[dict[str, Any]], Any]] = [
        ("JSON", "JSON", numbers, as_json(values)),
        ("CSV", "CSV", numbers, as_csv),
        ("ARROW", "ARROW", numbers, [[arrow(values)]]),
        ("TENSORS", "TENSORS", numbers, as_tensors),
        ("JSON, vocabulary", "JSON", encoded(vocabulary={"values": [f"value{number}" for number in range(100)]}), as_json(texts)),
        ("JSON, hash", "JSON", encoded(hash={"buckets": 1024}), as_json(texts)),
        ("JSON, date_time", "JSON", encoded(date_time={"parts": ["HOUR"]}), as_json(times)),
    ]
    for what, form, columns, given in cases:
        place = EntryPlace("", {"x": TensorType("FP32" if columns is numbers else "INT64", (len(names),))})
        pipeline = compile_table(entry([{"columns": {"format": form, "columns": columns}}]), place)
        yield f"columns {what}", prepares(pipeline, given), 1
        yield f"columns {what}, of {TOGETHER}", prepares(pipeline, given, TOGETHER), TOGETHER


def arrow(values: dict[str, float]) -> memoryview:
    """A record as an Arrow IPC stream."""
    batch = pyarrow.record_batch({name: [value] for name, value in values.items()})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue().to_pybytes())


def outputs(folder: Path) -> Iterator[Case]:
    (folder / "labels.txt").write_text("".join(f"label {number}\n" for number in range(1000)))
    random = np.random.default_rng(0)

    def steps(listed: Listed, kind: TensorType, array: Any, inputs: Any = None) -> Callable[[], object]:
        place = EntryPlace("", {"y": kind}, (folder,), {"attention_mask": TensorType("INT64", (-1,))})
        pipeline = compile_output(options.Postprocess(steps=[options.OutputStep(**step) for step in listed]), place)
        return lambda: pipeline.finish(array, inputs or {})

    classes = TensorType("FP32", (1000,))
    for rows in (1, TOGETHER):
        scores = random.normal(size=(rows, 1000)).astype(np.float32)
        of = f", of {rows}" if rows > 1 else ""
        for what, listed in (
            ("softmax", [{"softmax": {}}]),
            ("sigmoid", [{"sigmoid": {}}]),
            ("argmax", [{"argmax": {}}]),
            ("top_k with labels", [{"top_k": {"k": 5, "labels": "labels.txt"}}]),
            ("l2_normalize", [{"l2_normalize": {}}]),
        ):
            yield f"{what}{of}", steps(listed, classes, scores), rows
    tokens = random.normal(size=(32, 128, 384)).astype(np.float32)
    mask = {"attention_mask": np.ones((32, 128), np.int64)}
    yield "mean_pool, of 32", steps([{"mean_pool": {}}], TensorType("FP32", (-1, 384)), tokens, mask), 32
    boxes = random.random((1, 84, 8400)).astype(np.float32) ** 8
    boxes[:, :4] *= 640
    detect = [{"detect_boxes": {}}]
    yield "detect_boxes", steps(detect, TensorType("FP32", (84, 8400)), boxes), 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-history", action="store_true")
    given = parser.parse_args()
    report = record.Report(given.rounds, LEAST_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in (images(), audio(), texts(folder), tables(), outputs(folder)):
            for what, call, rows in case:
                cost_us = row_us(call, rows, given.rounds)
                report.add(what, "", f"{cost_us:,.1f} us")
                report.numbers[what] = round(cost_us, 2)
    if not given.no_history:
        record.append(HISTORY, report, {"rounds": given.rounds}, {})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
