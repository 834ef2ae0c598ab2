"""The engine in your own program: no server, no network, the same models, batching and checks.

    with Engine("models/") as engine:
        outputs = engine.infer("digits", {"image": array})          # a dict of arrays, by output name
        outputs = await engine.infer_async("digits", {"image": array})

Requests from any number of threads and tasks share batches, as those of gRPC clients do. An engine belongs to the process that
made it: its threads do not exist in a forked child, which must make its own Engine. numpy arrays go in and out; no input is kept or
written to after the call. Never in here: transports, an event loop of its own.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from inferd._core.grpc.call import NO_DEADLINE
from inferd._core.tensor.datatypes import DATATYPES
from inferd.config import Settings
from inferd.engine.conversion import Keep, converted
from inferd.engine.files.places import Place
from inferd.engine.local_call import LocalCall, submit
from inferd.engine.models.repository import Repository
from inferd.errors import ConfigError, DeadlineExceeded, FailedPrecondition, InvalidArgument
from inferd.tensors import Array

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import ArrayLike

    from inferd.engine.model import Model
    from inferd.protocol.inference import ModelConfig

_PLAIN = (list, tuple, bool, int, float)  # numbers without a datatype
MAX_TIMEOUT_S = 1e9  # a longer timeout counts as none


class TensorMetadata(NamedTuple):
    """One input or output: its datatype, and its shape with the batch axis; -1 is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Metadata(NamedTuple):
    """A model's inputs and outputs. `version` is the version described, `versions` are all that are ready."""

    name: str
    version: str
    versions: tuple[str, ...]
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class Engine(AbstractContextManager["Engine"]):
    """Models in this process. `paths`: .onnx files, model folders or repositories, as `inferd serve` takes them.

    A Place is a model that `inferd.engine.files.places` has found, or one version of it.

    Options are the server settings of the same names, with the same defaults (docs/configuration.md). Raises ConfigError and StartError.
    Close it, or use it in a `with` statement.

    Once it is closed, and in a forked child, every call raises FailedPrecondition.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path] | Place,
        *,
        max_batch_size: int = 64,
        batching: Literal["auto", "on", "off"] = "auto",
        max_queue_requests: int = 4096,
        max_queue_bytes: int = 0,
        max_queue_wait_us: int = 0,
        max_run_bytes: int = 0,
        providers: Sequence[str] = ("cpu",),
        instances: int = 0,
        intra_op_threads: int = 0,
        spinning: bool = False,
    ) -> None:
        settings = Settings(  # which checks every value
            max_run_s=0,
            max_batch_size=max_batch_size,
            batching=batching,
            max_queue_requests=max_queue_requests,
            max_queue_bytes=max_queue_bytes,
            max_queue_wait_us=max_queue_wait_us,
            max_run_bytes=max_run_bytes,
            providers=tuple(providers) if isinstance(providers, list) else providers,  # a str is told apart
            instances=instances,
            intra_op_threads=intra_op_threads,
            spinning=spinning,
        )
        self._closed = False
        self._process = os.getpid()
        self._repository = Repository(settings, deliver=lambda batch: batch.deliver())
        if isinstance(paths, Place):
            self._repository.load_places([paths])
        else:
            self._repository.load(_paths(paths))

    def infer(
        self,
        model: str | None,
        inputs: Mapping[str, ArrayLike],
        *,
        outputs: Sequence[str] | None = None,
        version: str | int = "",
        timeout: float | None = None,
        cast: bool = False,
    ) -> dict[str, Array]:
        """Runs one request and waits for its response: fresh arrays by output name.

        model: its name; None where there is only one. inputs: values that numpy makes arrays of, with the batch axis. An array of numbers
        is converted to the model's datatype if no value changes; the floats of a list may be rounded. Text may be str or bytes.
        outputs: names of the wanted outputs, all by default. timeout: seconds. cast: convert arrays even if values are rounded or lose
        their fraction. Texts of the response are bytes, as from a server. Raises InvalidArgument, NotFound, ResourceExhausted,
        DeadlineExceeded, Internal, Unavailable where the engine is closed meanwhile, and FailedPrecondition where it was closed before or
        belongs to another process.
        """
        timeout = _limited(timeout)
        call = self._submit(model, inputs, outputs, version, timeout, cast)
        try:
            return call.future.result(timeout)
        except TimeoutError:
            call.cancel()
            raise _too_late(timeout) from None
        except BaseException:
            call.cancel()  # KeyboardInterrupt while waiting; does nothing after a response
            raise

    async def infer_async(
        self,
        model: str | None,
        inputs: Mapping[str, ArrayLike],
        *,
        outputs: Sequence[str] | None = None,
        version: str | int = "",
        timeout: float | None = None,  # noqa: ASYNC109 - the same signature as infer
        cast: bool = False,
    ) -> dict[str, Array]:
        """As `infer`, without blocking the event loop. Cancelling the task cancels the request. Do not write to the inputs meanwhile."""
        timeout = _limited(timeout)
        call = self._submit(model, inputs, outputs, version, timeout, cast)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(call.future)
        except TimeoutError:
            raise _too_late(timeout) from None
        finally:
            call.cancel()  # does nothing after a response

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, sorted."""
        return tuple(sorted({model.name for model in self._repository.models()}))

    def metadata(self, model: str | None = None, version: str | int = "") -> Metadata:
        """A model's inputs and outputs. Raises NotFound, InvalidArgument."""
        found = self._lookup(model, version)
        versions = sorted(each.version for each in self._repository.models() if each.name == found.name and each.state == "READY")
        return Metadata(
            found.name,
            str(found.version),
            tuple(map(str, versions)),
            tuple(TensorMetadata(*spec) for spec in found.signature.input_specs),
            tuple(TensorMetadata(*spec) for spec in found.signature.output_specs),
        )

    def config(self, model: str | None = None, version: str | int = "") -> ModelConfig:
        """A model's completed configuration. Raises NotFound, InvalidArgument."""
        return self._lookup(model, version).config

    def close(self) -> None:
        """Ends all models; waiting requests fail with Unavailable. Idempotent. Does nothing in a forked child."""
        self._closed = True
        if self._process == os.getpid():
            self._repository.close()

    def __repr__(self) -> str:
        """The models and their inputs, for an interactive session."""
        if self._closed:
            return "<Engine: closed>"
        models = (f"{model.name} ({_listed(model.signature.input_specs)})" for model in self._repository.models())
        return f"<Engine: {', '.join(models)}>"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _lookup(self, name: str | None, version: str | int) -> Model:
        if self._process != os.getpid():
            raise FailedPrecondition("this Engine belongs to the process that this one was forked from: make an Engine after the fork")
        if self._closed:
            raise FailedPrecondition("this Engine is closed: make a new one")
        if name is not None and not isinstance(name, str):
            raise InvalidArgument(f"model: expected its name as a str, or None where there is only one, got {_kind(name)}")
        if name is None:
            names = self.models
            if len(names) != 1:
                raise InvalidArgument(f"model: there are {len(names)} models, name one of {', '.join(names)}")
            name = names[0]
        return self._repository.lookup(name, str(version))

    def _submit(
        self,
        name: str | None,
        inputs: Mapping[str, ArrayLike],
        outputs: Sequence[str] | None,
        version: str | int,
        timeout: float | None,
        cast: bool = False,
    ) -> LocalCall:
        model = self._lookup(name, version)
        if not isinstance(inputs, Mapping):
            raise InvalidArgument(f"inputs: expected a dict of arrays by input name, got {_kind(inputs)}")
        specs = {name: (word, shape) for name, word, shape in model.signature.input_specs}
        tensors = [_tensor(name, specs, value, cast) for name, value in inputs.items()]
        deadline_ns = NO_DEADLINE if timeout is None else time.monotonic_ns() + int(max(timeout, -1.0) * 1e9)
        return submit(model, tensors, deadline_ns, _names(outputs))


