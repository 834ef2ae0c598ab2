"""Steps after the graph: an output of a run becomes what clients get. Softmax, top-k with labels, means, boxes, another datatype.

    compile_output    one entry of `postprocess` -> OutputSteps, or a ConfigError that names the step
    OutputSteps       all rows of a run at once; native where it counts (_core/media/scores.pyx, _core/media/boxes.pyx)

Scores are computed in FP32, whatever the graph gives: FP16 and FP64 become FP32 first. Never in here: requests, encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.media import scores
from inferd.errors import ConfigError
from inferd.protocol import options
from inferd.steps.detections import compile_detections
from inferd.steps.labels import shown_ends
from inferd.steps.numbers import CASTS, cast
from inferd.steps.pipeline import Array, EntryPlace, TensorType
from inferd.steps.stage import At, Inner, Last, Run

if TYPE_CHECKING:
    from inferd.protocol.options import Postprocess

DEFAULT_K = 5
_FLOATS = ("FP16", "FP32", "FP64")
DEFAULT_MASK = "attention_mask"


class OutputSteps:
    """A compiled list: an OutputPipeline. Results are new arrays, or the graph's own where there are no steps."""

    def __init__(
        self, outputs: Sequence[tuple[str, TensorType]], inner: Sequence[Run], last: Callable[[Array], list[Array]] | None
    ) -> None:
        self.outputs = tuple(outputs)
        self._inner = tuple(inner)
        self._last = last

    def finish(self, array: Array, inputs: Mapping[str, Array]) -> list[Array]:
        for run in self._inner:
            array = run(array, inputs)
        return [array] if self._last is None else self._last(array)


def compile_output(entry: Postprocess, place: EntryPlace) -> OutputSteps:
    """One entry of `postprocess` -> its pipeline. Raises ConfigError naming the step, what it was given and the cure."""
    output, kind = place.only_free(entry.output)
    _check_classes(entry, kind, place)
    name = entry.name or output
    inner: list[Run] = []
    last: Last | None = None
    for number, step in enumerate(entry.steps):
        word = step.WhichOneof("step") or ""
        at = At(place, number, word or "empty", name, kind, (entry.steps[number - 1].WhichOneof("step") or "") if number else "")
        if not word:
            raise at.wrong(f"it names no step: remove it, or name one of {', '.join((*_SCORES, *_OTHERS))}")
        if last is not None:
            raise at.wrong(f"nothing can follow {entry.steps[number - 1].WhichOneof('step')}: make that the last step")
        if word == "drop" and len(entry.steps) > 1:
            raise at.wrong("an output that clients do not get needs no other step: leave drop alone in its list, or out of it")
        if word in _SCORES:
            inner += _to_single(at)
            at = at._replace(kind=TensorType("FP32", kind.shape))
        made = (_SCORES.get(word) or _OTHERS[word])(at, getattr(step, word))
        if isinstance(made, Last):
            last = made
        else:
            kind = made.kind
            inner.append(made.run)
    return OutputSteps([(name, kind)], inner, None) if last is None else OutputSteps(last.outputs, inner, last.run)


def _check_classes(entry: Postprocess, kind: TensorType, place: EntryPlace) -> None:
    count = len(entry.classes)
    if count and (not kind.shape or kind.shape[-1] not in (-1, count)):
        raise ConfigError(f"{place.where}: classes names {count}, and the output is {kind}: name as many as its last axis has, or none")


def _to_single(at: At) -> list[Run]:
    """Runs that turn the input of a step over scores into C-contiguous FP32. Raises ConfigError for an input that holds no scores."""
    datatype = at.kind.datatype
    if datatype not in _FLOATS:
        cure = "put a cast to FP32 before it" if datatype in CASTS else "export the graph with FP32 scores"
        if at.number:
            cure = "leave it out, or put it further to the front"
        elif scores_of := [f"{name!r} ({kind})" for name, kind in at.place.free.items() if kind.shape and kind.datatype in _FLOATS]:
            cure = f"name the output that has a score for each class: {' or '.join(scores_of)}"
        raise at.wrong(f"it takes FP16, FP32 or FP64, and is given {at.kind}: {cure}")
    if datatype == "FP64":
        return [_converted("FP32")]
    if datatype == "FP32" and at.number:
        return []  # made by the step before
    return [lambda array, inputs: np.ascontiguousarray(array, np.float32)]


Along = Callable[[Array], tuple[Array, ...]]  # arrays of the same axes; what it works along is the last one


def _axis(at: At, written: options.Softmax | options.TopK | options.Argmax | options.L2Normalize) -> int:
    """The axis of a row's shape that a step works along, from 0: the configured one, or the only one of another size than 1.

    Raises ConfigError where several may be meant, or there is none.
    """
    shape = at.kind.shape
    if not shape:
        raise at.wrong(f"it works along an axis, and is given {at.kind}, one number a row: leave it out")
    sizes = ["any size" if size < 0 else str(size) for size in shape]
    choices = " or ".join(f"axis = {axis} (of {size})" for axis, size in enumerate(sizes))
    if written.HasField("axis"):
        if not -len(shape) <= written.axis < len(shape):
            raise at.wrong(f"axis is {written.axis}, and it is given {at.kind}: write {choices}")
        return written.axis % len(shape)
    large = [axis for axis, size in enumerate(shape) if size != 1]
    if len(large) > 1:
        raise at.wrong(f"it works along one axis, and is given {at.kind}, which has several: write {choices}")
    return large[0] if large else len(shape) - 1


