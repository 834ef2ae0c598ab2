"""All steps of one model: what clients send and get, and how a run's inputs and outputs are made of it.

    compile_steps   the configuration's entries -> pipelines
    Plan            the two contracts that come of them: what clients see, and what a run takes
    Plan.prepare    requests -> their runs' inputs, on a preprocess thread
    Plan.finish     a run's outputs -> the responses' tensors, on the thread of the run

Inputs that no entry names go to the graph as they come, outputs that none names to the client as they are. Never in here: threads,
queues, what one kind of step does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Cancelled, ConfigError, DeadlineExceeded, Internal, RequestError
from inferd.steps.pipeline import Array, Content, EntryPlace, InputPipeline, OutputPipeline, PadAxis, TensorType, Value, detached
from inferd.steps.tensors import STEPS, compile_tensor

if TYPE_CHECKING:
    from inferd._core.batching.request import Request
    from inferd.protocol.inference import ModelConfig
    from inferd.protocol.options import Postprocess, Preprocess

log = logging.getLogger("inferd.steps")

Spec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape as Signature has it

# The first step of a list says of which kind it is; every other step is one of images, or of plain tensors.
_KINDS = {"decode_audio": "audio", "samples": "audio", "tokenize": "text", "columns": "table"}


class Pipelines(NamedTuple):
    """The compiled lists of one model: of its inputs, and of the graph's outputs by name."""

    inputs: tuple[InputPipeline, ...] = ()
    outputs: Mapping[str, OutputPipeline] = {}

    @property
    def paddings(self) -> dict[str, PadAxis]:
        """The graph's inputs that requests of different lengths share a batch in."""
        return {name: pad for pipeline in self.inputs for name, pad in pipeline.paddings.items()}

    @property
    def examples(self) -> dict[str, Array]:
        """A row of each of the graph's inputs that no row of zeros ever goes into."""
        return {name: rows[0] for name, rows in self.samples(1).items()}

    def samples(self, count: int) -> dict[str, Array]:
        """So many different rows, as far as there are, of each of these inputs."""
        return {name: rows for pipeline in self.inputs for name, rows in pipeline.samples(count).items()}

    def narrowed(self, graph: Signature) -> Signature:
        """The graph's contract with the sizes that steps fix: a picture is resized to so many pixels, whatever the graph takes."""
        made = {name: kind.shape for pipeline in self.inputs for name, kind in pipeline.outputs}
        specs = [(name, word, _fixed(shape, made.get(name, ()))) for name, word, shape in graph.input_specs]
        name, version = graph.model_name.decode(), graph.model_version.decode()
        return Signature(name, version, specs, graph.output_specs, graph.max_batch_size)


