"""A tap: which requests it keeps, what they hold, and where it drops."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.batching.tap import UNTAPPED, Tap
from inferd._core.inference.path import ModelInfer, ModelStreamInfer
from inferd._core.inference.routes import Routes
from inferd.errors import Internal
from inferd.protocol import inference as pb
from tests._core.batching.batcher_fixtures import batcher, made, polled, put, run, sent, wire_request
from tests.fake_backend import SIGNATURE, Caller


def tapped_batcher(*taps: Tap) -> Batcher:
    queue = batcher()
    queue.taps = taps
    return queue


def answer(queue: Batcher, value: float = 1.0, rows: int = 1) -> None:
    put(queue, value, rows)
    batch = polled(queue)
    run(batch)
    batch.deliver()


def answer_wire(queue: Batcher, id: str = "", value: float = 1.0, caller: Any = None) -> None:
    queue.put(wire_request(id, value), caller or Caller())
    batch = polled(queue)
    run(batch)
    batch.deliver()


def test_a_tap_sees_what_was_sent_and_what_came_back() -> None:
    first, second = Tap(), Tap()
    queue = tapped_batcher(first, second)
    answer(queue, 3.0, 2)
    (tapped,) = first.take()
    ((name, word, shape, raw),) = tapped.request.sent()
    assert (name, word, shape, bytes(raw)) == ("x", "FP32", (2, 4), np.full((2, 4), 3, np.float32).tobytes())
    np.testing.assert_array_equal(tapped.response["y"], np.full((2, 4), 6, np.float32))
    assert (tapped.code, tapped.message) == (0, None)
    stages = (tapped.decode_ns, tapped.queue_ns, tapped.preprocess_ns, tapped.execute_ns, tapped.encode_ns)
    assert all(stage > 0 for stage in stages)
    assert sum(stages) <= tapped.total_ns
    assert len(second.take()) == 1
    assert first.take() == []


def test_errors_are_seen_with_their_code() -> None:
    tap = Tap()
    queue = tapped_batcher(tap)
    put(queue)
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    put(queue, deadline_ns=1)
    polled(queue).deliver()
    _, caller = put(queue)
    polled(queue).deliver()
    assert isinstance(caller.error, Internal)
    taken = tap.take()
    assert [(each.code, each.response) for each in taken] == [(13, None), (4, None), (13, None)]
    assert taken[0].message == "broken"
    assert "waited in the queue" in taken[1].message


def test_who_has_gone_is_not_seen() -> None:
    tap = Tap()
    queue = tapped_batcher(tap)
    _, caller = put(queue)
    batch = polled(queue)
    caller.cancel()
    run(batch)
    batch.deliver()
    assert tap.seen == 0


def test_a_prepared_request_is_seen_as_it_was_sent() -> None:
    tap = Tap()
    waiting, ready = batcher(), tapped_batcher(tap)
    request = sent(b"abc", b"d")
    waiting.put(request, Caller())
    batch = polled(waiting)
    request.prepare(made(2, 5.0), ("x",), SIGNATURE)
    batch.forward(request, ready)
    second = polled(ready)
    run(second)
    second.deliver()
    del batch, second, request
    gc.collect()
    (tapped,) = tap.take()
    text, scale = tapped.request.sent()
    assert (text[:3], bytes(text[3])) == (("text", "BYTES", (2, 1)), b"\x03\0\0\0abc\x01\0\0\0d")
    assert (scale[:3], bytes(scale[3])) == (("scale", "FP32", (2, 1)), np.full((2, 1), 3, np.float32).tobytes())
    assert tapped.decode_ns > 0


def test_the_bytes_of_a_response_are_as_they_were_after_a_stream_has_wrapped_them() -> None:
    class Streams(Caller):
        def reply(self, message: Any) -> None:
            handler.wrap(message)

    def find(name: str, version: str) -> Any:
        raise AssertionError

    handler = ModelStreamInfer(ModelInfer(Routes(), find))
    tap = Tap()
    answer_wire(tapped_batcher(tap), "7", caller=Streams())
    (tapped,) = tap.take()
    assert tapped.response_bytes is not None
    response = pb.ModelInferResponse.FromString(bytes(tapped.response_bytes))
    assert (response.id, response.raw_output_contents) == ("7", [np.full((1, 4), 2, np.float32).tobytes()])


def test_a_share_is_kept_by_chance() -> None:
    tap = Tap(0.25, seed=7)
    queue = tapped_batcher(tap)
    for _ in range(2000):
        answer(queue)
        tap.take()
    assert tap.seen == 2000
    assert 430 < tap.offered < 570  # 3.6 standard deviations
    tap.share = 0
    answer(queue)
    assert (tap.seen, tap.take()) == (2001, [])


def test_a_sticky_share_goes_by_the_id_and_grows() -> None:
    ids = [f"user-{number}" for number in range(500)]

    def kept(share: float) -> set[str]:
        tap = Tap(share, sticky=True)
        queue = tapped_batcher(tap)
        for each in ids:
            answer_wire(queue, each)
        return {each.request.id for each in tap.take()}  # type: ignore[attr-defined]

    small, large = kept(0.1), kept(0.5)
    assert small == kept(0.1)
    assert small < large
    assert 25 < len(small) < 80
    assert 200 < len(large) < 300


def test_room_is_given_back_when_the_consumer_lets_go() -> None:
    tap = Tap(max_held=2)
    queue = tapped_batcher(tap)
    for _ in range(3):
        answer(queue)
    taken = tap.take(1)
    answer(queue)
    assert (tap.seen, tap.offered, tap.dropped, tap.held) == (4, 4, 2, 2)
    taken.clear()
    answer(queue)
    assert (tap.dropped, tap.held, len(tap.take())) == (2, 2, 2)
    assert (tap.held, tap.held_nbytes) == (0, 0)


def test_room_is_counted_in_the_bytes_that_stay_in_memory() -> None:
    tap = Tap(max_held_nbytes=10_000)
    queue = tapped_batcher(tap)
    for _ in range(20):
        answer_wire(queue)
    assert 3 <= tap.held <= 9  # a kilobyte each, and two blocks of the pool
    assert tap.held_nbytes <= 10_000
    assert tap.dropped == 20 - tap.held


def test_long_requests_are_dropped_while_the_consumer_says_so() -> None:
    tap = Tap()
    queue = tapped_batcher(tap)
    tap.max_nbytes = 100
    answer_wire(queue)
    tap.max_nbytes = tap.max_held_nbytes
    answer_wire(queue)
    assert (tap.held, tap.dropped) == (1, 1)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        Tap(share)


def test_what_goes_wrong_in_a_tap_does_not_reach_the_client(caplog: pytest.LogCaptureFixture) -> None:
    class Nameless(LocalRequest):
        @property
        def id(self) -> str:
            raise RuntimeError("no id")

    tap = Tap(sticky=True)
    queue = tapped_batcher(tap)
    request, caller = Nameless([("x", "FP32", np.ones((1, 4), np.float32))]), Caller()
    request.check(SIGNATURE)
    queue.put(request, caller)
    batch = polled(queue)
    run(batch)
    batch.deliver()
    assert caller.response is not None
    assert "could not be tapped" in caplog.text


def test_requests_that_compare_models_are_not_kept() -> None:
    tap = Tap()
    queue = tapped_batcher(tap)
    answer_wire(queue, UNTAPPED)
    answer_wire(queue, "a")
    assert [each.request.id for each in tap.take()] == ["a"]
    assert (tap.seen, tap.offered, tap.dropped) == (2, 1, 0)
