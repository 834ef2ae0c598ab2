"""A fitted pipeline -> ONNX, by skl2onnx. An error names the step that cannot be converted, and the cure.

Numbers are FP32 in the graph, or FP64 as in scikit-learn; texts strings. Never in here: what comes before the graph.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.options import SessionOptions
from inferd.errors import ConfigError
from inferd.scikit_learn.encoders import keep_encoders
from inferd.scikit_learn.imputers import keep_imputers
from inferd.scikit_learn.learned import inner_steps
from inferd.scikit_learn.nodes import Nodes, become
from inferd.scikit_learn.parts import called, culprit
from inferd.scikit_learn.thresholds import Threshold, estimator_of, threshold_of, without_threshold
from inferd.scikit_learn.trained import Trained, as_features, last_of, library, without_text_imputers
from inferd.scikit_learn.trees import keep_trees

MATRIX = "features_in"  # the one input of graphs that do not take columns apart
_OLDER_OPSETS = {"": 18, "ai.onnx.ml": 3}  # for the converters that know no newer ones, and say so
_CURES = {
    "FunctionTransformer": "a function of Python has no graph: do what it does by a step of the configuration (docs/features.md), or "
    "before fitting",
    "FeatureHasher": "hash texts by the step `columns` instead, "
    "`hash = { buckets = 1024 }` (docs/features.md), and fit on what comes of it",
    "HashingVectorizer": "use TfidfVectorizer or CountVectorizer in its place",
    "IterativeImputer": "use KNNImputer or SimpleImputer in its place",
    "KNNImputer": "functions of Python have no graph: use weights 'uniform' or 'distance', and metric 'nan_euclidean'",
    "SimpleImputer": "of texts it has no graph with add_indicator: fit it without, and by strategy='constant' missing texts are a category",
    "MissingIndicator": "of texts it has no graph: with SimpleImputer(strategy='constant') missing texts are a category of their own",
}
# Steps whose graph fails, as of skl2onnx 1.20, at records that a sample need not hold.
_FAILING = {"RadiusNeighborsClassifier": "KNeighborsClassifier", "RadiusNeighborsRegressor": "KNeighborsRegressor"}
_SIMPLE = {
    "classifier": "RandomForestClassifier, GradientBoostingClassifier or LogisticRegression",
    "regressor": "RandomForestRegressor, GradientBoostingRegressor or Ridge",
}


class _PredictsAlone(Exception):
    """A step before others has a graph for its predictions, but none for its transformed values, which the others take."""


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
    _reject_failing(trained)
    inputs = _inputs(trained, floats)
    pipeline = without_threshold(without_text_imputers(trained.pipeline))
    keep_imputers(pipeline)
    keep_encoders(pipeline)
    keep_trees(pipeline, floats)
    _keep_others(pipeline)
    try:
        return _converted(pipeline, inputs, trained)
    except Exception as error:  # skl2onnx raises whatever it meets
        raise ConfigError(_blame(pipeline, inputs, trained, error)) from None


def _reject_failing(trained: Trained) -> None:
    """Raises ConfigError for a step whose graph would be wrong, or fail, where no sample need show it."""
    last = last_of(trained.pipeline)

    def why_not(part: Any) -> tuple[str, str] | None:
        return next((found for inner in inner_steps(part) if (found := _why_not(inner, last))), None)

    if not (found := why_not(trained.pipeline)):
        return
    name, step = culprit(trained.pipeline, lambda part: why_not(part) is not None)
    why, cure = found
    cure += "; --features-only exports what is in front of it" if name and step is last else ""
    raise ConfigError(f"{called(name, step)} cannot be converted: {why}: {cure}")


def _why_not(step: Any, last: Any) -> tuple[str, str] | None:
    """Why one step has no graph that is right, and the cure. last: of the pipeline."""
    word, version = type(step).__name__, library("skl2onnx").__version__
    if word in _FAILING:
        why = f"the graph that skl2onnx {version} makes of {word} fails at each record that has not all those of training within the radius"
        return why, f"use {_FAILING[word]} in its place"
    if getattr(step, "break_ties", False) and len(step.classes_) > 2:
        why = f"skl2onnx {version} has no graph of break_ties: labels would be others where several classes have equally many votes"
        return why, f"set break_ties=False, of the {word} that is fitted, and see whether its labels are good enough"
    if estimator_of(step) is not None and (step is not last or threshold_of(step) is None):
        inside = f"the threshold of a {word} is converted where it is the last step, and decides by probabilities"
        return inside, "put it there, with response_method='predict_proba' and an estimator that has these, or export its estimator alone"
    return None


def _keep_others(pipeline: Any) -> None:
    """Changes steps that skl2onnx does not convert as they are."""
    for step in inner_steps(pipeline):
        word = type(step).__name__
        if word == "FeatureHasher":  # counts of hashes are small, and skl2onnx's estimators do not take FP64 beside FP32
            step.dtype = np.float32
        elif word in ("VotingClassifier", "VotingRegressor"):
            # skl2onnx takes no list of weights, and not the shape that votes have as features, which changes no prediction.
            step.weights = None if step.weights is None else np.asarray(step.weights, dtype=np.float64)
            if hasattr(step, "flatten_transform"):
                step.flatten_transform = False
        elif hasattr(step, "get_support") and len(places := step.get_support(indices=True)) == 1:
            become(step, partial(_picked, places), 1)  # of the first column skl2onnx makes zeros, and of another one it loses the axis


def _picked(places: Any, nodes: Nodes) -> str:
    return nodes.picked(nodes.numbers(), places)


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
            # Both truth values are taken, so none could stand for a missing one.
            may_lack = learned.stand_in is not None or any(value is None or value != value for value in learned.categories)
            datatype = floats if may_lack or all(isinstance(value, bool) for value in learned.categories) else "INT64"
        found[trained.names[place]] = datatype
    return found


def _converted(pipeline: Any, inputs: Mapping[str, str], trained: Trained, *, settled: bool = True) -> Converted:
    """A model that onnxruntime has loaded. settled: with outputs that are put right. Raises any error of onnxruntime and skl2onnx."""
    model = _graph(pipeline, inputs, trained)
    if trained.role == "transformer" and len(model.graph.output) > 1:
        raise _PredictsAlone("its predictions have a graph, its transformed values have none")
    if settled and trained.role == "classifier" and (threshold := threshold_of(last_of(trained.pipeline))):
        _decide(model.graph, threshold, trained.classes)
    # An output for which scikit-learn has no counterpart could not be compared.
    del model.graph.output[len(trained.outputs) :]
    if settled:
        _settle_outputs(model.graph, inputs)
        _settle_label(model.graph, trained)
        _settle_scores(model.graph, trained)
    outputs = _tidy(model, inputs, tuple(trained.outputs))
    return _loaded(model, inputs, outputs)


def _loaded(model: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Converted:
    content = model.SerializeToString()
    return Converted(content, OnnxModel.load(content, SessionOptions(intra_op_threads=1), name="the converted model"), inputs, outputs)


def with_shapes(converted: Converted, shapes: Mapping[str, tuple[int, ...]]) -> Converted:
    """The same, where the graph says of its outputs the shapes that they have, which skl2onnx guesses. shapes: of a row, by output.

    Raises ConfigError where a row has no values.
    """
    if empty := [converted.outputs.get(name, name) for name, shape in shapes.items() if 0 in shape]:
        raise ConfigError(
            f"the pipeline gives no {empty[0]} for a record, and an output of a model has a value at least: fit it so that it does"
        )
    if all(tensor.shape[1:] == shapes[tensor.name] for tensor in converted.model.graph.outputs):
        return converted
    model = library("onnx").load_model_from_string(converted.content)
    for output in model.graph.output:
        del output.type.tensor_type.shape.dim[1:]
        for size in shapes[output.name]:
            output.type.tensor_type.shape.dim.add(dim_value=size)
    return _loaded(model, converted.inputs, converted.outputs)


def _graph(pipeline: Any, inputs: Mapping[str, str], trained: Trained) -> Any:
    skl2onnx, types = library("skl2onnx"), library("skl2onnx.common.data_types")
    kinds = {
        "FP32": types.FloatTensorType, "FP64": types.DoubleTensorType, "INT64": types.Int64TensorType, "BYTES": types.StringTensorType,
    }  # fmt: skip
    width = 1 if trained.apart else len(trained.names)
    initial = [(name, kinds[datatype]([None, width])) for name, datatype in inputs.items()]
    options = _options(pipeline)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return skl2onnx.convert_sklearn(pipeline, "pipeline", initial, options=options, doc_string="")
        except RuntimeError as error:
            if "target_opset" not in str(error):
                raise
            return skl2onnx.convert_sklearn(pipeline, "pipeline", initial, options=options, doc_string="", target_opset=_OLDER_OPSETS)


def _options(pipeline: Any) -> dict[int, dict[str, Any]]:
    """Probabilities are tensors, not maps; there are classifiers that have none, and of them skl2onnx may not be told so."""
    is_classifier = library("sklearn.base").is_classifier
    steps = [last_of(pipeline), *(inner for step in inner_steps(pipeline) for _, inner in getattr(step, "steps", ()))]
    return {
        id(step): {} if hasattr(step, "get_support") or type(step).__name__ == "LinearSVC" else {"zipmap": False}
        for step in steps
        if is_classifier(step) and not hasattr(step, "steps")
    }


def _blame(pipeline: Any, inputs: Mapping[str, str], trained: Trained, error: Exception) -> str:
    """Which step it was, why, and what to do instead."""

    def fails(part: Any) -> bool:
        nonlocal error
        try:
            # A step in front must give exactly the outputs that it declares, for the next step relies on them.
            is_last = last_of(part) is last_of(pipeline)
            _converted(part, inputs, trained if is_last else as_features(trained, part), settled=is_last)
        except Exception as found:  # skl2onnx raises whatever it meets
            error = found
            return True
        return False

    name, step = culprit(pipeline, fails)
    word = type(step).__name__
    versions = f"skl2onnx {library('skl2onnx').__version__} with scikit-learn {library('sklearn').__version__}"
    told = f"{type(error).__name__}: {' '.join(str(error).split())}".partition("; check that the file")[0].partition(" You may raise ")[0]
    reason = f" ({told[:300]})"
    cure = "use another that skl2onnx knows (https://onnx.ai/sklearn-onnx/supported.html), or a release that does"
    if isinstance(error, _PredictsAlone):
        reason, cure = f" ({error})", "use a transformer that predicts nothing in its place, such as PCA"
    elif step is last_of(pipeline) and trained.role in _SIMPLE:
        cure = f"use {_SIMPLE[trained.role]} in its place, or a release of skl2onnx that knows this one"
        cure += "; --features-only exports what is in front of it" if name else ""
    elif "locale" in told:
        cure = "its graph needs the locale that is named, which this machine has not: install it, here and where the model is served"
    elif word in _CURES:
        reason, cure = "", _CURES[word]
    return f"{called(name, step)} cannot be converted by {versions}{reason}: {cure}"


def _tidy(model: Any, inputs: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    """Names as a reader expects them: inputs as the columns are, outputs by what they are, the first axis `rows`.

    Outputs that could not be named so, as a column is, by the names that they have.
    """
    graph = model.graph
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


def _settle_outputs(graph: Any, inputs: Mapping[str, str]) -> None:
    """Outputs are of the type that they say, and have a row for each record, where skl2onnx forgets it.

    Most of ai.onnx.ml's operators give FP32 whatever they take, and labels of some classifiers are one row.
    """
    onnx = library("onnx")
    kinds = onnx.TensorProto
    for value in graph.output:
        found = value.type.tensor_type
        if found.elem_type == kinds.DOUBLE or (found.elem_type == kinds.FLOAT and "FP64" in inputs.values()):
            found.elem_type = kinds.DOUBLE
            _append(graph, value.name, "Cast", to=kinds.DOUBLE)
        if [dim.dim_value for dim in found.shape.dim] == [1, 0]:
            del found.shape.dim[1]
            shape = onnx.numpy_helper.from_array(np.array([-1]), _unlike("rows_alone", {constant.name for constant in graph.initializer}))
            graph.initializer.append(shape)
            _append(graph, value.name, "Reshape", shape.name)


def _decide(graph: Any, threshold: Threshold, classes: tuple[Any, ...]) -> None:
    """The label is the threshold's. Probabilities are compared as FP32, as skl2onnx gives them: one that is equal to it stays equal."""
    onnx = library("onnx")
    label, probabilities = (output.name for output in graph.output[:2])
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {constant.name for constant in graph.initializer}
    for node in graph.node:
        node.output[:] = [_unlike(name, taken) if name == label else name for name in node.output]
    both = np.asarray(classes)[[1 - threshold.place, threshold.place]]
    is_text = graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.STRING
    constants = {
        "place": np.array([threshold.place]), "rows": np.array([-1]), "least": np.array(threshold.least, dtype=np.float32),
        "both": both.astype(object if is_text else np.int64),
    }  # fmt: skip
    name = {each: _unlike(f"threshold_{each}", taken) for each in (*constants, "one", "flat", "fp32", "is", "index")}
    graph.initializer.extend(onnx.numpy_helper.from_array(values, name[each]) for each, values in constants.items())
    node = onnx.helper.make_node
    graph.node.extend(
        [
            node("Gather", [probabilities, name["place"]], [name["one"]], axis=1),
            node("Reshape", [name["one"], name["rows"]], [name["flat"]]),
            node("Cast", [name["flat"]], [name["fp32"]], to=onnx.TensorProto.FLOAT),
            node("GreaterOrEqual", [name["fp32"], name["least"]], [name["is"]]),
            node("Cast", [name["is"]], [name["index"]], to=onnx.TensorProto.INT64),
            node("Gather", [name["both"], name["index"]], [label]),
        ]
    )


