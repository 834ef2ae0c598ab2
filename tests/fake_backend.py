"""Stand-ins around the batcher: a caller that keeps its response, and a backend that does what a test says. Nothing else is faked."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from inferd._core.batching.batch import Batch
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import NO_DEADLINE, Call
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Cancelled, RequestError

LIMIT_S = 20.0  # longest that a test waits for another thread; reached only when it fails

SIGNATURE = Signature("double", "1", [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))], 8)


class Caller(Call):
    """Keeps its responses and errors."""

    def __init__(self, deadline_ns: int = NO_DEADLINE, connection_id: int = 0) -> None:
        super().__init__("/test/Infer", None, deadline_ns, connection_id)
        self.responses: list[dict[str, Any]] = []
        self.errors: list[RequestError] = []
        self.answered = threading.Event()

    def reply(self, message: Any) -> None:
        self.responses.append(message)
        self.answered.set()

    def fail(self, error: RequestError) -> None:
        self.errors.append(error)
        self.answered.set()

    @property
    def response(self) -> Any:
        """Output "y" of its one response; waits for it."""
        assert self.answered.wait(LIMIT_S)
        assert (len(self.responses), self.errors) == (1, [])
        return self.responses[0]["y"]

    @property
    def error(self) -> RequestError:
        """Its one error; waits for it."""
        assert self.answered.wait(LIMIT_S)
        assert (self.responses, len(self.errors)) == ([], 1)
        return self.errors[0]


def request(value: float = 0.0, rows: int = 1, signature: Signature = SIGNATURE) -> LocalRequest:
    """A checked request of `rows` rows, all of that value."""
    made = LocalRequest([("x", "FP32", np.full((rows, 4), value, np.float32))])
    made.check(signature)
    return made


class FakeBackend:
    """y = 2 x. `raises` is what runs raise. After `hold()`, each run waits for `step()`, `release()` or `terminate()`."""

    def __init__(self) -> None:
        self.rows: list[int] = []  # of each run
        self.terminations = 0
        self.closed = False
        self.raises: Exception | None = None
        self.entered = threading.Semaphore(0)  # one for each run that has begun
        self._gate = threading.Event()
        self._gate.set()
        self._passing = self._gate  # the gate of the run that is going on
        self._terminated = False
        self._x = np.zeros((0, 4), np.float32)

    def hold(self) -> None:
        self._gate = threading.Event()

    def step(self) -> None:
        """Lets the held run end; the next one is held again."""
        gate, self._gate = self._gate, threading.Event()
        gate.set()

    def release(self) -> None:
        """Lets the held run end, and all after it."""
        self._gate.set()

    def wait_for_run(self) -> None:
        assert self.entered.acquire(timeout=LIMIT_S)

    def inputs(self, batch: Batch) -> Tensors:
        shape = batch.input_shape(0)
        assert shape == (batch.rows, 4) or not batch.requests[0].signature.fixed
        self._x = np.full(shape, np.nan, np.float32)
        return Tensors([self._x], ["FP32"], True, batch.rows)

    def run(self, rows: int) -> Tensors:
        assert self._x.shape[0] == rows
        self.rows.append(rows)
        self._passing = self._gate
        self.entered.release()
        assert self._passing.wait(LIMIT_S)
        if self._terminated:
            self._terminated = False
            raise Cancelled("the run was ended")
        if self.raises is not None:
            raise self.raises
        return Tensors([self._x * 2], ["FP32"], True, rows)

    def terminate(self) -> None:
        self.terminations += 1
        self._terminated = True
        self._passing.set()

    def close(self) -> None:
        self.closed = True
