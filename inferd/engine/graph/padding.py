"""Requests of unequal length in one batch: the declarations of ModelOptions.padding, and the check at load that it changes no response.

    compile_padding    the configuration's entries -> the arguments of Signature
    check_padding      rows of several lengths, alone and padded together: equal responses, or the model is not served

Every row of a batch costs as much as its longest. On CPUs that is more than a shared run gains. Rows of a text model with 5 to 178 tokens
ran together at a third of the speed of one by one. So only similar lengths share a batch: those of one bucket, or of one half octave (8
to 11, 12 to 15, 16 to 23). If enough requests wait, only half of that range does (BatchQueue). Wide buckets are for devices
on which a larger run costs no more.
Never in here: queues, how rows are written (_core/batching/rows), onnxruntime.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd.engine.loading.warmup import Inputs, TrialCall
from inferd.errors import ConfigError, RequestError
from inferd.steps.pipeline import PadAxis
from inferd.tensors import DTYPES, Array, as_numbers, distances, is_fraction, numbers_as

if TYPE_CHECKING:
    from inferd.engine.running.executor import Instance
    from inferd.protocol.options import Padding

log = logging.getLogger("inferd.engine")

Outputs = dict[str, Array]
Spread = tuple[float, float]  # the least and the largest number
Distance = tuple[bool, float, float]  # True: from the padding value, False: from 0; then the nearest and the furthest

DEFAULT_TOLERANCE = 1e-3
# Lengths that are tried together, each set within one half octave: for text, for models that want multiples of 32, for sound. The first
# set that the model runs alone decides.
LENGTHS = ((13, 15, 12), (128, 160), (1700, 2000, 1600))
FREE_SIZES = (1, 32)  # of axes of any size that are not padded
LIMITS = (128, 2)  # random whole numbers are below: few vocabularies are smaller; token types are 0 and 1
# Fractions of a sample. They lie above and below the padding value, as a graph that takes a maximum or minimum ignores it on one side.
# They exceed 1, as a graph may clip there. Some keep a distance: else one of many is so close to the padding value that the tolerance
# hides the difference.
SPREADS: tuple[Distance, ...] = ((False, 0, 1), (False, 0, -1), (True, 0, 30), (True, 0, -30), (True, 10, 40), (True, -10, -40))
# Fractions of other magnitudes, for graphs that behave differently far from 0, or close to it.
SCALES: tuple[Distance, ...] = ((False, -1e-3, 1e-3), (False, 1e3, 1e4), (False, -1e3, -1e4))
ROUNDINGS = 4  # roundings of a row's numbers that are tried where padding changes outputs at such magnitudes
ROUNDED_LESS = 8  # rounding explains a difference if it moves the output by at least an eighth as much
# Whole numbers, tried after those from 0, in one padded input at a time. A model that runs the first uses them as numbers. One that looks
# something up by them fails there, and the other spreads are skipped.
FAR = -(1 << 30)
WHOLE_SPREADS: tuple[Distance, ...] = (
    (False, 0, FAR),
    (False, 0, -LIMITS[0]),
    (True, 1, 31),
    (True, 0, -30),
    (True, 10, 40),
    (True, -10, -40),
)
# Whole numbers without a sign, such as levels and pixels. Near an end of the datatype, the padding value itself is tried.
UNSIGNED_SPREADS: tuple[Distance, ...] = ((False, LIMITS[0], 2 * LIMITS[0]), (True, 10, 40), (True, -10, -40))


@dataclass(frozen=True)
class Paddings:
    """One model's declarations about unequal lengths. Axes are counted without the batch axis. See Signature."""

    axes: Mapping[str, PadAxis] = field(default_factory=dict)  # by the graph's input
    masks: Mapping[str, str] = field(default_factory=dict)  # the graph's input that is the mask -> the padded one
    cuts: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # the graph's output -> axis, padded input
    tolerance: float = DEFAULT_TOLERANCE
    largest: float = math.inf  # the largest magnitude of a fraction
    declared: bool = False  # the configuration has entries; else only steps pad


