"""Small ONNX graphs for all tests, each a function that returns the bytes of one model.

`write(folder, name, model)` puts one into a file; `repository(folder, {...})` lays out a Triton-style repository.
Nothing here is random: a model of the same name always holds the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]
Tensor = tuple[str, str, Shape]  # name, datatype word, shape; a str is a symbol, None an unnamed dynamic axis

ONNX_TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}
DATATYPES = tuple(ONNX_TYPES)


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[Tensor], outputs: Sequence[Tensor], constants: Mapping[str, Any] | None = None
) -> bytes:
    """The bytes of a checked model."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [_declared(tensor) for tensor in inputs],
        [_declared(tensor) for tensor in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return _finished(graph)


def _finished(graph: onnx.GraphProto) -> bytes:
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def _declared(tensor: Tensor) -> onnx.ValueInfoProto:
    name, word, shape = tensor
    return helper.make_tensor_value_info(name, ONNX_TYPES[word], shape)


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, outputs, **attributes)


# ---------------------------------------------------------------------------------------------------------------------
# With a batch axis


def identity(datatype: str = "FP32", dims: Shape = (16,), batch: int | str | None = "N") -> bytes:
    """x -> y = x. The tiny model of the benchmarks: FP32[N,16]."""
    return model([_node("Identity", ["x"], ["y"])], [("x", datatype, (batch, *dims))], [("y", datatype, (batch, *dims))])


def add(dims: Shape = (16,)) -> bytes:
    """a, b -> sum = a + b, difference = a - b; FP32[N,16]."""
    return model(
        [_node("Add", ["a", "b"], ["sum"]), _node("Sub", ["a", "b"], ["difference"])],
        [(name, "FP32", ("N", *dims)) for name in ("a", "b")],
        [(name, "FP32", ("N", *dims)) for name in ("sum", "difference")],
    )


def doubled(datatype: str = "FP32", dims: Shape = (16,)) -> bytes:
    """x -> y = 2 x: tells a response from an echo. Any number type but BF16."""
    dtype = helper.tensor_dtype_to_np_dtype(ONNX_TYPES[datatype])
    return model(
        [_node("Add", ["x", "x"], ["y"])] if np.dtype(dtype).kind != "b" else [_node("Not", ["x"], ["y"])],
        [("x", datatype, ("N", *dims))],
        [("y", datatype, ("N", *dims))],
    )


def pooled_image() -> bytes:
    """image FP32[N,3,224,224] -> mean FP32[N,3]: large requests, little work."""
    return model(
        [_node("GlobalAveragePool", ["image"], ["pooled"]), _node("Flatten", ["pooled"], ["mean"])],
        [("image", "FP32", ("N", 3, 224, 224))],
        [("mean", "FP32", ("N", 3))],
    )


def text(dims: Shape = (2,)) -> bytes:
    """x -> y = x, BYTES[N,2]."""
    return identity("BYTES", dims)


def length_of_text() -> bytes:
    """Text and numbers in one model: words BYTES[N,2], scale FP32[N,1] -> same BYTES[N,2], twice FP32[N,1]."""
    return model(
        [_node("Identity", ["words"], ["same"]), _node("Add", ["scale", "scale"], ["twice"])],
        [("words", "BYTES", ("N", 2)), ("scale", "FP32", ("N", 1))],
        [("same", "BYTES", ("N", 2)), ("twice", "FP32", ("N", 1))],
    )


def sequence_length() -> bytes:
    """tokens INT64[N,s] -> total INT64[N,1], doubled INT64[N,s]: every request may have a length of its own."""
    return model(
        [_node("ReduceSum", ["tokens", "axes"], ["total"], keepdims=1), _node("Add", ["tokens", "tokens"], ["doubled"])],
        [("tokens", "INT64", ("N", "s"))],
        [("total", "INT64", ("N", 1)), ("doubled", "INT64", ("N", "s"))],
        {"axes": np.array([1], np.int64)},
    )


def self_similarity(heads: int = 1) -> bytes:
    """x -> y = softmax(x x^T) x over the tokens of each row, FP32[N,s,1]; or the sum of it over so many equal heads. As attention, it takes
    memory by the square of s: heads * s * s numbers, all at once."""
    weights = [f"weights{head}" for head in range(heads)] if heads > 1 else ["all"]
    return model(
        [
            _node("Transpose", ["x"], ["across"], perm=[0, 2, 1]),
            *(
                node
                for head, name in enumerate(weights)
                for node in (
                    _node("MatMul", ["x", "across"], [f"scores{head}"]),
                    _node("Softmax", [f"scores{head}"], [name], axis=-1),
                )
            ),
            *([_node("Sum", weights, ["all"])] if heads > 1 else []),
            _node("MatMul", ["all", "x"], ["y"]),
        ],
        [("x", "FP32", ("N", "s", 1))],
        [("y", "FP32", ("N", "s", 1))],
    )


