"""Whether responses are right: each that is checked is held against one that in-process ONNX Runtime gave, or that a file holds.

Expected responses are made before anything is measured. Never in here: connections, clocks, and which responses are checked.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from inferd.bench.measurement import Verification
from inferd.client_inputs import inputs as reading
from inferd.client_inputs.targets import require_client
from inferd.errors import ConfigError, RequestError, StartError
from inferd.tensors import encoded, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from inferd.bench.inputs import Requests
    from inferd.bench.measurement import Measurement
    from inferd.tensors import Array

RTOL = 1e-4
ATOL = 1e-5
BFLOAT16_ROUNDING = 2.0**-7


class Verifier:
    """Expected outputs by name, a dictionary for each body, and the count of responses held against them. bfloat16: the outputs whose
    uint16 values are bits of BF16. message_of: makes a serialized ModelInferResponse of a response as it was kept.

    Floating values are right within atol + rtol * |expected|. For FP16 and BF16 rtol is at least two units of rounding. NaN is right for
    NaN. All else must be equal.
    """

    def __init__(
        self,
        expected: Sequence[Mapping[str, Array]],
        reference: str,
        *,
        rtol: float = RTOL,
        atol: float = ATOL,
        bfloat16: Collection[str] = (),
        message_of: Callable[[bytes], bytes] = bytes,
    ) -> None:
        for flag, value in {"--rtol": rtol, "--atol": atol}.items():
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{flag} {value:g}: expected 0 or more")
        self._expected = [{name: encoded(array) for name, array in outputs.items()} for outputs in expected]
        self._bfloat16 = bfloat16
        self._message_of = message_of
        self._reference = reference
        self._rtol, self._atol = rtol, atol
        self._checked = self._wrong = self._beyond = 0
        self._largest = 0.0
        self._first_wrong = ""

    @classmethod
    def from_file(
        cls,
        source: str,
        requests: Requests,
        *,
        model: str = "",
        version: str = "",
        rtol: float = RTOL,
        atol: float = ATOL,
        message_of: Callable[[bytes], bytes] = bytes,
    ) -> Verifier:
        """A verifier by --verify: a .npz file with the outputs of the only body by name, or a model that runs here. Raises ConfigError,
        StartError.

        A model is an .onnx file, a folder or a repository, of which `model` and `version` are run if it has them."""
        if not Path(source).exists():
            raise ConfigError(f"--verify {source}: there is no such file or folder")
        if source.endswith(".npz"):
            return cls(_from_npz(source, requests), source, rtol=rtol, atol=atol, message_of=message_of)
        expected, bfloat16 = _from_model(source, requests, model, version)
        return cls(expected, source, rtol=rtol, atol=atol, bfloat16=bfloat16, message_of=message_of)

    def check(self, body_index: int, response: bytes) -> None:
        """Counts a response, as it was kept, to the body of that index as right or wrong."""
        client = require_client()
        try:
            outputs = client.codec.decode_infer_response(self._message_of(response))
        except client.InferenceError as error:
            self._count(body_index, str(error), beyond=True)
        else:
            self.compare(body_index, outputs)

    def compare(self, body_index: int, outputs: Mapping[str, Array]) -> None:
        """The same for a response that is arrays already."""
        expected = self._expected[body_index]
        fault, beyond = "", False
        if outputs.keys() != expected.keys():
            fault, beyond = f"expected the outputs {', '.join(expected)}, got {', '.join(outputs)}", True
        for name, array in () if fault else expected.items():
            fault, beyond = self._fault(name, array, encoded(outputs[name]))
            if fault:
                break
        self._count(body_index, fault, beyond=beyond)

    def check_kept(self, kept: Sequence[tuple[int, bytes | Mapping[str, Array]]], measured: Measurement, unchecked: int) -> None:
        """Counts all that were kept of a measurement, when it is over. unchecked: how many more there was no room for. Ctrl-C ends it,
        and loses nothing that was measured: the others count as unchecked."""
        done = 0
        try:
            for body_index, response in kept:
                if isinstance(response, bytes):
                    self.check(body_index, response)
                else:
                    self.compare(body_index, response)
                done += 1
        except KeyboardInterrupt:
            measured.ended = measured.ended or "interrupted"
        measured.verified = replace(self.result, unchecked=unchecked + len(kept) - done)

    def anew(self) -> Verifier:
        """The same reference, with nothing counted yet."""
        made = copy(self)
        made._checked = made._wrong = made._beyond = 0
        made._largest, made._first_wrong = 0.0, ""
        return made

    @property
    def result(self) -> Verification:
        return Verification(self._checked, self._wrong, self._largest, self._first_wrong, self._reference, beyond_numbers=self._beyond)

    def _count(self, body_index: int, fault: str, *, beyond: bool) -> None:
        self._checked += 1
        if fault:
            self._wrong += 1
            self._beyond += beyond
            self._first_wrong = self._first_wrong or f"request {body_index}: {fault}"

    def _fault(self, name: str, expected: Array, got: Array) -> tuple[str, bool]:
        """The fault of one output, empty where it is right; and whether it is a fault that no difference shows."""
        rounding = 0.0
        if name in self._bfloat16:
            expected, got, rounding = widened(expected), widened(got), BFLOAT16_ROUNDING
        if expected.shape != got.shape or _family(expected) != _family(got):
            return f"{name}: expected {expected.dtype} {list(expected.shape)}, got {got.dtype} {list(got.shape)}", True
        if expected.dtype == got.dtype != object and expected.tobytes() == got.tobytes():
            return "", False
        if _family(expected) != "float":
            wrong = np.asarray(expected != got)
            return self._first_difference(name, expected, got, wrong), self._is_beyond(expected, got, wrong)
        rtol = max(self._rtol, 2 * max(rounding, _rounding(expected), _rounding(got)))
        wide, given = expected.astype(np.float64), got.astype(np.float64)
        wrong = ~np.isclose(given, wide, rtol=rtol, atol=self._atol, equal_nan=True)
        fault = self._first_difference(name, wide, given, wrong)
        return fault and f"{fault}, beyond atol {self._atol:g} + rtol {rtol:.3g}", self._is_beyond(wide, given, wrong)

    def _first_difference(self, name: str, expected: Array, got: Array, wrong: Array) -> str:
        if not wrong.any():
            return ""
        at = tuple(np.argwhere(wrong)[0])
        place = ", ".join(map(str, at))
        return f"{name}[{place}]: expected {expected[at]!s:.60}, got {got[at]!s:.60}, {int(wrong.sum())} of {wrong.size} values wrong"

    def _is_beyond(self, expected: Array, got: Array, wrong: Array) -> bool:
        """Keeps the largest difference between numbers. Whether some that are wrong have none."""
        if expected.dtype.kind not in "iuf":
            return bool(wrong.any())
        with np.errstate(invalid="ignore"):
            distances = np.abs(expected.astype(np.float64) - got.astype(np.float64))
        told = np.isfinite(distances)
        self._largest = max(self._largest, float(np.max(distances, where=told, initial=0.0)))
        return bool(np.any(wrong & ~told))


def _family(array: Array) -> str:
    """Datatypes that can be compared; a reference may hold its numbers wider than a response does."""
    if array.dtype.name == "bfloat16" or array.dtype.kind == "f":
        return "float"
    return {"i": "integer", "u": "integer", "b": "truth", "O": "text"}.get(array.dtype.kind, array.dtype.name)


def _rounding(array: Array) -> float:
    """The distance between 1 and the next number of a floating datatype."""
    return BFLOAT16_ROUNDING if array.dtype.name == "bfloat16" else float(np.finfo(array.dtype).eps)


def _from_npz(source: str, requests: Requests) -> list[dict[str, Array]]:
    if len(requests.bodies) != 1:
        count = len(requests.bodies)
        raise ConfigError(
            f"--verify {source}: it holds the answer to one request, and {count} are sent in turn; give --count 1, or a model"
        )
    return [reading.from_npz(source, "--verify")]


def _from_model(source: str, requests: Requests, model: str, version: str) -> tuple[list[dict[str, Array]], set[str]]:
    """The responses, and the names of outputs that are BF16."""
    from inferd.engine.configuration.config_sources import Defaults
    from inferd.engine.configuration.model_config import MAX_BATCH_SIZE
    from inferd.engine.embedded import Engine
    from inferd.protocol import inference

    try:
        own = Path(source, model) if model else Path(source)
        rows = max((len(array) for inputs in requests.inputs for array in inputs.values() if array.ndim), default=1)
        most_rows = min(max(rows, Defaults().max_batch_size), MAX_BATCH_SIZE)  # the server's limit may be higher than the default
        engine = Engine(own if own.exists() else source, max_batch_size=most_rows)  # of a repository only what is asked for
    except (ConfigError, StartError) as error:
        raise ConfigError(f"--verify {source}: {error}") from None
    with engine:
        if model not in engine.models:
            version = ""
            if len(engine.models) != 1:
                raise ConfigError(f"--verify {source}: expected the model '{model}', or one only; it has: {', '.join(engine.models)}")
            model = engine.models[0]
        expected = []
        for index, (body, inputs) in enumerate(zip(requests.bodies, requests.inputs, strict=True)):
            wanted = [output.name for output in inference.ModelInferRequest.FromString(body).outputs]
            try:
                expected.append(engine.infer(model, inputs, outputs=wanted or None, version=version))
            except RequestError as error:
                raise ConfigError(f"--verify {source}: it does not answer request {index}: {error}") from None
        return expected, {output.name for output in engine.metadata(model, version).outputs if output.datatype == "BF16"}
