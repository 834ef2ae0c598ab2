"""Trains the `digits` example: handwritten digits, 8 x 8 pixels, read by a small neural network.

    python examples/train_digits.py

The data are scikit-learn's copy of the UCI set "Optical Recognition of Handwritten Digits": 1797 real images. Four fifths
train the network; the rest is never shown to it, gives the accuracy that is printed here and checked in the suite,
and is committed as the sample to try the server with. Writes

    examples/models/digits/1/model.onnx     image FP32[rows, 8, 8] -> label INT64[rows], probabilities FP32[rows, 10]
    examples/raw/written_digits/1/model.onnx    the same model; the steps in its folder's config.toml make its input of a picture
    examples/digits_sample.npz              the images and labels that the network has not seen
    examples/digit.npy                      one of those images, FP32[1, 8, 8]
    examples/seven.png                      the same as a picture, dark on white, 160 x 160 pixels

The ONNX graph is written by hand rather than by a converter: it is nine nodes, and takes raw pixels (0 to 16).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

EXAMPLES = Path(__file__).resolve().parent
PIXEL_MAX = 16.0  # the set counts inked dots in 4 x 4 squares
HIDDEN = 64


def graph_of(network: MLPClassifier) -> onnx.ModelProto:
    """The trained network as an ONNX model: pixels in, the most likely digit and all ten probabilities out."""
    constants = {"pixel_max": np.float32(PIXEL_MAX)}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("Div", ["flat", "pixel_max"], ["layer_0"]),
    ]
    last = len(network.coefs_) - 1
    for index, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        constants[f"weight_{index}"] = weight.astype(np.float32)
        constants[f"bias_{index}"] = bias.astype(np.float32)
        nodes.append(helper.make_node("Gemm", [f"layer_{index}", f"weight_{index}", f"bias_{index}"], [f"sum_{index}"]))
        if index < last:
            nodes.append(helper.make_node("Relu", [f"sum_{index}"], [f"layer_{index + 1}"]))
    nodes += [
        helper.make_node("Softmax", [f"sum_{last}"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 8, 8])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="inferd examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def picture(image: np.ndarray) -> Image.Image:
    """8 x 8 squares of ink, 0 to 16 -> a picture with soft edges."""
    ink = Image.fromarray(np.uint8(np.rint(image * (255 / PIXEL_MAX))))
    return ImageOps.invert(ink.resize((160, 160), Image.Resampling.BICUBIC))


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    network = MLPClassifier((HIDDEN,), max_iter=400, random_state=0)
    network.fit(train_images / PIXEL_MAX, train_labels)
    accuracy = network.score(test_images / PIXEL_MAX, test_labels)

    model = graph_of(network)
    for path in (EXAMPLES / folder / "1" / "model.onnx" for folder in ("raw/written_digits", "models/digits")):
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)

    sample = test_images.reshape(-1, 8, 8).astype(np.float32)
    np.savez_compressed(EXAMPLES / "digits_sample.npz", image=sample, label=test_labels.astype(np.int64))
    np.save(EXAMPLES / "digit.npy", sample[:1])
    picture(sample[0]).save(EXAMPLES / "seven.png")
    print(f"{path.name}: {path.stat().st_size} bytes, {accuracy:.1%} of {len(test_labels)} unseen images right")
    print(f"digit.npy shows a {test_labels[0]}")


if __name__ == "__main__":
    main()
