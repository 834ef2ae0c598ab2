"""A fitted pipeline -> ONNX, by skl2onnx. What it cannot convert is told by name, with the cure.

Numbers are FP32 in the graph, or FP64 as in scikit-learn; texts strings. Never in here: what comes before the graph.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from inferd.engine.backend import OnnxModel, SessionOptions
from inferd.errors import ConfigError
from inferd.features.fp64 import keep_fp64
from inferd.features.missing import keep_ways
from inferd.features.trained import Trained, last_of, library, without_text_imputers

__all__ = ["MATRIX", "Converted", "convert"]

MATRIX = "features_in"  # the one input of graphs that do not take columns apart
_OLDER_OPSETS = {"": 18, "ai.onnx.ml": 3}  # for the converters that know no newer ones, and say so
_FP32_WHOLE = 2**24  # up to here FP32 has every whole number
# What clients see of each role's outputs.
_OUTPUTS = {"classifier": ("label", "probabilities"), "regressor": ("prediction",), "transformer": ("features",)}
_SIMPLE = {
    "classifier": "RandomForestClassifier, GradientBoostingClassifier or LogisticRegression",
    "regressor": "RandomForestRegressor, GradientBoostingRegressor or Ridge",
}


@dataclass(frozen=True)
class Converted:
    """An ONNX model. inputs: datatype by name of the graph's input. outputs: what clients see, by the graph's names where those are
    others: of an output whose name a column has."""

    content: bytes
    model: OnnxModel
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def convert(trained: Trained, floats: str) -> Converted:
    """The graph of all steps. floats: FP32 or FP64, what numbers go into it as.

    Raises ConfigError naming the step that cannot be converted, StartError without skl2onnx.
    """
    library("skl2onnx")
    inputs = _inputs(trained, floats)
    pipeline = without_text_imputers(trained.pipeline)
    keep_ways(pipeline)
    if floats == "FP64":
        keep_fp64(pipeline)
    try:
        return _converted(pipeline, inputs, trained)
    except Exception as error:  # skl2onnx raises whatever it meets
        raise ConfigError(_blame(pipeline, inputs, trained, error)) from None


def _inputs(trained: Trained, floats: str) -> dict[str, str]:
    if not trained.apart:
        return {MATRIX: floats}
    found = {}
    for place in trained.used:
        learned = trained.learned[place]
        datatype = floats
        if learned.kind == "text":
            datatype = "BYTES"
        elif learned.categories and learned.kind == "whole":
            datatype = "INT64" if learned.stand_in is None or _large(learned.categories) else floats
        found[trained.names[place]] = datatype
    return found


def _large(values: list[Any]) -> bool:
    return any(value == value and abs(value) > _FP32_WHOLE for value in values)


def _converted(pipeline: Any, inputs: Mapping[str, str], trained: Trained) -> Converted:
    """What onnxruntime loads. Raises whatever it, or skl2onnx, meets."""
    model = _graph(pipeline, inputs, trained)
    outputs = _tidy(model, inputs, _OUTPUTS.get(trained.role, ()))
    content = model.SerializeToString()
    return Converted(content, OnnxModel.load(content, SessionOptions(intra_op_threads=1), name="the converted model"), inputs, outputs)


def _graph(pipeline: Any, inputs: Mapping[str, str], trained: Trained) -> Any:
    skl2onnx, types = library("skl2onnx"), library("skl2onnx.common.data_types")
    kinds = {
        "FP32": types.FloatTensorType, "FP64": types.DoubleTensorType, "INT64": types.Int64TensorType, "BYTES": types.StringTensorType,
    }  # fmt: skip
    width = 1 if trained.apart else len(trained.names)
    initial = [(name, kinds[datatype]([None, width])) for name, datatype in inputs.items()]
    last = last_of(pipeline)
    options = {id(last): {"zipmap": False}} if library("sklearn.base").is_classifier(last) else None
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return skl2onnx.convert_sklearn(pipeline, "pipeline", initial, options=options, doc_string="")
        except RuntimeError as error:
            if "target_opset" not in str(error):
                raise
            return skl2onnx.convert_sklearn(pipeline, "pipeline", initial, options=options, doc_string="", target_opset=_OLDER_OPSETS)


def _blame(pipeline: Any, inputs: Mapping[str, str], trained: Trained, error: Exception) -> str:
    """Which step it was: the first without which what is left in front of it can be converted."""
    steps = list(pipeline.steps) if hasattr(pipeline, "steps") else []
    name, culprit = "", pipeline
    for count in range(1, len(steps) + 1):
        try:
            _converted(pipeline[:count], inputs, trained)
        except Exception:  # skl2onnx raises whatever it meets
            name, culprit = steps[count - 1]
            break
    versions = f"skl2onnx {library('skl2onnx').__version__} with scikit-learn {library('sklearn').__version__}"
    step = f"step {name!r}, " if name else ""
    told = f"{type(error).__name__}: {' '.join(str(error).split())}".partition("; check that the file")[0].partition(" You may raise ")[0]
    reason = f" ({told[:300]})"
    cure = "use another that skl2onnx knows (https://onnx.ai/sklearn-onnx/supported.html), or a release that does"
    if culprit is last_of(pipeline) and trained.role in _SIMPLE:
        cure = f"use {_SIMPLE[trained.role]} in its place, or a release of skl2onnx that knows this one"
        cure += "; --features-only exports what is in front of it" if len(steps) > 1 else ""
    elif "locale" in told:
        cure = "its graph needs the locale that is named, which this machine has not: install it, here and where the model is served"
    elif "onehot encoding not supported" in told:
        reason, cure = "", "fit KBinsDiscretizer with encode='onehot-dense', which gives the same numbers"
    elif type(culprit).__name__ == "FunctionTransformer":
        reason = ""
        cure = "a function of Python has no graph: do what it does by a step of the configuration (docs/features.md), or before fitting"
    return f"{step}{type(culprit).__name__} cannot be converted by {versions}{reason}: {cure}"


def _tidy(model: Any, inputs: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    """Names as a reader expects them: inputs as the columns are, outputs by what they are, the first axis `rows`.

    Outputs that could not be named so, as a column is, by the names that they have.
    """
    graph = model.graph
    _cast_outputs(graph)
    renamed = {value.name: name for value, name in zip(graph.input, inputs, strict=True)}
    others: dict[str, str] = {}
    if len(wanted) >= len(graph.output):
        free = [name if name not in inputs else _unlike(name, set(inputs)) for name in wanted]
        renamed |= {value.name: name for value, name in zip(graph.output, free, strict=False)}
        others = {name: public for _, name, public in zip(graph.output, free, wanted, strict=False) if name != public}
    taken = set(renamed.values())
    inner = {name for node in graph.node for name in (*node.input, *node.output)} | {constant.name for constant in graph.initializer}
    for name in (inner & taken) - set(renamed):
        renamed[name] = _unlike(name, inner | taken)
    rename: Callable[[str], str] = lambda name: renamed.get(name, name)  # noqa: E731
    for node in graph.node:
        node.input[:] = map(rename, node.input)
        node.output[:] = map(rename, node.output)
    for constant in graph.initializer:
        constant.name = rename(constant.name)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.name = rename(value.name)
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
    library("onnx").checker.check_model(model)
    return others


def _cast_outputs(graph: Any) -> None:
    """Outputs are FP64 where skl2onnx says so: it forgets that most of ai.onnx.ml's operators give FP32."""
    onnx = library("onnx")
    for value in graph.output:
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            inner = _unlike(value.name, {name for node in graph.node for name in (*node.input, *node.output)})
            for node in graph.node:
                node.input[:] = [inner if name == value.name else name for name in node.input]
                node.output[:] = [inner if name == value.name else name for name in node.output]
            graph.node.append(onnx.helper.make_node("Cast", [inner], [value.name], to=onnx.TensorProto.DOUBLE))


def _unlike(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