class Plan:
    """The compiled steps of one model. `graph`: what a run takes and gives, with its paddings. Raises ConfigError.

    signature: what clients send and get. run_signature: what a run takes, and what is made of it for clients. examples: those
    of the pipelines. contents: the Content of each input that clients send.
    """

    def __init__(self, graph: Signature, pipelines: Pipelines) -> None:
        inputs, outputs = pipelines
        self._title = f"model '{graph.model_name.decode()}' version {graph.model_version.decode()}"
        self._inputs = inputs
        self._outputs = outputs
        self._run_inputs = [name for name, _, _ in graph.run_input_specs]
        self._run_outputs = graph.output_names
        self._batched = graph.max_batch_size > 0
        self.prepares = bool(inputs)
        self.finishes = bool(outputs)
        self.examples = pipelines.examples
        self.together = min((pipeline.together for pipeline in inputs), default=1)
        self._fed = tuple(name for pipeline in inputs for name, _ in pipeline.outputs)
        words = {name: word for name, word, _ in graph.input_specs}
        self._fed_words = [words[name] for name in self._fed]
        run_specs = (*graph.run_input_specs, *graph.run_output_specs)
        # Tensors of a graph without a batch axis, and without an axis of 1 in its place.
        self._bare = {name for name, _, shape in run_specs if not self._batched and shape[:1] != (1,)}
        sent = [spec for spec in graph.input_specs if spec[0] not in self._fed]
        asked = [(name, kind.datatype, self._wire_shape(kind, bare=False)) for pipeline in inputs for name, kind in pipeline.inputs]
        given: list[Spec] = []
        for spec in graph.output_specs:
            if spec[0] in outputs:
                given += [(name, kind.datatype, self._wire_shape(kind, spec[0] in self._bare)) for name, kind in outputs[spec[0]].outputs]
            else:
                given.append(spec)
        if cut := [name for name in graph.cuts if name in outputs]:
            raise ConfigError(
                f"{self._title}: padding cuts output {cut[0]!r}, which has steps, and they see whole rows: leave one of the two out"
            )
        name, version, rows = graph.model_name.decode(), graph.model_version.decode(), graph.max_batch_size
        self.run_signature = Signature(
            name, version, graph.run_input_specs, given, rows, paddings=graph.paddings, masks=graph.masks, cuts=graph.cuts
        )
        binary = [name for name, word, _ in asked if word == "BYTES"]
        self.signature = Signature(name, version, [*asked, *sent], given, rows, binary=binary) if inputs else self.run_signature
        places = {name: index for index, name in enumerate(self.signature.input_names)}
        self._takes = [[places[name] for name, _ in pipeline.inputs] for pipeline in inputs]
        self._gives = [word for _, word, _ in given]
        asks = {name: pipeline.content for pipeline in inputs for name, _ in pipeline.inputs}
        self.contents = bytes(asks.get(name, Content.UNPREPARED) for name in self.signature.input_names)

    def _wire_shape(self, kind: TensorType, bare: bool) -> tuple[int, ...]:
        """A row's shape as a request has it: behind the batch axis; without one, as the graph has it."""
        if self._batched:
            return -1, *kind.shape
        if kind.datatype == "BYTES" and kind.shape == (1,):
            return (1,)
        return kind.shape if bare else (1, *kind.shape)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Gives every request the inputs of its run, or the error that it is rejected with. On a preprocess thread.

        Any other error than a RequestError is a fault of ours: it is logged, and all of these requests are rejected.
        """
        try:
            values = [request.values() for request in requests]
            results: list[list[Array] | RequestError] = [[] for _ in requests]
            for pipeline, takes in zip(self._inputs, self._takes, strict=True):
                self._carry_out(pipeline, takes, requests, values, results)
            for request, result in zip(requests, results, strict=True):
                if isinstance(result, RequestError):
                    request.reject(result)
                else:
                    self._hand_over(request, result)
        except Exception:
            log.exception("%s: inputs could not be prepared", self._title)
            for request in requests:
                request.reject(Internal(f"{self._title}: the inputs could not be prepared; the server's log has the details"))

    def _carry_out(
        self,
        pipeline: InputPipeline,
        takes: Sequence[int],
        requests: Sequence[Request],
        values: Sequence[list[Value]],
        results: list[list[Array] | RequestError],
    ) -> None:
        """One pipeline over all requests that are still good; what it gives is added to `results`."""
        good = [place for place, result in enumerate(results) if not isinstance(result, RequestError)]
        given = [[self._rows(values[place][index]) for index in takes] for place in good]
        check = _checks([requests[place] for place in good], self._title)
        for place, result in zip(good, pipeline.prepare(given, check), strict=True):
            so_far = results[place]
            if isinstance(result, RequestError):
                results[place] = result
            elif isinstance(so_far, list):
                so_far.extend(result)

    def _rows(self, value: Value) -> Value:
        """Rows first, as pipelines take it."""
        if self._batched or isinstance(value, list):
            return value
        return value if value.shape[:1] == (1,) else value[None]

    def _hand_over(self, request: Request, arrays: list[Array]) -> None:
        laid = [array[0] if name in self._bare else array for name, array in zip(self._fed, arrays, strict=True)]
        try:
            tensors = Tensors(laid, self._fed_words, self._batched, request.rows if self._batched else None)
            request.prepare(tensors, self._fed, self.run_signature)
        except RequestError as error:
            request.reject(detached(error))

    def finish(self, inputs: Tensors, outputs: Tensors) -> Tensors:
        """The outputs of a run -> what clients get of them."""
        named = dict(zip(self._run_inputs, inputs.arrays, strict=True))
        arrays: list[Array] = []
        for name, array in zip(self._run_outputs, outputs.arrays, strict=True):
            pipeline = self._outputs.get(name)
            if pipeline is None:
                arrays.append(array)
            elif name in self._bare:
                arrays += [made[0] for made in pipeline.finish(array[None], named)]
            else:
                arrays += pipeline.finish(array, named)
        return Tensors(arrays, self._gives, self._batched)


def compile_steps(
    config: ModelConfig, graph: Signature, folders: Sequence[Path], where: str, repository: Path | None = None
) -> Pipelines | None:
    """The pipelines of a completed configuration; None where it has no steps. `graph`: the contract without them. folders, repository:
    see EntryPlace.

    Raises ConfigError naming the entry and the step.
    """
    own = config.inferd
    if not own.preprocess and not own.postprocess:
        return None
    batched = graph.max_batch_size > 0
    inputs = {name: _row(word, shape, batched) for name, word, shape in graph.input_specs}
    outputs = {name: _row(word, shape, batched) for name, word, shape in graph.output_specs}
    given = _input_pipelines(own.preprocess, EntryPlace(where, inputs, tuple(folders), repository=repository))
    gained = _output_pipelines(own.postprocess, EntryPlace(where, outputs, tuple(folders), inputs, repository=repository))
    if not given and not gained:
        return None
    sent = [name for pipeline in given for name, _ in pipeline.inputs]
    fed = {name for pipeline in given for name, _ in pipeline.outputs}
    _reject_twice(where, "input", [*sent, *(name for name in inputs if name not in fed)])
    got = [name for name in outputs if name not in gained]
    _reject_twice(where, "output", [*got, *(name for pipeline in gained.values() for name, _ in pipeline.outputs)])
    if not got and not any(pipeline.outputs for pipeline in gained.values()):
        raise ConfigError(f"{where}: postprocess drops every output: leave one")
    return Pipelines(tuple(given), gained)


def _fixed(shape: tuple[int, ...], row: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a graph's tensor, in which axes of any size are those of the row, where that knows them."""
    first = len(shape) - len(row)
    return (*shape[:first], *(size if known < 0 else known for known, size in zip(shape[first:], row, strict=True)))


