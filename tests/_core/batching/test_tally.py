"""What a tally counts, and that it keeps nothing."""

from __future__ import annotations

from inferd._core.batching.tally import Tally
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.message import Message
from inferd.errors import Internal
from tests._core.batching.batcher_fixtures import polled
from tests._core.batching.test_tap import answer, answer_wire, tapped_batcher, wire_request
from tests.fake_backend import SIGNATURE, Caller


def test_requests_of_clients_are_counted_and_none_is_kept() -> None:
    tally = Tally(sample=2)
    queue = tapped_batcher(tally)
    for _ in range(3):
        answer_wire(queue)
    answer(queue)  # local: a shadow's
    assert (tally.answered, tally.errors, tally.slow, tally.held, tally.take()) == (3, 0, 0, 0, [])
    assert len(tally.latencies_ns) == 2
    assert all(latency > 0 for latency in tally.latencies_ns)


def test_errors_and_requests_above_the_threshold_are_counted() -> None:
    tally = Tally(threshold_ns=1)
    queue = tapped_batcher(tally)
    request = decode_infer_request(Message(wire_request()))
    request.check(SIGNATURE)
    queue.put(request, Caller())
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    tally.threshold_ns = 10**15
    answer_wire(queue)
    assert (tally.answered, tally.errors, tally.slow) == (2, 1, 1)