def _along(at: At, axis: int, work: Along) -> Along:
    """The same work along another axis than the last one."""
    if axis == len(at.kind.shape) - 1:
        return work
    behind = axis + 1  # the rows
    return lambda array: tuple(
        np.ascontiguousarray(np.moveaxis(made, -1, behind)) for made in work(np.ascontiguousarray(np.moveaxis(array, behind, -1)))
    )


def _with_size(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _changed(at: At, step: options.Softmax | options.L2Normalize, change: Callable[[Array], Array]) -> Inner:
    change_along = _along(at, _axis(at, step), lambda array: (change(array),))
    return Inner(at.kind, lambda array, inputs: change_along(array)[0])


def _classes(at: At, axis: int) -> int:
    classes = at.size(axis, "to know what can be found")
    if not classes:
        raise at.wrong(f"it looks for the largest of the {at.called(axis)}, and is given {at.kind}, which is empty: leave it out")
    return classes


def _class_labels(at: At, file: str, axis: int) -> Array | None:
    """Labels of as many classes. Raises ConfigError where the file has more lines or fewer."""
    labels, classes = at.labels(file), at.kind.shape[axis]
    if labels is not None and len(labels) != classes:
        raise at.wrong(
            f"labels {file!r} has {len(labels)} lines, {shown_ends(labels)}, and the {at.called(axis)} of {at.kind} has {classes} "
            f"classes: write a line for each class, in their order"
        )
    return labels


def _top_k(at: At, step: options.TopK) -> Last:
    axis = _axis(at, step)
    classes = _classes(at, axis)
    k = step.k or DEFAULT_K
    if k > classes:
        default = "" if step.k else ", the default"
        raise at.wrong(f"k is {k}{default}, and the {at.called(axis)} of {at.kind} has {classes}: write k = {classes}, or less")
    labels = _class_labels(at, step.labels, axis)
    shape = _with_size(at.kind.shape, axis, k)
    best = _along(at, axis, lambda array: scores.top_k(array, k))
    outputs = [(at.name, TensorType("FP32", shape)), (f"{at.name}_index", TensorType("INT64", shape))]
    if labels is None:
        return Last(tuple(outputs), lambda array: list(best(array)))
    outputs.append((f"{at.name}_label", TensorType("BYTES", shape)))
    label_of = labels.take

    def named(array: Array) -> list[Array]:
        values, places = best(array)
        return [values, places, label_of(places)]

    return Last(tuple(outputs), named)


def _argmax(at: At, step: options.Argmax) -> Inner:
    axis = _axis(at, step)
    _classes(at, axis)
    labels = _class_labels(at, step.labels, axis)
    shape = _with_size(at.kind.shape, axis, 1)
    best = _along(at, axis, lambda array: scores.top_k(array, 1))
    if labels is None:
        return Inner(TensorType("INT64", shape), lambda array, inputs: best(array)[1])
    label_of = labels.take
    return Inner(TensorType("BYTES", shape), lambda array, inputs: label_of(best(array)[1]))


def _mean_pool(at: At, step: options.MeanPool) -> Inner:
    if len(at.kind.shape) != 2:
        raise at.wrong(f"it takes [tokens, size], and is given {at.kind}: leave it out, or export the graph with an output of each token")
    tokens, size = at.kind.shape
    mask = step.mask or DEFAULT_MASK
    kind = at.place.inputs.get(mask)
    if kind is None:
        known = ", ".join(map(repr, at.place.inputs)) or "none"
        raise at.wrong(f"mask is {mask!r}, and the graph has no such input: name one of its inputs: {known}")
    fits = kind.datatype in CASTS and len(kind.shape) == 1 and (-1 in (tokens, kind.shape[0]) or kind.shape[0] == tokens)
    if not fits:
        raise at.wrong(f"mask {mask!r} is {kind}; it must hold a number for each token of {at.kind}: name another of the graph's inputs")

    def pool(array: Array, inputs: Mapping[str, Array]) -> Array:
        real = np.not_equal(inputs[mask], 0, order="C")
        return scores.mean_pool(array, real.reshape(array.shape[:2]))

    return Inner(TensorType("FP32", (size,)), pool)


def _cast(at: At, step: options.Cast) -> Inner:
    target = step.datatype
    if target not in CASTS:
        raise at.wrong(f"datatype is {target!r}; it must be one of {', '.join(CASTS)}")
    if at.kind.datatype not in CASTS:
        raise at.wrong(f"it takes numbers, and is given {at.kind}: leave it out")
    return Inner(TensorType(target, at.kind.shape), _converted(target))


def _converted(datatype: str) -> Run:
    convert = cast(options.Cast(datatype=datatype))

    def run(array: Array, inputs: Mapping[str, Array]) -> Array:
        with np.errstate(invalid="ignore"):  # a NaN that traps is one like any other, and no news for stderr
            return np.ascontiguousarray(convert(array))

    return run


Make = Callable[[At, Any], "Inner | Last"]  # of the step's own message

# Steps over scores, which are given FP32, and the others.
_SCORES: dict[str, Make] = {
    "softmax": lambda at, step: _changed(at, step, scores.softmax),
    "sigmoid": lambda at, step: Inner(at.kind, lambda array, inputs: scores.sigmoid(array)),
    "top_k": _top_k,
    "argmax": _argmax,
    "mean_pool": _mean_pool,
    "l2_normalize": lambda at, step: _changed(at, step, scores.l2_normalize),
    "detect_boxes": compile_detections,
}
_OTHERS: dict[str, Make] = {"cast": _cast, "drop": lambda at, step: Last((), lambda array: [])}
