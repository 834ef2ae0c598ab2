"""First runs of a model before it is ready. They allocate, bind and compile all that a first request would wait for, and measure whether
the model is small enough for the event loop.

They take the path of every request (check, batcher, run_batch, deliver), with a separate batcher and statistics that nobody reads. Never in
here: what follows from the measured time (model.py, _core/inference/inline_policy.pyx).
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import Call
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd.engine.loading.load_limit import limited
from inferd.engine.loading.steadiness import Steadiness
from inferd.errors import ConfigError, RequestError, StartError
from inferd.tensors import DTYPES, Array, array_of, is_fraction, numbers_as, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.engine.running.executor import Instance
    from inferd.protocol.inference import ModelConfig

log = logging.getLogger("inferd.engine")

Inputs = list[tuple[str, str, Array]]  # name, datatype word, array
Prepare = Callable[[Sequence[LocalRequest]], None]  # steps.plan.Plan.prepare
Examples = Mapping[str, Array]  # a row of inputs that steps make: these are never zeros, and the graph may reject zeros

_UNREAD = Statistics(0)  # shared by all warm-up runs, as making one takes longer than a run of a small model
MEASURED_RUNS = 5  # of each size, after one that is not counted
INTERRUPTED_NS = 20_000_000  # the system may interrupt a run for so long
PAUSE_S = 0.0002  # before a run that is measured as in service
LARGEST_RUN_NS = 1_000_000_000  # a warm-up run at max_batch_size that would take longer is made with fewer rows
LARGEST_RUN_BYTES = 1 << 30  # so is one whose inputs would be larger
MOST_FILE_BYTES = 1 << 30  # of one input_data_file
MOST_TRIED = 1 << 18  # elements of the inputs of one row, where their sizes vary


class TrialCall(Call):
    """Keeps the response, or the error."""

    outputs: Mapping[str, Array] = {}
    error: RequestError | None = None

    def reply(self, message: Any) -> None:
        self.outputs = message

    def fail(self, error: RequestError) -> None:
        self.error = error


def warm_up(instance: Instance, signature: Signature, examples: Examples, *, once: bool = False) -> None:
    """Runs one row, and then max_batch_size rows, which touches all memory of a run, until each takes a steady time. A backend binds other
    row counts when they come. once: one run of each is enough. Raises RequestError when the model fails."""
    first_ns = _run_until_steady(instance, signature, rows_of(signature, examples, 1), once)
    largest = _largest_rows(signature, first_ns)
    if largest > 1:
        _run_until_steady(instance, signature, rows_of(signature, examples, largest), once)


def _run_until_steady(instance: Instance, signature: Signature, inputs: Inputs, once: bool) -> int:
    """Returns the time of the first run, in ns."""
    first_ns = run_ns = run_once(instance, signature, inputs)
    steadiness = Steadiness()
    while not (steadiness.ran(run_ns) or once):
        run_ns = run_once(instance, signature, inputs)
    if steadiness.compared and not steadiness.steady:
        log.debug("%s: its run times were not steady after %d runs", instance.name, steadiness.runs)
    return first_ns


def is_deterministic(instance: Instance, signature: Signature, examples: Examples) -> bool | None:
    """Whether two runs of the same row give the same bytes; None: the model does not take the row. Fractions of the row are not zero, as
    some random operators do not change zeros."""
    inputs = [
        (name, word, _random(word, array.shape) if name not in examples and is_fraction(word) else array)
        for name, word, array in rows_of(signature, examples, 1)
    ]
    try:
        one, other = (_response(instance, signature, inputs)[1] for _ in range(2))
    except RequestError:
        return None
    return all(_bits(array) == _bits(other[name]) for name, array in one.items())


def _bits(array: Array) -> object:
    return array.tolist() if array.dtype.hasobject else array.tobytes()


def run_one_row(instances: Sequence[Instance], signature: Signature, examples: Examples) -> None:
    """Runs one row on each instance. Ignores a rejection by the model."""
    inputs = rows_of(signature, examples, 1)
    with suppress(RequestError):
        for instance in instances:
            run_once(instance, signature, inputs)


def measure(instance: Instance, signature: Signature, examples: Examples, hopeless_ns: int) -> int:
    """The median run in ns, of one row or of max_batch_size rows, whichever is longer. Stops at two successive runs above `hopeless_ns`,
    or at a first one far above it, and returns the shorter. Call after warm_up. Raises RequestError when the model fails."""
    longest_ns = 0
    for rows in sorted({1, _largest_rows(signature, 0)}):  # one row first: if that is hopeless, the most rows may take seconds
        inputs = rows_of(signature, examples, rows)
        runs_ns: list[int] = []
        for _ in range(MEASURED_RUNS + 1):
            runs_ns.append(run_once(instance, signature, inputs))
            shortest_ns = min(runs_ns[-2:])
            if shortest_ns > hopeless_ns + (0 if len(runs_ns) > 1 else INTERRUPTED_NS):
                return shortest_ns
        longest_ns = max(longest_ns, int(statistics.median(runs_ns[1:])))
    return longest_ns


def short_nbytes(instance: Instance, signature: Signature, examples: Examples, limit_ns: int) -> int:
    """Input bytes of the largest tried request of one row that runs within `limit_ns`. All axes of any size are 1, then 4, 16 and so on. It
    stops when a run takes longer, the model rejects the size, or inputs have more than MOST_TRIED elements. Call after warm_up."""
    found, size = 0, 1
    first_axis = 1 if signature.max_batch_size > 0 else 0
    while sum(math.prod(_fixed(shape[first_axis:], size)) for _, _, shape in signature.input_specs) <= MOST_TRIED and size <= MOST_TRIED:
        inputs = rows_of(signature, examples, 1, size)
        try:
            if min(run_once(instance, signature, inputs) for _ in range(2)) > limit_ns:
                break
        except RequestError:
            break
        found, size = sum(array.nbytes for _, _, array in inputs), 4 * size
    return found


def paused(instance: Instance, signature: Signature, examples: Examples, rows: int, hopeless_ns: int) -> int:
    """The median run of so many rows in ns. Each run comes after a pause, as in service, so that sleeping threads have to be woken. If the
    first warm run is above `hopeless_ns`, it is the only one. Raises RequestError when the model fails."""
    inputs = rows_of(signature, examples, rows)
    run_once(instance, signature, inputs)
    runs_ns = [run_once(instance, signature, inputs)]
    while runs_ns[0] <= hopeless_ns and len(runs_ns) < MEASURED_RUNS:
        time.sleep(PAUSE_S)
        runs_ns.append(run_once(instance, signature, inputs))
    return int(statistics.median(runs_ns))


def doubling_rows(signature: Signature) -> list[int]:
    """1, 2, 4 and so on, and the most rows that a warm-up runs."""
    largest = _largest_rows(signature, 0)
    return [*(1 << power for power in range((largest - 1).bit_length())), largest]


def run_once(instance: Instance, signature: Signature, inputs: Inputs, prepare: Prepare | None = None) -> int:
    """Runs one request. Returns how long the model ran, in ns. signature: that of the run; with `prepare`, which makes the inputs of the
    run, that of clients. Raises the request's RequestError."""
    return _response(instance, signature, inputs, prepare)[0]