def compile_padding(entries: Iterable[Padding], where: str, made: Mapping[str, PadAxis] | None = None) -> Paddings:
    """Compiles ModelOptions.padding for Signature. `made`: inputs that steps pad by themselves; an entry for one of them adds outputs to
    cut. Raises ConfigError; Signature finds names and axes that the graph lacks."""
    axes, masks, cuts = dict(made or {}), dict[str, str](), dict[str, tuple[int, str]]()
    tolerances, largest = [DEFAULT_TOLERANCE], [math.inf]
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        here = f"{where}: padding[{index}] {entry.input!r}"
        if not entry.input:
            raise ConfigError(f"{where}: padding[{index}]: input is empty: name one of the graph's inputs")
        if entry.input in seen:
            raise ConfigError(f"{here}: the input has an entry already; one axis of each can be padded: remove one of the two")
        seen.add(entry.input)
        if not (math.isfinite(entry.tolerance) and entry.tolerance >= 0):
            raise ConfigError(f"{here}: tolerance is {entry.tolerance}; it must be a number from 0 (the default, {DEFAULT_TOLERANCE})")
        if not entry.largest >= 0:
            raise ConfigError(f"{here}: largest is {entry.largest}; it must be a number above 0, or 0: any size")
        declared = PadAxis(entry.axis, entry.value, tuple(entry.buckets), entry.left)
        if entry.input in axes:
            if entry.mask or entry.value or entry.buckets or entry.left or entry.axis != axes[entry.input].axis:
                raise ConfigError(
                    f"{here}: a step pads axis {axes[entry.input].axis} of this input; leave axis as it is, and "
                    "value, buckets, left and mask out"
                )
            declared = axes[entry.input]
        axes[entry.input] = declared
        if entry.mask in masks:
            raise ConfigError(f"{here}: {entry.mask!r} is the mask of {masks[entry.mask]!r} already: remove one of the two")
        if entry.mask:
            masks[entry.mask] = entry.input
        for cut in entry.cut:
            if cut.output in cuts:
                raise ConfigError(f"{here}: output {cut.output!r} is cut by another entry already: remove one of the two")
            cuts[cut.output] = cut.axis, entry.input
        tolerances.append(entry.tolerance or DEFAULT_TOLERANCE)
        largest.append(entry.largest or math.inf)
    return Paddings(axes, masks, cuts, max(tolerances[1:] or tolerances), min(largest), bool(seen))


def padded(signature: Signature, paddings: Paddings, *, shared: bool) -> Signature:
    """The signature for requests of unequal length; the same object where nothing is padded. Raises ConfigError.

    shared: requests share runs. If they do not, steps pad only to buckets, which limit the shapes of runs.
    """
    needed = shared or paddings.declared or (signature.max_batch_size > 0 and any(axis.buckets for axis in paddings.axes.values()))
    if not paddings.axes or not needed:
        return signature
    return _declaring(signature, paddings.axes, paddings.masks, paddings.cuts)


def _declaring(
    signature: Signature, paddings: Mapping[str, PadAxis], masks: Mapping[str, str], cuts: Mapping[str, tuple[int, str]]
) -> Signature:
    """The signature of the same run, with these declarations."""
    return Signature(
        signature.model_name.decode(),
        signature.model_version.decode(),
        signature.run_input_specs,
        signature.run_output_specs,
        signature.max_batch_size,
        paddings=paddings,
        masks=masks,
        cuts=cuts,
    )


# ---- the check at load ---------------------------------------------------------------------------------------------


def check_padding(
    instance: Instance, signature: Signature, where: str, tolerance: float = DEFAULT_TOLERANCE, largest: float = math.inf
) -> None:
    """Compares the outputs of rows of several lengths, each run alone and all of them padded. Does nothing where nothing is padded.

    signature: that of a run. largest: of the fractions in the rows, which are random. Raises ConfigError that names the output, the
    difference, the length and the cure. Only warns if the model runs none of the rows, or if rounding explains the difference, with
    numbers far from 0 or close to it.
    """
    if signature.max_batch_size < 2 or all(_size(signature, name) > 0 for name in signature.paddings):
        return  # nothing shares a batch, or the graph has no other length to compare with
    # Without buckets, a request that runs alone is not padded at all.
    free = {name: PadAxis(axis, value, left=left) for name, (axis, value, _, left) in signature.paddings.items()}
    plain = _declaring(signature, free, signature.masks, signature.cuts)
    failure: RequestError | None = None
    doubts: dict[float, _Difference] = {}  # by the size of the numbers, the largest difference
    for together in _random_requests(signature, largest):
        ran = False
        for series in together:
            for trial in series:
                rows = list(trial.rows)[: signature.max_batch_size]
                try:
                    alone = [_run(instance, plain, [row]) for row in rows]
                except RequestError as error:
                    failure = failure or error
                    break
                worst = _compare(instance, signature, trial._replace(rows=rows), alone, where)
                ran = True
                if worst is None or worst.amount <= tolerance:
                    continue
                if not (trial.scale and _moved_by_rounding(instance, plain, trial._replace(rows=rows), alone, worst, where)):
                    raise ConfigError(_changes(worst, signature, where, tolerance, trial.scale))
                doubts[trial.scale] = max(worst, doubts.get(trial.scale, worst))
        if ran:
            for scale, worst in doubts.items():
                log.warning(
                    "%s. It is served, since rounding moves these responses as much: where such numbers never come, nothing is to be done",
                    _changes(worst, signature, where, tolerance, scale),
                )
            return
    log.warning(
        "%s: padding could not be checked, the model runs none of the rows that were tried: %s; compare the responses to unequal requests",
        where,
        failure,
    )


