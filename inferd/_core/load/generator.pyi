from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from inferd._core.load.load_protocol import LoadProtocol
from inferd._core.load.tls import Tls

class Generator:
    """Connections that send inferences, and the outcomes.

    bodies: serialized ModelInferRequests for an Http2, whole requests for an Http1, sent in turn. protocol: one of these two.
    deadline_ns: time from the sending until a request is cancelled, 0 for none. verify_every: each so many-th response is kept for
    `take_responses`, 0 for none. sample_room: requests of which `take_samples` tells all times, 0 for none. models, outputs: names (bytes)
    that the model of a response and its outputs may have, versions: those of the model; empty: any.
    """

    outstanding: int
    sent: int
    held_back: int
    blocked: bool
    exhausted: bool
    finished: int
    waited_ns: int
    arrivals_waiting: int

    def __init__(
        self,
        bodies: Sequence[bytes],
        protocol: LoadProtocol,
        *,
        deadline_ns: int = ...,
        verify_every: int = ...,
        sample_room: int = ...,
        max_response_nbytes: int = ...,
        models: Iterable[bytes] = ...,
        outputs: Iterable[bytes] = ...,
        versions: Iterable[bytes] = ...,
    ) -> None: ...
    def add(self, fd: int, number: int = ..., tls: Tls | None = ...) -> None: ...
    def greet(self, until_ns: int) -> bool: ...
    def take_dead(self) -> list[int]: ...
    def close(self) -> None: ...
    def start(self, measure_from_ns: int, streams: int = ..., requests: int = ...) -> None: ...
    def arrive(self, times_ns: np.ndarray[Any, np.dtype[np.int64]]) -> None: ...
    def give_up(self) -> int: ...
    def overdue(self, until_ns: int) -> int: ...
    def give_up_overdue(self, until_ns: int) -> int: ...
    def count_waiting(self, until_ns: int, longer_than_ns: int) -> None: ...
    def stop(self) -> None: ...
    def run(self, until_ns: int, spin_ns: int = ...) -> int: ...
    def collect(
        self,
        latency: np.ndarray[Any, np.dtype[np.uint64]],
        service: np.ndarray[Any, np.dtype[np.uint64]],
        lateness: np.ndarray[Any, np.dtype[np.uint64]],
    ) -> tuple[list[int], tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]], int]: ...
    def messages(self) -> dict[int, bytes]: ...
    def take_responses(self) -> tuple[list[tuple[int, bytes]], int]: ...
    def take_samples(self) -> tuple[bytes, int]: ...
