"""A tap that records small requests by itself: which ones, in which order, and what waits for the recorder's thread."""

from __future__ import annotations

import numpy as np

from inferd._core.base.idle_thread import IdleThread
from inferd._core.batching.batcher import Batcher
from inferd._core.codec.columns import Columns
from inferd._core.codec.infer import decode_infer_request
from inferd._core.codec.record_tap import RecordTap
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Internal
from tests.fake_backend import Caller
from tests.wire import infer_request

SIGNATURE = Signature("m", "1", [("x", "FP32", (-1, -1))], [("y", "FP32", (-1, -1))], 8)
ROOM = 1 << 20


def answer(tap: RecordTap, id: str, width: int = 4, error: Internal | None = None) -> None:
    queue = Batcher(8, Statistics(8))
    queue.taps = (tap,)
    x = np.ones((1, width), np.float32)
    request = decode_infer_request(Message(infer_request("m", {"x": x}, id=id).SerializeToString()))
    request.check(SIGNATURE)
    queue.put(request, Caller())
    batch = queue.poll()
    assert batch is not None
    if error is None:
        batch.encode(Tensors([x], ["FP32"], True, 1))
    else:
        batch.fail(error)
    batch.deliver()


def ids(columns: Columns) -> str:
    return bytes(memoryview(columns.ids.data)).decode()


def never(columns: Columns, error: Exception) -> None:
    raise AssertionError("nothing failed")


def test_small_ones_are_recorded_at_once() -> None:
    columns = Columns()
    tap = RecordTap(1.0, columns, 5, never, max_held_nbytes=ROOM)
    answer(tap, "a")
    answer(tap, "b", error=Internal("no"))
    assert (ids(columns), columns.rows, tap.held, tap.offered) == ("ab", 2, 0, 2)
    received_ns = int.from_bytes(bytes(memoryview(columns.times[0]))[:8], "little") - 5
    total_ns = int.from_bytes(bytes(memoryview(columns.times[-1]))[:8], "little")
    assert total_ns > 0
    assert columns.began_ns == received_ns + total_ns


def test_none_overtakes_a_large_one() -> None:
    columns = Columns(copier=IdleThread())
    tap = RecordTap(1.0, columns, 0, never, max_held_nbytes=ROOM)
    for name, width in (("a", 1), ("b", 20_000), ("c", 1)):
        answer(tap, name, width)
    assert (ids(columns), tap.held) == ("a", 2)
    for tapped in tap.take():
        assert columns.add(tapped, 0, None)
    assert (ids(columns), columns.nbytes) == ("abc", 2 * 4 * 20_002 + 3)
    assert bytes(memoryview(columns.inputs.data)) == np.ones(20_002, np.float32).tobytes()


def test_what_came_while_another_thread_was_there_follows_later() -> None:
    columns = Columns()
    tap = RecordTap(1.0, columns, 0, never, max_held_nbytes=ROOM)
    assert columns.enter()
    for name in "abc":
        answer(tap, name)
    assert not columns.enter()
    assert (columns.rows, tap.held) == (0, 3)
    columns.leave()
    answer(tap, "d")
    assert (ids(columns), tap.held) == ("ab", 2)
    answer(tap, "e")
    answer(tap, "f")
    assert (ids(columns), tap.held) == ("abcdef", 0)


def test_full_columns_take_no_more() -> None:
    full, next_ones = Columns(max_rows=2), Columns(max_nbytes=64)
    tap = RecordTap(1.0, full, 0, never, max_held_nbytes=ROOM)
    answer(tap, "a")
    assert (full.half_full, full.full) == (True, False)
    answer(tap, "b")
    answer(tap, "c")
    assert (ids(full), full.full, tap.held) == ("ab", True, 1)
    tap.columns = next_ones
    answer(tap, "d")
    assert (ids(next_ones), next_ones.nbytes, next_ones.full, tap.held) == ("cd", 66, True, 0)


def test_one_that_cannot_be_recorded() -> None:
    """Somebody looks at a buffer that would have to grow. The request has its response all the same."""
    columns, failed = Columns(), []
    tap = RecordTap(1.0, columns, 0, lambda *told: failed.append(told), max_held_nbytes=ROOM)
    with memoryview(columns.codes):
        answer(tap, "a")
    ((told, error),) = failed
    assert (told, type(error), tap.held) == (columns, BufferError, 0)
    assert columns.enter()  # it was left
