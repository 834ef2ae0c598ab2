"""A fitted pipeline -> ONNX, by skl2onnx. What it cannot convert is told by name, with the cure.

Numbers are FP32 in the graph, texts strings. Never in here: what comes before the graph.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from inferd.errors import ConfigError
from inferd.features.trained import Trained, last_of, library, without_text_imputers

__all__ = ["MATRIX", "Converted", "convert"]

MATRIX = "features_in"  # the one input of graphs that do not take columns apart
_FP32_WHOLE = 2**24  # up to here FP32 has every whole number
# What clients see of each role's outputs.
_OUTPUTS = {"classifier": ("label", "probabilities"), "regressor": ("prediction",), "transformer": ("features",)}
_SIMPLE = {
    "classifier": "RandomForestClassifier, GradientBoostingClassifier or LogisticRegression",
    "regressor": "RandomForestRegressor, GradientBoostingRegressor or Ridge",
}


class Converted:
    """An ONNX model. inputs: datatype by name of the graph's input; outputs: names."""

    def __init__(self, content: bytes, inputs: Mapping[str, str], outputs: tuple[str, ...]) -> None:
        self.content = content
        self.inputs = dict(inputs)
        self.outputs = outputs


def convert(trained: Trained) -> Converted:
    """The graph of all steps. Raises ConfigError naming the step that cannot be converted, StartError without skl2onnx."""
    library("skl2onnx")
    inputs = _inputs(trained)
    pipeline = without_text_imputers(trained.pipeline)
    try:
        model = _converted(pipeline, inputs, trained)
    except Exception as error:  # skl2onnx raises whatever it meets
        raise ConfigError(_blame(pipeline, inputs, trained, error)) from None
    outputs = _tidy(model, inputs, _OUTPUTS.get(trained.role, ()))
    return Converted(model.SerializeToString(), inputs, outputs)


def _inputs(trained: Trained) -> dict[str, str]:
    if not trained.apart:
        return {MATRIX: "FP32"}
    found = {}
    for place in trained.used:
        learned = trained.learned[place]
        datatype = "FP32"
        if learned.kind == "text":
            datatype = "BYTES"
        elif learned.categories and learned.kind == "whole":
            datatype = "INT64" if learned.stand_in is None or _large(learned.categories) else "FP32"
        found[trained.names[place]] = datatype
    return found


def _large(values: list[Any]) -> bool:
    return any(value == value and abs(value) > _FP32_WHOLE for value in values)


def _converted(pipeline: Any, inputs: Mapping[str, str], trained: Trained) -> Any:
    skl2onnx, types = library("skl2onnx"), library("skl2onnx.common.data_types")
    kinds = {"FP32": types.FloatTensorType, "INT64": types.Int64TensorType, "BYTES": types.StringTensorType}
    width = 1 if trained.apart else len(trained.names)
    initial = [(name, kinds[datatype]([None, width])) for name, datatype in inputs.items()]
    last = last_of(pipeline)
    options = {id(last): {"zipmap": False}} if library("sklearn.base").is_classifier(last) else None
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return skl2onnx.convert_sklearn(pipeline, "pipeline", initial, options=options, doc_string="")


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
    told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    cure = "use another that skl2onnx knows (https://onnx.ai/sklearn-onnx/supported.html), or a release that does"
    if culprit is last_of(pipeline) and trained.role in _SIMPLE:
        cure = f"use {_SIMPLE[trained.role]} in its place, or a release of skl2onnx that knows this one"
        cure += "; --features-only exports what is in front of it" if len(steps) > 1 else ""
    elif type(culprit).__name__ == "FunctionTransformer":
        cure = "a function of Python has no graph: do what it does by a step of the configuration (docs/features.md), or before fitting"
    return f"{step}{type(culprit).__name__} cannot be converted by {versions} ({told[:300]}): {cure}"


def _tidy(model: Any, inputs: Mapping[str, str], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Names as a reader expects them: inputs as the columns are, outputs by what they are, the first axis `rows`."""
    graph = model.graph
    renamed = {value.name: name for value, name in zip(graph.input, inputs, strict=True)}
    if len(wanted) >= len(graph.output):
        free = [name if name not in inputs else _unlike(name, set(inputs)) for name in wanted]
        renamed |= {value.name: name for value, name in zip(graph.output, free, strict=False)}
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
    return tuple(value.name for value in graph.output)


def _unlike(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