def _response(instance: Instance, signature: Signature, inputs: Inputs, prepare: Prepare | None = None) -> tuple[int, Mapping[str, Array]]:
    """As run_once; returns the outputs, too."""
    request = LocalRequest(inputs)
    request.check(signature)
    rows, name = max(signature.max_batch_size, 1), f"'{signature.model_name.decode()}' (warm-up)"
    batcher = Batcher(rows, _UNREAD, name=name)
    call = TrialCall()
    if prepare is None:
        batcher.put(request, call)
    else:
        _prepare(request, call, Batcher(rows, _UNREAD, name=name), batcher, prepare)
    with limited(instance.backend.terminate):
        batch = batcher.poll()
        assert batch is not None
        instance.warming_up = True
        instance.run_batch(batch)
        instance.warming_up = False
        batch.deliver()
    if call.error is not None:
        raise call.error
    return batch.execute_ns, call.outputs


def _prepare(request: LocalRequest, call: TrialCall, front: Batcher, batcher: Batcher, prepare: Prepare) -> None:
    """Prepares a request, and moves it from the queue in front into that of the run, as running/preparer.py does."""
    front.put(request, call)
    batch = front.poll()
    assert batch is not None
    prepare([request])
    if not request.rejected:
        batch.forward(request, batcher)
    batch.deliver()
    if call.error is not None:
        raise call.error