class _Trial(NamedTuple):
    """Rows of several lengths. scale: the largest magnitude of their numbers if it is one of SCALES, else 0."""

    rows: Sequence[Inputs]
    scale: float = 0.0


def _moved_by_rounding(instance: Instance, plain: Signature, trial: _Trial, alone: Sequence[_Run], worst: _Difference, where: str) -> bool:
    """Whether rounding the numbers of the rows, as sums in another order do, moves the outputs of the rows alone as far. For unusual
    numbers it may: a softmax over large numbers is all or nothing."""
    random = np.random.default_rng(1)
    for _ in range(ROUNDINGS):
        for row, run in zip(trial.rows, alone, strict=True):
            try:
                moved = _run(instance, plain, [[(name, word, _rounded(random, name, word, array)) for name, word, array in row]])
            except RequestError:
                return False
            ((mine,), (other,)) = run.outputs, moved.outputs
            for difference in _differences(plain, worst.length, worst.size, mine, other, where, trial.scale):
                if difference.output == worst.output and difference.amount * ROUNDED_LESS >= worst.amount:
                    return True
    return False


def _rounded(random: np.random.Generator, name: str, word: str, array: Array) -> Array:
    """Fractions that differ by some units in their last place."""
    if not is_fraction(word) or _is_mask(name, word):
        return array
    if word == "BF16":
        flipped: Array = array ^ random.integers(0, 2, array.shape, np.uint16)
        return flipped
    noise = 4 * np.finfo(array.dtype).eps * random.uniform(-1, 1, array.shape)
    moved: Array = array * (1 + noise)
    return moved.astype(array.dtype)


Series = list[_Trial]  # tried in order, until the model does not run one alone


def _compare(instance: Instance, signature: Signature, trial: _Trial, alone: Sequence[_Run], where: str) -> _Difference | None:
    """The largest difference between rows alone and padded together; None where outputs are empty. Raises ConfigError."""
    rows = trial.rows
    try:
        together = _run(instance, signature, rows)
    except RequestError as error:
        lengths = ", ".join(str(_length(signature, row)) for row in rows)
        raise ConfigError(
            f"{where}: padding: rows of lengths {lengths} run alone, and fail when they are padded together ({error}); pad every input "
            "that has this axis, another axis, or remove the padding"
        ) from None
    differences = [
        difference
        for row, (mine,), padded, size in zip(rows, (run.outputs for run in alone), together.outputs, together.sizes, strict=True)
        for difference in _differences(signature, _length(signature, row), size, mine, padded, where, trial.scale)
    ]
    return max(differences, default=None)


class _Run(NamedTuple):
    """The outputs of each request, and the size to which its first padded input was padded."""

    outputs: list[Outputs]
    sizes: list[int]


class _Difference(NamedTuple):
    """One output of one row. amount: the difference, relative to values above 1. Ordered by that.

    At other magnitudes (SCALES) it is relative to the output's largest value, which decides the error of rounding in all others.
    """

    amount: float
    output: str
    length: int
    size: int
    alone: float
    padded: float