def _settle_label(graph: Any, trained: Trained) -> None:
    """Labels are of the type of the classes: skl2onnx gives 1 and 0 for True and False, and for 1.0 and 0.0."""
    kinds = library("onnx").TensorProto
    by_class: Mapping[Any, int] = {bool: kinds.BOOL, float: kinds.DOUBLE}
    kind = by_class.get(type(next(iter(trained.classes), None)))
    if kind and trained.role == "classifier" and graph.output[0].type.tensor_type.elem_type == kinds.INT64:
        graph.output[0].type.tensor_type.elem_type = kind
        _append(graph, graph.output[0].name, "Cast", to=kind)


def _settle_scores(graph: Any, trained: Trained) -> None:
    """For two classes of an SVC or NuSVC, skl2onnx negates the scores: the second class is chosen where its own score is negative."""
    if type(last_of(trained.pipeline)).__name__ in ("SVC", "NuSVC") and "scores" in trained.outputs and len(trained.classes) == 2:
        _append(graph, graph.output[1].name, "Neg")


def _append(graph: Any, name: str, operator: str, *others: str, **attributes: Any) -> None:
    """Puts a node behind all that gives an output, whose name it takes."""
    inner = _unlike(name, {name for node in graph.node for name in (*node.input, *node.output)})
    for node in graph.node:
        node.input[:] = [inner if each == name else each for each in node.input]
        node.output[:] = [inner if each == name else each for each in node.output]
    graph.node.append(library("onnx").helper.make_node(operator, [inner, *others], [name], **attributes))


def _unlike(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