def rows_of(signature: Signature, examples: Examples, rows: int, size: int = 1) -> Inputs:
    """`rows` times the example of every input, or zeros and empty texts where it has none; axes of any size are `size`."""
    batched = signature.max_batch_size > 0
    return [
        (name, word, _repeated(examples.get(name), word, (rows, *_fixed(shape[1:], size)) if batched else _fixed(shape, size)))
        for name, word, shape in signature.input_specs
    ]


def configured_inputs(config: ModelConfig, signature: Signature, find: Callable[[str], Path] = Path) -> Iterator[tuple[str, int, Inputs]]:
    """The runs of the configuration's model_warmup: (name, number of runs, inputs). find: the path of an input_data_file. Raises
    ConfigError, and StartError where a file cannot be read."""
    words = {name: (word, shape) for name, word, shape in signature.input_specs}
    for sample in config.model_warmup:
        rows = (max(sample.batch_size, 1),) if signature.max_batch_size > 0 else ()
        asked: Mapping[str, Any] = sample.inputs
        inputs = []
        for name, (word, shape) in words.items():
            if name not in asked and name in signature.defaults:
                continue
            dims = tuple(asked[name].dims) if name in asked and asked[name].dims else _fixed(shape[1:] if rows else shape)
            kind = asked[name].WhichOneof("input_data_type") if name in asked else "zero_data"
            if kind == "input_data_file":
                where = f"model {config.name!r}: model_warmup {sample.name!r}: inputs {name!r}: input_data_file"
                array = _read(find(asked[name].input_data_file), where, word, rows, dims)
            else:
                array = (_random if kind == "random_data" else zeros)(word, (*rows, *dims))
            inputs.append((name, word, array))
        yield sample.name, max(sample.count, 1), inputs


def _read(path: Path, where: str, word: str, rows: tuple[int, ...], dims: tuple[int, ...]) -> Array:
    """The tensor in a file, encoded as in requests: one row, which is repeated, or all of them."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise StartError(f"{where} {path.name!r} cannot be read: {error.strerror}") from None
    count = math.prod(dims)
    with suppress(ValueError):
        elements = array_of(word, (-1,), content)
        if len(elements) == count:
            return np.ascontiguousarray(np.broadcast_to(elements.reshape(dims), (*rows, *dims)))
        if rows and len(elements) == rows[0] * count:
            return elements.reshape(*rows, *dims)
    texts = f"{count} texts, each behind its length as 4 bytes (little-endian)"
    said = texts if word == "BYTES" else f"{count * DTYPES[word].itemsize} bytes"
    raise ConfigError(f"{where} {path.name!r} has {len(content)} bytes: a row of {word}{list(dims)} has {said}: write one, or batch_size")


def _largest_rows(signature: Signature, one_row_ns: int) -> int:
    row_bytes = sum(array.nbytes for _, _, array in rows_of(signature, {}, 1))
    return max(min(signature.max_batch_size, LARGEST_RUN_NS // max(one_row_ns, 1), LARGEST_RUN_BYTES // max(row_bytes, 1)), 1)


def _fixed(shape: tuple[int, ...], size: int = 1) -> tuple[int, ...]:
    return tuple(size if axis < 0 else axis for axis in shape)


def _repeated(row: Array | None, word: str, shape: tuple[int, ...]) -> Array:
    """The row, repeated along the first axis; zeros where there is none."""
    if row is None:
        return zeros(word, shape)
    return np.ascontiguousarray(np.broadcast_to(row, (*shape[: len(shape) - row.ndim], *row.shape)))


def _random(word: str, shape: tuple[int, ...]) -> Array:
    """Reproducible random values: fractions from 0 to 1, whole numbers of a few bits, digits for text."""
    generator = np.random.default_rng(0)
    limit = {"BOOL": 2, "BYTES": 1000}.get(word, 128)
    return numbers_as(word, generator.random(shape) if is_fraction(word) else generator.integers(0, limit, shape))
