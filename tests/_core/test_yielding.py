"""Threads with long pieces of work let others run in between: two that share a core take turns far more often than the system's ticks
have them, which are some milliseconds apart."""

from __future__ import annotations

import os
import resource
import threading
import zlib
from collections.abc import Callable

import pytest

from inferd._core.codec import decode_infer_request
from inferd._core.compression import Compression, Decompression
from inferd._core.message import Message
from inferd.protocol import inference

LIMIT_S = 120
COUNT = 1 << 20
YIELD_NBYTES = 64 << 10
PIECE_NBYTES = 32 << 10


def typed(datatype: str, count: int = COUNT, **contents: object) -> bytes:
    tensor = inference.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=[count])
    tensor.contents.MergeFrom(inference.InferTensorContents(**contents))
    return inference.ModelInferRequest(model_name="m", inputs=[tensor]).SerializeToString()


def unpack(content: bytes) -> Callable[[], None]:
    message = Message(content)

    def run() -> None:
        decode_infer_request(message)

    return run


def decompress(content: bytes) -> Callable[[], None]:
    def run() -> None:
        work = Decompression(Message(content), "deflate", 1 << 30)
        work.run()
        assert work.error is None

    return run


def compress(content: bytes) -> Callable[[], None]:
    def run() -> None:
        Compression(Message(content), "deflate").run()

    return run


def one_by_one() -> bytes:
    """Numbers that are not packed: each is a field."""
    count = COUNT // 2
    head = typed("INT32", count)
    contents = b"\x10\x01" * count
    tensor = inference.ModelInferRequest.FromString(head).inputs[0].SerializeToString()
    tensor += b"\x2a" + length(len(contents)) + contents
    return inference.ModelInferRequest(model_name="m").SerializeToString() + b"\x2a" + length(len(tensor)) + tensor


def length(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return found + bytes((value,))


def switches(work: Callable[[], None]) -> int:
    """How often a thread that does it is not on its core any more while it could go on; another does the same there all the time."""
    core = min(os.sched_getaffinity(0))
    found: list[int] = []
    over = threading.Event()
    running = threading.Barrier(2)

    def beside() -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        running.wait(LIMIT_S)
        while not over.is_set():
            work()

    def measured() -> None:
        os.sched_setaffinity(0, {core})
        running.wait(LIMIT_S)
        try:
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
            work()
            found.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before)
        finally:
            over.set()

    threads = [threading.Thread(target=each) for each in (beside, measured)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    return found[0]


@pytest.mark.parametrize(
    ("content", "passes"),
    [
        pytest.param(typed("INT32", int_contents=range(COUNT)), 2, id="packed numbers"),
        pytest.param(one_by_one(), 2, id="numbers one by one"),
        pytest.param(typed("FP32", 4 * COUNT, fp32_contents=[0.5] * (4 * COUNT)), 1, id="packed floats"),
        pytest.param(typed("BYTES", 1, bytes_contents=[bytes(16 << 20)]), 1, id="one long text"),
    ],
)
def test_who_unpacks_typed_contents(content: bytes, passes: int) -> None:
    assert switches(unpack(content)) > passes * len(content) / YIELD_NBYTES / 3


def test_who_decompresses() -> None:
    nbytes = 16 << 20
    assert switches(decompress(zlib.compress(bytes(nbytes), 1))) > nbytes / PIECE_NBYTES / 3


def test_who_compresses() -> None:
    nbytes = 8 << 20
    assert switches(compress(bytes(nbytes))) > nbytes / PIECE_NBYTES / 3
