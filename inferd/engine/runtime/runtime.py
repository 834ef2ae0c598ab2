"""A runtime loads the files of models of one kind, and runs them. The configuration of a model chooses its runtime (runtimes.py).

`Runtime.load` returns a model: its signature (`graph`), what runs it (`backend`), and the memory of its runs (`arenas`).

Never in here: requests, queues, which runtimes there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from inferd._core.batching.batch import Batch
    from inferd._core.tensor.signature import Signature
    from inferd._core.tensor.tensor import Tensors
    from inferd.engine.configuration.config_sources import Defaults, Written
    from inferd.engine.runtime.arena import RunArena
    from inferd.protocol.inference import ModelConfig
    from inferd.tensors import Array


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a graph. A size is a number, a symbol's name, or '' where the graph says nothing."""

    name: str
    datatype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A model's inputs and outputs, in the graph's order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Backend(Protocol):
    """Runs batches of one instance, one at a time. One thread at a time calls every method but `terminate`."""

    def inputs(self, batch: Batch) -> Tensors:
        """The arrays that `batch` is to be gathered into. Valid until the next call."""

    def run(self, rows: int) -> Tensors:
        """Runs the model over the first `rows` rows of the arrays that `inputs` returned. The outputs are valid until the next run.

        Raises Cancelled when `terminate` ended the run, InvalidArgument when the model itself rejects the contents.
        Raises ResourceExhausted when the run needs more than the model's memory limit. Raises Internal when an output does not match the
        signature, RunFailed when the model fails otherwise.
        """

    def terminate(self) -> None:
        """Ends the current run, if there is one, from any thread. The next run is not affected."""

    def close(self) -> None:
        """Frees buffers and bindings. Nothing runs afterwards."""


class LoadedModel(Protocol):
    """The files of one version, loaded, before its instances exist. A class that derives from this one only writes what it has.

    name: for errors and the log. graph: as clients see it; trial runs may correct it. device: the hardware that runs it, for people.
    arenas: the memory of its runs, where it has a limit and can be given back. classes: by output, the names of its columns.
    defaults: by input that a request may leave out, its content as requests carry tensors.
    """

    name: str
    graph: Graph
    device: str
    arenas: Sequence[RunArena] = ()
    classes: Mapping[str, Sequence[str]] = {}
    defaults: Mapping[str, bytes] = {}

    def trial(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One run outside of any instance, for questions about the model while it loads. Every output by name."""
        ...

    def backend(self, signature: Signature) -> Backend:
        """A backend for one instance, with buffers of its own. Raises ConfigError where memory is too small for them."""
        ...

    def give_few_rows_to(self, other: LoadedModel, rows: int) -> None:
        """Backends made from now on run batches of at most `rows` on `other`, the same file loaded with one thread. For a model whose
        runs share threads."""

    def why_unbounded(self) -> str:
        """Why shapes do not bound the cost of a run, '' where they do. Only a bounded model runs on the event loop by itself."""
        return "its runtime does not know what a run may cost"


class Runtime(Protocol):
    """One kind of model. platform, backend: its names in a configuration, those of Triton. file: the model's file, unless the configuration
    names another (default_model_filename)."""

    platform: str
    backend: str
    file: str

    def versions(self) -> dict[str, str]:
        """The versions of the library that runs models, by name, its own first. Responses can tell it, and results of checks depend on it.
        Raises StartError where it is not installed."""
        ...

    def ignored_parameters(self, config: ModelConfig, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
        """`parameters` of a configuration that have no effect, each with the reason."""
        ...

    def load(self, file: Path, written: Written, config: ModelConfig, defaults: Defaults) -> LoadedModel:
        """Loads one version. config: settled, with threads and limits. Raises ConfigError for a broken file or a configuration that it
        cannot obey, StartError for a machine that lacks something."""
        ...