def _row(word: str, shape: tuple[int, ...], batched: bool) -> TensorType:
    """One row of a graph's tensor. Without a batch axis a first axis of 1 stands in its place."""
    return TensorType(word, shape[1:] if batched or shape[:1] == (1,) else shape)


def _input_pipelines(entries: Iterable[Preprocess], place: EntryPlace) -> list[InputPipeline]:
    pipelines: list[InputPipeline] = []
    taken: dict[str, str] = {}
    for index, entry in enumerate(entries):
        here = _beside(place, taken, f"preprocess[{index}]{_shown(entry.name or entry.input)}")
        if not entry.steps:
            raise ConfigError(f"{here.where}: it has no steps: add one, or remove the entry")
        for number, step in enumerate(entry.steps):
            if step.WhichOneof("step") is None:
                raise ConfigError(f"{here.where}: steps[{number}] is empty: name a step")
        pipeline = _compiler(entry, here)(entry, here)
        pipelines.append(pipeline)
        taken |= {name: f"preprocess[{index}]" for name, _ in pipeline.outputs}
    return pipelines


def _beside(place: EntryPlace, taken: Mapping[str, str], entry: str) -> EntryPlace:
    """Where an entry stands, behind those that have taken tensors."""
    free = {name: kind for name, kind in place.free.items() if name not in taken}
    return replace(place, where=f"{place.where}: {entry}", free=free, taken=dict(taken))


def _compiler(entry: Preprocess, place: EntryPlace) -> Callable[[Preprocess, EntryPlace], InputPipeline]:
    """The function that compiles that list. It is imported when it is needed: each kind has libraries of its own."""
    kind = _KINDS.get(entry.steps[0].WhichOneof("step") or "", "")
    if kind and entry.datatype:
        raise ConfigError(f"{place.where}: datatype is {entry.datatype!r}, and only lists of {', '.join(STEPS)} have one: remove it")
    if not kind and (entry.datatype or _takes_no_pixels(entry, place)):
        return compile_tensor
    module = import_module(f"inferd.steps.{kind or 'image'}")
    return cast("Callable[[Preprocess, EntryPlace], InputPipeline]", getattr(module, f"compile_{kind or 'image'}"))


def _takes_no_pixels(entry: Preprocess, place: EntryPlace) -> bool:
    """Whether the steps are those that take any numbers, and the graph takes no picture."""
    if any(step.WhichOneof("step") not in STEPS for step in entry.steps):
        return False
    _, wanted = place.only_free(entry.input)
    return len(wanted.shape) not in (2, 3)


def _output_pipelines(entries: Iterable[Postprocess], place: EntryPlace) -> dict[str, OutputPipeline]:
    """The pipelines of outputs that change. An entry that only names classes needs none, and costs nothing."""
    pipelines: dict[str, OutputPipeline] = {}
    taken: dict[str, str] = {}
    unchanged: set[str] = set()
    if entries:
        from inferd.steps.outputs import compile_output
    for index, entry in enumerate(entries):
        here = _beside(place, taken, f"postprocess[{index}]{_shown(entry.output)}")
        name, _ = here.only_free(entry.output)
        taken[name] = f"postprocess[{index}]"
        pipelines[name] = compile_output(entry, here)
        if not entry.steps and entry.name in ("", name):
            unchanged.add(name)
    return {name: pipeline for name, pipeline in pipelines.items() if name not in unchanged}


def _reject_twice(where: str, side: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: clients would see two {side}s named {name!r}: give one of the entries another name")


def _shown(name: str) -> str:
    return f" {name!r}" if name else ""


def _checks(requests: Sequence[Request], title: str) -> Callable[[int], None]:
    """See pipeline.Check."""

    def check(place: int) -> None:
        request = requests[place]
        if request.cancelled:
            raise Cancelled(f"{title}: nobody waits for the response any longer")
        if time.monotonic_ns() >= request.deadline_ns:
            raise DeadlineExceeded(f"{title}: the deadline passed while the inputs were prepared; allow more time, or send fewer rows")

    return check