def _run(instance: Instance, signature: Signature, requests: Sequence[Inputs]) -> _Run:
    """Runs these requests, in one run if the signature lets them share it. Raises RequestError."""
    rows = signature.max_batch_size
    batcher = Batcher(rows, Statistics(rows), name=f"'{signature.model_name.decode()}' (check of padding)")
    calls: list[TrialCall] = []
    made: list[LocalRequest] = []
    for inputs in requests:
        request = LocalRequest(inputs)
        request.check(signature)
        calls.append(TrialCall())
        made.append(request)
        batcher.put(request, calls[-1])
    sizes = [0] * len(made)
    instance.warming_up = True
    try:
        while (batch := batcher.poll()) is not None:
            for ran in batch.requests:
                sizes[next(index for index, known in enumerate(made) if known is ran)] = _padded_to(signature, batch)
            instance.run_batch(batch)
            batch.deliver()
    finally:
        instance.warming_up = False
    for call in calls:
        if call.error is not None:
            raise call.error
    return _Run([dict(call.outputs) for call in calls], sizes)


def _padded_to(signature: Signature, batch: Batch) -> int:
    name = next(iter(signature.paddings))
    return batch.input_shape(signature.input_names.index(name))[signature.paddings[name][0] + 1]


def _size(signature: Signature, name: str) -> int:
    """The graph's own size of a padded axis; -1: any."""
    shapes = {known: shape for known, _, shape in signature.run_input_specs}
    return shapes[name][signature.paddings[name][0] + 1]


def _length(signature: Signature, inputs: Inputs) -> int:
    """The length of the first padded input."""
    name = next(iter(signature.paddings))
    shape: tuple[int, ...] = next(array.shape for known, _, array in inputs if known == name)
    return shape[signature.paddings[name][0] + 1]


# ---- rows to try ---------------------------------------------------------------------------------------------------


def _random_requests(signature: Signature, largest: float) -> Iterator[list[Series]]:
    """Lists of series. The series of one list are tried together."""
    padded = {name: axis + 1 for name, (axis, *_) in signature.paddings.items()}
    specs = signature.input_specs
    free = any(size < 0 and padded.get(name) != axis for name, _, shape in specs for axis, size in enumerate(shape) if axis)
    whole = any("INT" in word for _, word, _ in specs)
    spreads = [spread for spread in (*SPREADS, *SCALES) if max(map(abs, spread[1:])) <= largest or spread is SPREADS[0]]
    fractions = spreads if any(is_fraction(word) and not _is_mask(name, word) for name, word, _ in specs) else SPREADS[:1]
    wholes = [(name, word) for name, word, _ in specs if name in padded and "INT" in word and not _is_mask(name, word)]
    series: list[list[tuple[Distance, str]]] = [
        *([(spread, "")] for spread in fractions),
        *([(spread, name) for spread in (WHOLE_SPREADS if word[0] == "I" else UNSIGNED_SPREADS)] for name, word in wholes),
    ]

    def rows(lengths: tuple[int, ...], size: int, spreads: Callable[[str, str], Spread]) -> list[Inputs]:
        random = np.random.default_rng(0)
        return [
            [
                (name, word, _random(random, name, word, _shape(shape, padded.get(name, 0), length, size), spreads(name, word)))
                for name, word, shape in specs
            ]
            for length in lengths
        ]

    for lengths in _lengths(signature):
        for size in FREE_SIZES if free else FREE_SIZES[:1]:
            for limit in LIMITS if whole else LIMITS[:1]:
                yield [
                    [_Trial(rows(lengths, size, partial(_spread, signature, limit, spread, name)), _scale(spread)) for spread, name in each]
                    for each in series
                ]


def _lengths(signature: Signature) -> list[tuple[int, ...]]:
    """Sets of lengths that share a batch: of each bucket, or LENGTHS; none above a size that the graph fixes for an input."""
    buckets = max((buckets for _, _, buckets, _ in signature.paddings.values()), key=len)
    most = min((size for name in signature.paddings if (size := _size(signature, name)) > 0), default=0)
    tried = []
    for low, high in zip((1, *(bucket + 1 for bucket in buckets)), buckets, strict=False):
        middle = low + (high - low) // 2
        tried += [(middle, max(high - 1, low), low), (middle, high, low)]
    return [tuple(min(length, most or length) for length in lengths) for lengths in tried or LENGTHS]


def _shape(shape: tuple[int, ...], padded: int, length: int, size: int) -> tuple[int, ...]:
    """The shape of one row; `padded` is its padded axis, 0: it has none."""
    return 1, *(length if axis == padded else size if known < 0 else known for axis, known in enumerate(shape[1:], 1))