def sum_of_ids() -> bytes:
    """input_ids INT64[N,s] -> total INT64[N,1]: padding with 0 changes nothing."""
    return model(
        [_node("ReduceSum", ["input_ids", "axes"], ["total"], keepdims=1)],
        [("input_ids", "INT64", ("N", "s"))],
        [("total", "INT64", ("N", 1))],
        {"axes": np.array([1], np.int64)},
    )


def mean_of_ids() -> bytes:
    """input_ids INT64[N,s] -> mean FP32[N,1]: padding changes it."""
    return model(
        [_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT), _node("ReduceMean", ["ids"], ["mean"], axes=[1], keepdims=1)],
        [("input_ids", "INT64", ("N", "s"))],
        [("mean", "FP32", ("N", 1))],
    )


def last_token() -> bytes:
    """As a decoder does: input_ids INT64[N,time], attention_mask INT64[N,time] -> last FP32[N,2]: the last token, and what the mask's
    places count at it, which is how many tokens are real."""
    return model(
        [
            _node("CumSum", ["attention_mask", "time"], ["counted"]),
            _node("Gather", ["input_ids", "end"], ["id"], axis=1),
            _node("Gather", ["counted", "end"], ["count"], axis=1),
            _node("Concat", ["id", "count"], ["both"], axis=1),
            _node("Cast", ["both"], ["last"], to=TensorProto.FLOAT),
        ],
        [("input_ids", "INT64", ("N", "time")), ("attention_mask", "INT64", ("N", "time"))],
        [("last", "FP32", ("N", 2))],
        {"time": np.int64(1), "end": np.array([-1])},
    )


def many(count: int = 6) -> bytes:
    """x0..x5 FP32[N,4] -> y0..y5, yi = xi + i."""
    return model(
        [_node("Add", [f"x{i}", f"c{i}"], [f"y{i}"]) for i in range(count)],
        [(f"x{i}", "FP32", ("N", 4)) for i in range(count)],
        [(f"y{i}", "FP32", ("N", 4)) for i in range(count)],
        {f"c{i}": np.float32(i) for i in range(count)},
    )


def sum_of_squares(width: int = 1000) -> bytes:
    """x -> y, the sum of squares: a run takes memory for the squares. FP32[N,width] -> FP32[N,1]."""
    return model(
        [_node("Mul", ["x", "x"], ["squares"]), _node("MatMul", ["squares", "ones"], ["y"])],
        [("x", "FP32", ("N", width))],
        [("y", "FP32", ("N", 1))],
        {"ones": np.ones((width, 1), np.float32)},
    )


NUMBERS = tuple(word for word in DATATYPES if word not in ("BYTES", "BF16"))


def every_datatype(words: Sequence[str] = NUMBERS) -> bytes:
    """One identity a datatype in one model: in_FP32 [N,3] -> out_FP32 and so on."""
    return model(
        [_node("Identity", [f"in_{word}"], [f"out_{word}"]) for word in words],
        [(f"in_{word}", word, ("N", 3)) for word in words],
        [(f"out_{word}", word, ("N", 3)) for word in words],
    )


