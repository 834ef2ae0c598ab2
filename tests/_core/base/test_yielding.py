"""Threads with long pieces of work let others run in between: two that share a core take turns far more often than the system's ticks
have them."""

from __future__ import annotations

import os
import resource
import threading
import time
import zlib
from collections.abc import Callable

import pytest

from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.compression import Compression, Decompression
from inferd._core.grpc.message import Message
from inferd.protocol import inference

LIMIT_S = 120
TIMES = 4
COUNT = 1 << 20
OFTEN_PER_S = 1200  # by the system's ticks it is 250 to 500; by turns of 0.1 ms 10,000, and less in a build that checks all it does
ALWAYS_PER_S = 5000
ATTEMPTS = 20


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


def switches_per_s(work: Callable[[], None], beside: Callable[[], object]) -> float:
    """How often a thread that does it is not on its core any more while it could go on, for each second that it works; another thread does
    something else there all the time."""
    core = min(os.sched_getaffinity(0))
    found: list[float] = []
    over = threading.Event()
    running = threading.Barrier(2)

    def other() -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        running.wait(LIMIT_S)
        while not over.is_set():
            beside()

    def measured() -> None:
        os.sched_setaffinity(0, {core})
        running.wait(LIMIT_S)
        try:
            before, began_s = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw, time.thread_time()
            for _ in range(TIMES):
                work()
            worked_s = time.thread_time() - began_s
            found.append((resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before) / worked_s)
        finally:
            over.set()

    threads = [threading.Thread(target=each) for each in (other, measured)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    return found[0]


def lets_others_run(work: Callable[[], None]) -> bool:
    """Where others take the core, too, it waits for long and works for longer in turn; that they always do is not likely."""
    return any(switches_per_s(work, work) > OFTEN_PER_S for _ in range(ATTEMPTS))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: typed("INT32", int_contents=range(COUNT)), id="packed numbers"),
        pytest.param(one_by_one, id="numbers one by one"),
        pytest.param(lambda: typed("FP32", 4 * COUNT, fp32_contents=[0.5] * (4 * COUNT)), id="packed floats"),
        pytest.param(lambda: typed("BYTES", 1, bytes_contents=[bytes(16 << 20)]), id="one long text"),
    ],
)
def test_who_unpacks_typed_contents(content: Callable[[], bytes]) -> None:
    assert lets_others_run(unpack(content()))


def test_who_decompresses() -> None:
    assert lets_others_run(decompress(zlib.compress(bytes(16 << 20), 1)))


def test_who_compresses() -> None:
    assert lets_others_run(compress(bytes(8 << 20)))


def test_a_core_that_is_never_free_is_shared() -> None:
    """A thread that has waited for long works for longer: else it would have 0.1 ms of every 4, at each attempt."""
    hashed, work = bytes(16 << 20), decompress(zlib.compress(bytes(16 << 20), 1))
    assert any(switches_per_s(work, lambda: zlib.crc32(hashed)) < ALWAYS_PER_S for _ in range(ATTEMPTS))