def _spread(signature: Signature, limit: int, spread: Distance, numbers: str, name: str, word: str) -> Spread:
    """The range of an input's numbers. `spread` decides those of the input `numbers`, or of all fractions where that is empty."""
    fraction = is_fraction(word)
    if name != numbers and (numbers or not fraction):
        return (0, 1) if fraction else (0, limit)
    from_filling, nearest, furthest = spread
    filling = float(signature.paddings[name][1]) if from_filling and name in signature.paddings else 0.0
    start = filling if math.isfinite(filling) else 0.0  # nothing is near to NaN and infinity
    return start + nearest, start + furthest


def _scale(spread: Distance) -> float:
    return max(map(abs, spread[1:])) if spread in SCALES else 0.0


def _is_mask(name: str, word: str) -> bool:
    """Whether an input is a mask, by its name. Trials set it to ones: nothing in it is padding."""
    return "mask" in name.lower() and word not in ("BYTES", "BF16")


def _random(random: np.random.Generator, name: str, word: str, shape: tuple[int, ...], spread: Spread) -> Array:
    if _is_mask(name, word):
        return np.ones(shape, DTYPES[word])
    if is_fraction(word):
        least, most = spread
        return numbers_as(word, least + (most - least) * random.random(shape))
    low, high = sorted((int(spread[0]), int(spread[1])))
    if word == "BOOL":
        low, high = 0, 2
    elif word != "BYTES":
        held = np.iinfo(DTYPES[word])
        low = min(max(low, held.min), held.max)
        high = max(low + 1, min(high, held.max + 1))
    return numbers_as(word, random.integers(low, high, shape))


# ---- comparing -----------------------------------------------------------------------------------------------------


def _differences(
    signature: Signature, length: int, size: int, alone: Outputs, padded: Outputs, where: str, scale: float
) -> Iterator[_Difference]:
    """One for each output of one row."""
    words = {name: word for name, word, _ in signature.output_specs}
    for name, one in alone.items():
        other = padded[name]
        if one.shape != other.shape:
            axes = [axis - 1 for axis in range(1, min(one.ndim, other.ndim)) if one.shape[axis] != other.shape[axis]]
            cure = f"cut it along axis {axes[0]} (padding.cut)" if axes else "remove the padding"
            raise ConfigError(
                f"{where}: padding: output {name!r} of a row of length {length} has shape {list(one.shape)} alone and {list(other.shape)} "
                f"once it is filled up to {size}: {cure}"
            )
        if words[name] == "BYTES":
            same = one.tolist() == other.tolist()
            yield _Difference(0.0 if same else math.inf, name, length, size, math.nan, math.nan)
        elif one.size:
            values, padded_values = (as_numbers(array, words[name]).reshape(-1) for array in (one, other))
            yield _numeric(values, padded_values, name, length, size, scale)


def _numeric(one: Array, other: Array, name: str, length: int, size: int, scale: float) -> _Difference:
    with np.errstate(all="ignore"):
        values = np.abs(one)
        amounts = distances(one, other, np.maximum(1.0, np.max(values, where=np.isfinite(values), initial=0.0) if scale else values))
    worst = int(np.argmax(amounts))
    return _Difference(float(amounts[worst]), name, length, size, float(one[worst]), float(other[worst]))


def _changes(worst: _Difference, signature: Signature, where: str, tolerance: float, scale: float = 0.0) -> str:
    """The text of an error or warning. scale: the magnitude of numbers, if only that brought the difference about."""
    held = ", ".join(repr(name) for name, word, _ in signature.input_specs if is_fraction(word) and not _is_mask(name, word))
    tried = f", of numbers as large as {scale:g} in {held}," if scale else ""
    values = "" if math.isnan(worst.alone) and math.isnan(worst.padded) else f" ({worst.alone:g} alone, {worst.padded:g} padded)"
    return (
        f"{where}: padding changes responses: output {worst.output!r} of a row of length {worst.length}{tried} "
        f"differs by {worst.amount:.3g}{values} once it is filled up to {worst.size}, and the tolerance is {tolerance:g}: "
        "give the graph a mask of what is real "
        "(padding.mask), pad another axis, on the other side (padding.left; of texts tokenizer.json says it, padding.direction) or with "
        "another value, "
        + ("say how large numbers may be (padding.largest), " if scale > 1 else "")
        + "allow more (padding.tolerance), or remove the padding"
    )