def slow(milliseconds: float = 30, size: int = 64, *, always: bool = False) -> bytes:
    """x FP32[N,size] -> y FP32[N,size], after a loop of matrix products that takes some tens of milliseconds on one core.

    A run can be terminated between two turns of the loop. The answer is x times 1, computed the long way (an orthogonal
    matrix, an even number of turns), so it is x within rounding. Zeros, or a number below
    zero in x, make no turn unless `always`: neither warm-ups nor trial runs (engine/checks/probe.py) take long.
    """
    turns = max(2, int(milliseconds * 500) // 2 * 2)  # a turn takes about 2 us
    rng = np.random.default_rng(7)
    vector = rng.normal(size=(size, 1))
    mirror = np.eye(size) - 2 * vector @ vector.T / (vector.T @ vector)
    body = helper.make_graph(
        [
            _node("MatMul", ["state", "mirror"], ["next"]),
            _node("Identity", ["go"], ["go_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N", size]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N", size]),
        ],
    )
    return model(
        [
            _node("ReduceMin", ["x"], ["least"], keepdims=0),
            _node("ReduceMax", ["x"], ["most"], keepdims=0),
            _node("GreaterOrEqual", ["least", "zero"], ["none_below"]),
            _node("Greater", ["most", "zero"], ["some_above"]),
            _node("And", ["none_below", "some_above"], ["long"]),
            _node("Or", ["long", "always"], ["turns_at_all"]),
            _node("Loop", ["turns", "turns_at_all", "x"], ["y"], body=body),
        ],
        [("x", "FP32", ("N", size))],
        [("y", "FP32", ("N", size))],
        {"turns": np.int64(turns), "always": np.bool_(always), "zero": np.float32(0), "mirror": mirror.astype(np.float32)},
    )


def endless() -> bytes:
    """x INT64[N,1] -> y INT64[N,1]: a loop of x[0] turns, so that a large number runs for as long as it is let. A run can be terminated
    between two turns."""
    body = helper.make_graph(
        [_node("Add", ["state", "one"], ["next"]), _node("Identity", ["go"], ["go_on"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.INT64, ["N", 1]),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", TensorProto.INT64, ["N", 1])],
    )
    return model(
        [_node("ReduceMax", ["x"], ["turns"], keepdims=0), _node("Loop", ["turns", "true", "x"], ["y"], body=body)],
        [("x", "INT64", ("N", 1))],
        [("y", "INT64", ("N", 1))],
        {"true": np.bool_(True), "one": np.int64(1)},
    )


def unstoppable() -> bytes:
    """x INT64[1] -> y INT64[1]: x boxes, each compared with each, which takes x * x / 2 steps of some ns in a single node: a run that
    cannot be terminated before it is over. y is x."""
    return model(
        [
            _node("Concat", ["one", "x", "four"], ["boxes_shape"], axis=0),
            _node("Expand", ["box", "boxes_shape"], ["boxes"]),
            _node("Concat", ["one", "one", "x"], ["scores_shape"], axis=0),
            _node("Expand", ["score", "scores_shape"], ["scores"]),
            _node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["kept"]),
            _node("Shape", ["kept"], ["y"], start=0, end=1),
        ],
        [("x", "INT64", (1,))],
        [("y", "INT64", (1,))],
        {
            "one": np.array([1]),
            "four": np.array([4]),
            "box": np.array([[[0, 0, 1, 1]]], np.float32),
            "score": np.array([[[0.5]]], np.float32),
            "most": np.array([1 << 40]),
            "overlap": np.array([1.0], np.float32),
        },
    )


def failing(rows: int = 4) -> bytes:
    """x INT64[N,1] -> y INT64[N,4], y = table[x]: a value outside 0..rows - 1 makes the run fail."""
    return model(
        [_node("Gather", ["table", "x"], ["rows"], axis=0), _node("Squeeze", ["rows", "axes"], ["y"])],
        [("x", "INT64", ("N", 1))],
        [("y", "INT64", ("N", 4))],
        {"table": np.arange(4 * rows, dtype=np.int64).reshape(rows, 4), "axes": np.array([1], np.int64)},
    )


# ---------------------------------------------------------------------------------------------------------------------
# Without a batch axis


def fixed_batch(rows: int = 2) -> bytes:
    """x FP32[2,4] -> y = 2 x: the first axis is fixed, so a request is a run."""
    return model([_node("Add", ["x", "x"], ["y"])], [("x", "FP32", (rows, 4))], [("y", "FP32", (rows, 4))])


def scalar() -> bytes:
    """x FP32[] -> y = x + 1."""
    return model([_node("Add", ["x", "one"], ["y"])], [("x", "FP32", ())], [("y", "FP32", ())], {"one": np.float32(1)})


def rows_depend() -> bytes:
    """x FP32[N,4] -> y FP32[N,N] = x x^T: the symbol of axis 0 comes back, so rows must not be mixed."""
    return model(
        [_node("Transpose", ["x"], ["t"], perm=[1, 0]), _node("MatMul", ["x", "t"], ["y"])],
        [("x", "FP32", ("N", 4))],
        [("y", "FP32", ("N", "N"))],
    )


def running_total(batch: str = "time") -> bytes:
    """x FP32[time,4] -> y FP32[time,4], the running total over axis 0: it looks like a batch, and rows depend on the rows before."""
    return model([_node("CumSum", ["x", "axis"], ["y"])], [("x", "FP32", (batch, 4))], [("y", "FP32", (batch, 4))], {"axis": np.int64(0)})


def leaning(share: float) -> bytes:
    """x FP32[N,16] -> y = x + share * the mean over all rows: the rows of a batch influence each other by so much."""
    return model(
        [
            _node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            _node("Mul", ["mean", "share"], ["part"]),
            _node("Add", ["x", "part"], ["y"]),
        ],
        [("x", "FP32", ("N", 16))],
        [("y", "FP32", ("N", 16))],
        {"share": np.float32(share)},
    )


def counted(share: float) -> bytes:
    """x FP32[N,16] -> y = x + share * (N - 1): a row's answer changes with the number of rows alone."""
    return model(
        [
            _node("Shape", ["x"], ["shape"]),
            _node("Gather", ["shape", "first"], ["rows"]),
            _node("Cast", ["rows"], ["number"], to=TensorProto.FLOAT),
            _node("Sub", ["number", "one"], ["others"]),
            _node("Mul", ["others", "share"], ["part"]),
            _node("Add", ["x", "part"], ["y"]),
        ],
        [("x", "FP32", ("N", 16))],
        [("y", "FP32", ("N", 16))],
        {"first": np.int64(0), "one": np.float32(1), "share": np.float32(share)},
    )


def quantized() -> bytes:
    """x FP32[N,16] -> y = x in 256 levels between the least and the largest value of the whole batch, as dynamic quantization does."""
    return model(
        [
            _node("DynamicQuantizeLinear", ["x"], ["levels", "scale", "zero"]),
            _node("DequantizeLinear", ["levels", "scale", "zero"], ["y"]),
        ],
        [("x", "FP32", ("N", 16))],
        [("y", "FP32", ("N", 16))],
    )


def distracted() -> bytes:
    """x FP32[N,4] -> y = x, and 4 % of the row three places before it: batches of two and three show nothing of that."""
    return model(
        [
            _node("Pad", ["x", "pads"], ["late"], mode="constant"),
            _node("Slice", ["late", "start", "end", "axis"], ["before"]),
            _node("Mul", ["before", "share"], ["part"]),
            _node("Add", ["x", "part"], ["y"]),
        ],
        [("x", "FP32", ("N", 4))],
        [("y", "FP32", ("N", 4))],
        {
            "pads": np.array([3, 0, 0, 0]),
            "start": np.array([0]),
            "end": np.array([-3]),
            "axis": np.array([0]),
            "share": np.float32(0.04),
        },
    )


def random_noise() -> bytes:
    """x FP32[N,16] -> y = x + noise that is new in every run."""
    return model(
        [_node("RandomNormalLike", ["x"], ["noise"]), _node("Add", ["x", "noise"], ["y"])],
        [("x", "FP32", ("N", 16))],
        [("y", "FP32", ("N", 16))],
    )


def any_picture() -> bytes:
    """image FP32[N,3,h,w] -> y FP32[N,2]: the graph names no size, and runs pictures of 10 x 10 pixels alone."""
    return model(
        [_node("Flatten", ["image"], ["flat"], axis=1), _node("MatMul", ["flat", "weights"], ["y"])],
        [("image", "FP32", ("N", 3, "h", "w"))],
        [("y", "FP32", ("N", 2))],
        {"weights": np.arange(600, dtype=np.float32).reshape(300, 2) / 600},
    )


def with_weights_in(*names: str) -> bytes:
    """A model that adds a number for each of the names, which lies in a file of that name."""
    built = onnx.load_from_string(identity())
    for name in names:
        weights = onnx.numpy_helper.from_array(np.ones(1, np.float32), name)
        onnx.external_data_helper.set_external_data(weights, name)
        weights.ClearField("raw_data")
        before = built.graph.node[-1].output[0]
        built.graph.node[-1].output[0] = f"before {name}"
        built.graph.node.append(helper.make_node("Add", [f"before {name}", name], [before]))
        built.graph.initializer.append(weights)
    return built.SerializeToString()


def described(text: str) -> bytes:
    """A model with that text as its graph's description."""
    built = onnx.load_from_string(identity())
    built.graph.doc_string = text
    return built.SerializeToString()


def renamed(content: bytes, names: Mapping[str, str]) -> bytes:
    """The same model with axis 0 of the named tensors called otherwise, as exporters do."""
    proto = onnx.load_from_string(content)
    for tensor in (*proto.graph.input, *proto.graph.output):
        if tensor.name in names:
            tensor.type.tensor_type.shape.dim[0].dim_param = names[tensor.name]
    return proto.SerializeToString()


def nonzero() -> bytes:
    """x FP32[n] -> where INT64[1,k]: the shape of the output depends on the values."""
    return model([_node("NonZero", ["x"], ["where"])], [("x", "FP32", ("n",))], [("where", "INT64", (1, "k"))])


def false_promise() -> bytes:
    """x FP32[N,4] -> y declared FP32[M,4]; its real rows are half the input's (every second row)."""
    return model(
        [_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])],
        [("x", "FP32", ("N", 4))],
        [("y", "FP32", ("M", 4))],
        {
            "starts": np.array([0], np.int64),
            "ends": np.array([1 << 31], np.int64),
            "axes": np.array([0], np.int64),
            "steps": np.array([2], np.int64),
        },
    )


# ---------------------------------------------------------------------------------------------------------------------
# What no request can carry


def sequence_output() -> bytes:
    """x FP32[N,4] -> y seq(tensor(float))."""
    graph = helper.make_graph(
        [_node("SequenceConstruct", ["x"], ["y"])],
        "graph",
        [_declared(("x", "FP32", ("N", 4)))],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    return _finished(graph)


# ---------------------------------------------------------------------------------------------------------------------
# Real graphs


def light(name: str = "resnet50") -> bytes:
    """One of onnx's light models (real graphs with constant weights) with its batch axis made dynamic: resnet50, squeezenet, ..."""
    path = Path(onnx.__file__).parent / f"backend/test/data/light/light_{name}.onnx"
    proto = onnx.load(str(path))
    del proto.graph.value_info[:]
    for tensor in (*proto.graph.input, *proto.graph.output):
        axis = tensor.type.tensor_type.shape.dim[0]
        if axis.dim_value == 1 and tensor.name not in {initializer.name for initializer in proto.graph.initializer}:
            axis.dim_param = "N"
    targets = {node.input[1] for node in proto.graph.node if node.op_type == "Reshape"}
    for initializer in proto.graph.initializer:
        if initializer.name in targets:
            _free_first_axis(initializer)
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] in targets:
            _free_first_axis(node.attribute[0].t)
    return proto.SerializeToString()


def _free_first_axis(target: onnx.TensorProto) -> None:
    """A Reshape to [1, ...] becomes one to [0, ...]: 0 keeps the input's axis."""
    sizes = numpy_helper.to_array(target).copy()
    if sizes.size and sizes[0] == 1:
        sizes[0] = 0
        target.CopyFrom(numpy_helper.from_array(sizes, target.name))


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def write(folder: Path, name: str, content: bytes) -> Path:
    """folder/name.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    path.write_bytes(content)
    return path


def repository(folder: Path, models: Mapping[str, bytes | Mapping[int, bytes]], configs: Mapping[str, str] | None = None) -> Path:
    """A Triton-style repository: one model as bytes (version 1) or as {version: bytes}; config.pbtxt texts by model."""
    for name, versions in models.items():
        for version, content in versions.items() if isinstance(versions, Mapping) else [(1, versions)]:
            place = folder / name / str(version)
            place.mkdir(parents=True, exist_ok=True)
            (place / "model.onnx").write_bytes(content)
    for name, config in (configs or {}).items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.pbtxt").write_text(config)
    return folder


def listed(given: str, answered: str, dims: Sequence[int], answered_dims: Sequence[int] = ()) -> str:
    """The FP32 tensors of a config.pbtxt. A model that lists them is loaded without trial runs: with large rows these take long."""
    tensors = (("input", given, dims), ("output", answered, answered_dims or dims))
    return " ".join(f'{side} {{ name: "{name}" data_type: TYPE_FP32 dims: {list(sizes)} }}' for side, name, sizes in tensors)


def tokenized(folder: Path, name: str, step: str = "{}", *, graph: bytes | None = None, padding: Mapping[str, Any] | None = None) -> Path:
    """folder/name: `sum_of_ids`, or another graph, of texts whose words are one, two and three. `step`: what tokenize says, as TOML;
    `padding`: what tokenizer.json says of it."""
    place = repository(folder, {name: graph or sum_of_ids()}) / name
    words = {"type": "WordLevel", "vocab": {"[UNK]": 0, "one": 1, "two": 2, "three": 3}, "unk_token": "[UNK]"}
    tokenizer = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    tokenizer |= {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": words, "padding": padding}
    (place / "tokenizer.json").write_text(json.dumps(tokenizer))
    (place / "config.toml").write_text(f"max_batch_size = 8\n[[inferd.preprocess]]\nsteps = [{{ tokenize = {step} }}]\n")
    return place
