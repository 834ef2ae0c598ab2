"""Trains the `spoken_digits` example: zero to nine, said by synthetic voices, told apart by a small neural network.

    apt install espeak-ng
    pip install 'inferd[audio,examples]'
    python examples/train_spoken_digits.py

eSpeak NG says the ten words in several accents, voices, speeds and pitches. Some of the voices never train the network: they give
the accuracy that is printed here. What the network learns from are the features that the server will make: the steps in the
model's config.pbtxt, compiled by inferd itself, so that training and serving cannot differ. Reads

    examples/raw/spoken_digits/config.pbtxt       the steps
    examples/raw/spoken_digits/labels.txt         the words

and writes

    examples/raw/spoken_digits/1/model.onnx       log_mel FP32[rows, 40, 100] -> logits FP32[rows, 10]
    examples/seven.wav                               a clip of a voice that the network has not heard, 22 kHz, 16 bits
    examples/spoken_digits/zero.ogg ... nine.ogg     all ten words of another such voice
"""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier

from inferd.engine.configuration.model_config import read_model_config
from inferd.steps.audio import compile_audio
from inferd.steps.pipeline import Array, EntryPlace, InputPipeline, TensorType

EXAMPLES = Path(__file__).resolve().parent
MODEL = EXAMPLES / "raw" / "spoken_digits"
WORDS = (MODEL / "labels.txt").read_text(encoding="utf-8").split()

ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
VOICES = ["m1", "m2", "m3", "m5", "m6", "m7", "f1", "f2", "f3", "f5", "klatt", "klatt2", "klatt3", "Alex", "Andy", "Annie", "Lee"]
VOICES += ["adam", "belinda", "david", "ed", "linda", "paul", "rob"]
UNHEARD = ["m4", "f4", "m8", "klatt4", "Mike", "steph"]
WORDS_A_MINUTE = (130, 175)
PITCHES = (35, 65)

MELS, FRAMES = 40, 100
POOLED_FRAMES = 5  # are one, for the network
HIDDEN = 48
COPIES = 3  # of each clip, each with a beginning, a loudness and a noise of its own


def said(word: str, accent: str, voice: str, words_a_minute: int, pitch: int) -> tuple[Array, int]:
    """One word as eSpeak NG says it: samples and their rate."""
    command = ["espeak-ng", "--stdout", "-v", f"{accent}+{voice}", "-s", str(words_a_minute), "-p", str(pitch), word]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return samples, rate


def recordings(voices: list[str]) -> list[tuple[int, Array, int]]:
    """(digit, samples, rate) of every word in every way that those voices say it."""
    ways = list(itertools.product(range(len(WORDS)), ACCENTS, voices, WORDS_A_MINUTE, PITCHES))
    with ThreadPoolExecutor() as pool:
        clips = pool.map(lambda way: said(WORDS[way[0]], *way[1:]), ways)
        return [(way[0], *clip) for way, clip in zip(ways, clips, strict=True)]


def varied(samples: Array, rate: int, random: np.random.Generator) -> Array:
    """The same with a beginning, a loudness and a noise of its own."""
    silence = np.zeros(int(random.uniform(0, 0.25) * rate), np.float32)
    clip = np.concatenate([silence, samples, np.zeros(rate // 2, np.float32)]) * random.uniform(0.2, 1.2)
    noise = random.normal(0, 10 ** random.uniform(-4, -1.8), len(clip))
    return np.clip(clip + noise, -1, 1).astype(np.float32)


def steps() -> InputPipeline:
    """The model's own, as the server compiles them."""
    (entry,) = read_model_config(MODEL, MODEL.name).config.inferd.preprocess
    return compile_audio(entry, EntryPlace(MODEL.name, {"log_mel": TensorType("FP32", (MELS, FRAMES))}, (MODEL,)))


def features(pipeline: InputPipeline, clips: list[tuple[Array, int]]) -> Array:
    """What the graph would get for each of these clips, sent as WAV files."""
    rows = []
    for samples, rate in clips:
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
        (prepared,) = pipeline.prepare([[[memoryview(file.getvalue())]]], lambda request: None)
        if isinstance(prepared, Exception):
            raise prepared
        rows.append(prepared[0][0])
    return np.stack(rows)


def pooled(log_mel: Array) -> Array:
    """As the graph pools it: the mean of each POOLED_FRAMES frames, flat."""
    mean: Array = log_mel.reshape(len(log_mel), MELS, -1, POOLED_FRAMES).mean(axis=3)
    return mean.reshape(len(log_mel), -1)


def graph_of(network: MLPClassifier, mean: Array, std: Array) -> onnx.ModelProto:
    """The trained network as an ONNX model. Standardizing its inputs is part of the first layer's numbers."""
    first, *weights = network.coefs_
    weights = [first / std[:, np.newaxis], *weights]
    biases = [network.intercepts_[0] - (mean / std) @ first, *network.intercepts_[1:]]
    names = ["layer_0", "logits"]
    nodes: list[Any] = [
        helper.make_node("AveragePool", ["log_mel"], ["pooled"], kernel_shape=[POOLED_FRAMES], strides=[POOLED_FRAMES]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight_0", "bias_0"], [names[0]]),
        helper.make_node("Relu", [names[0]], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "weight_1", "bias_1"], [names[1]]),
    ]
    constants = {f"weight_{index}": weight for index, weight in enumerate(weights)}
    constants |= {f"bias_{index}": bias for index, bias in enumerate(biases)}
    graph = helper.make_graph(
        nodes,
        "spoken_digits",
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["rows", MELS, FRAMES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(WORDS)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="inferd examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    if shutil.which("espeak-ng") is None:
        raise SystemExit(
            "espeak-ng, which says the words, is not installed: apt install espeak-ng, or https://github.com/espeak-ng/espeak-ng"
        )
    random = np.random.default_rng(0)
    heard, unheard = recordings(VOICES), recordings(UNHEARD)
    pipeline = steps()
    train = [(digit, varied(samples, rate, random), rate) for digit, samples, rate in heard for _ in range(COPIES)]
    test = [(digit, varied(samples, rate, random), rate) for digit, samples, rate in unheard]
    train_x = pooled(features(pipeline, [clip[1:] for clip in train]))
    test_x = pooled(features(pipeline, [clip[1:] for clip in test]))
    mean, std = train_x.mean(axis=0), train_x.std(axis=0) + 1e-3

    network = MLPClassifier((HIDDEN,), alpha=1e-2, max_iter=60, early_stopping=True, random_state=0)
    network.fit((train_x - mean) / std, [clip[0] for clip in train])
    accuracy = network.score((test_x - mean) / std, [clip[0] for clip in test])

    path = MODEL / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph_of(network, mean, std), path)

    samples, rate = said("seven", "en-gb", "f4", 150, 50)
    soundfile.write(EXAMPLES / "seven.wav", samples, rate, subtype="PCM_16")
    (EXAMPLES / "spoken_digits").mkdir(exist_ok=True)
    for word in WORDS:
        samples, rate = said(word, "en-us", "m4", 150, 50)
        soundfile.write(EXAMPLES / "spoken_digits" / f"{word}.ogg", samples, rate, format="OGG", subtype="VORBIS")
    print(f"{path.name}: {path.stat().st_size} bytes, {accuracy:.1%} of {len(test)} words of unheard voices right")


if __name__ == "__main__":
    main()