def _listed(specs: Sequence[tuple[str, str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {word}[{', '.join('?' if size < 0 else str(size) for size in shape)}]" for name, word, shape in specs)


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _paths(paths: object) -> list[str | Path]:
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(given, Sequence) or not all(isinstance(path, str | os.PathLike) for path in given):
        raise ConfigError(f"Engine: paths: expected a path, or a list of paths, of .onnx files and folders, got {_kind(paths)}")
    return [Path(path) for path in given]


def _names(outputs: object) -> Sequence[str]:
    if outputs is None:
        return ()
    if isinstance(outputs, str) or not isinstance(outputs, Collection) or not all(isinstance(name, str) for name in outputs):
        raise InvalidArgument(f"outputs: expected a list of output names, or None for all, got {_kind(outputs)}")
    return tuple(outputs)


def _limited(timeout_s: Any) -> float | None:
    """Seconds that a thread can wait; None for more than that."""
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, Real) or math.isnan(timeout_s):
        raise InvalidArgument(f"timeout: expected seconds, or None to wait as long as it takes, got {_kind(timeout_s)}")
    seconds = float(timeout_s)
    return None if seconds > MAX_TIMEOUT_S else seconds


def _too_late(timeout_s: float | None) -> DeadlineExceeded:
    return DeadlineExceeded(f"no response within the timeout of {timeout_s} s; allow more time, or send fewer rows")


def _tensor(name: str, specs: Mapping[str, tuple[str, tuple[int, ...]]], value: ArrayLike, cast: bool) -> tuple[str, str, Array]:
    """(name, datatype, array of its numpy type). An unknown name passes: the model's check rejects it with a better error."""
    if not isinstance(name, str):
        raise InvalidArgument(f"inputs: expected input names as str, got {_kind(name)}")
    if name not in specs:
        return name, "BYTES", np.empty(0, dtype=object)
    word, shape = specs[name]
    array = _array(name, value, shape)
    if word == "BYTES":
        return name, word, _as_text(name, array)
    if word == "BF16":
        if array.dtype.name not in ("bfloat16", "uint16"):
            raise InvalidArgument(f"input {name!r}: expected BF16 as ml_dtypes.bfloat16, or its bits as uint16, got {array.dtype}")
        return name, word, array
    dtype: np.dtype[Any] = DATATYPES[word][2]
    if array.dtype == dtype:
        return name, word, array
    keep = Keep.RANGE if cast else Keep.NEAREST if isinstance(value, _PLAIN) else Keep.VALUE
    try:
        return name, word, converted(array, word, dtype, keep, "pass cast=True")
    except ValueError as error:
        raise InvalidArgument(f"input {name!r}: {error}") from None


def _array(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """The value as an array. Files, texts and records of inferd_client have `fitted`, which gives them the shape of an input."""
    try:
        given = value.fitted(shape) if hasattr(value, "fitted") else value
        array = np.asarray(given)
        if array.dtype.kind in "SU" and not isinstance(given, (np.ndarray, np.generic)):  # they lose NUL bytes at the end
            array = np.asarray(given, object)
        return array
    except ValueError as error:
        why = str(error) if hasattr(value, "fitted") else "expected an array, got lists of unequal lengths"
        raise InvalidArgument(f"input {name!r}: {why}") from None


def _as_text(name: str, array: Array) -> Array:
    if array.dtype.kind == "S":
        raise InvalidArgument(
            f"input {name!r}: numpy's {array.dtype} drops NUL bytes at the end of an element; make the array with dtype=object, or send a "
            "list"
        )
    if array.dtype.kind not in "OU":
        raise InvalidArgument(f"input {name!r}: expected text (str or bytes), got {array.dtype}")
    return array.astype(object)
