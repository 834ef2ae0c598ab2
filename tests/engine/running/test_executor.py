"""Instances and executor threads over a fake backend."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.codec.infer import decode_infer_request
from inferd._core.metrics.histogram import Statistics
from inferd.engine.running import executor
from inferd.engine.running.executor import ExecutorThread, Instance
from inferd.errors import Aborted, Cancelled, DeadlineExceeded, Internal, InvalidArgument, Unavailable
from tests.fake_backend import LIMIT_S, SIGNATURE, Caller, FakeBackend, request
from tests.wire import infer_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd._core.tensor.tensor import Tensors

HOUR_NS = 3600 * 10**9


class House:
    """One instance on one thread, with its batcher."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.instance = Instance("model 'double' version 1", self.backend)
        self.batcher = Batcher(8, Statistics(8), name="'double' version 1")
        self.finished: list[int] = []
        self.thread = ExecutorThread(self.instance, self.batcher, Batch.deliver, lambda batch: self.finished.append(batch.rows))
        self.thread.start()

    def put(self, value: float = 0.0, deadline_ns: int | None = None) -> Caller:
        caller = Caller() if deadline_ns is None else Caller(deadline_ns)
        self.batcher.put(request(value), caller)
        return caller

    def running(self) -> Batch:
        """The batch whose run is held."""
        self.backend.wait_for_run()
        batch = self.instance.running
        assert batch is not None
        return batch

    def close(self) -> None:
        self.batcher.close()
        self.backend.release()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def test_requests_that_come_during_a_run_are_the_next_batch(house: House) -> None:
    house.backend.hold()
    first = house.put(1)
    house.running()
    others = [house.put(value) for value in range(2, 6)]
    house.backend.release()
    assert [caller.response[0, 0] for caller in (first, *others)] == [2, 4, 6, 8, 10]
    assert house.backend.rows == [1, 4]
    house.close()
    assert house.finished == [1, 4]
    assert house.instance.running is None


@pytest.mark.parametrize(("alone", "expected"), [(True, [2]), (False, [])])
def test_clients_that_are_answered_together_are_expected_together(alone: bool, expected: list[int]) -> None:
    class Noting:
        """A batcher that gives two batches and notes what it is told to expect."""

        def __init__(self) -> None:
            real = Batcher(8, Statistics(8))
            for count in (2, 1):
                for _ in range(count):
                    real.put(request(0.0), Caller())
                batches.append(real.poll())
            self.expected: list[int] = []

        def take(self) -> Batch | None:
            return batches.pop(0) if batches else None

        def expect(self, requests: int, wait_ns: int) -> None:
            assert 0 <= wait_ns <= 20_000_000
            self.expected.append(requests)

    batches: list[Batch | None] = []
    batcher = Noting()
    thread = ExecutorThread(Instance("model", FakeBackend()), batcher, Batch.deliver, alone=alone)  # type: ignore[arg-type]
    thread.start()
    thread.join(LIMIT_S)
    assert batcher.expected == expected


def test_a_run_that_raises_fails_its_own_batch_only(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.instance.labels = {"model": "double", "version": 1}
    house.backend.hold()
    named = decode_infer_request(infer_request("double", {"x": np.ones((1, 4), np.float32)}, id="r-7").SerializeToString())
    named.check(SIGNATURE)
    house.batcher.put(named, first := Caller())
    house.running()
    second = house.put(2)
    house.backend.raises = ValueError("/secret/path")
    house.backend.release()
    assert str(first.error) == "model 'double' version 1: the run failed; the server's log has the details"
    assert isinstance(second.error, Internal)
    house.backend.raises = None
    assert house.put(3).response[0, 0] == 6
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert all(record.exc_info for record in told)
    assert "/secret/path" in caplog.text
    assert vars(told[0])["fields"] == {
        "event": "run_failed",
        "model": "double",
        "version": 1,
        "rows": 1,
        "request_id": ["r-7"],
        "trace_id": None,
    }
    assert house.batcher.failed == 2


def test_an_error_that_is_meant_for_the_client_passes(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.backend.raises = InvalidArgument("input 'x': not like this")
    assert str(house.put().error) == "input 'x': not like this"
    assert all(record.levelno < logging.WARNING for record in caplog.records), "it is no failure of the model"


class Choosy(FakeBackend):
    """Fails runs in which a number is negative, as an operator that looks at contents does."""

    error: type[Exception] = InvalidArgument

    def run(self, rows: int) -> Tensors:
        if (self._x < 0).any():
            self.rows.append(rows)
            raise self.error("no negative numbers")
        return super().run(rows)


def together(instance: Instance, *values: float, connections: Sequence[int] = (), batcher: Batcher | None = None) -> list[Caller]:
    """Requests that are one batch, run and delivered. connections: one number each; all of one by default."""
    batcher = batcher or Batcher(64, Statistics(64))
    callers = [Caller(connection_id=connection_id) for connection_id in connections or [0] * len(values)]
    for value, caller in zip(values, callers, strict=True):
        batcher.put(request(value), caller)
    batch = batcher.poll()
    assert batch is not None
    assert len(batch.requests) == len(values)
    instance.run_batch(batch)
    batch.deliver()
    return callers


@pytest.mark.parametrize("error", [InvalidArgument, ValueError])
@pytest.mark.parametrize("bad", [{0}, {6}, {2, 3}, {0, 6}, set(range(6)), set(range(7))])
def test_requests_fail_whose_own_run_fails_and_no_others(bad: set[int], error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    backend = Choosy()
    backend.error = error
    batcher = Batcher(8, Statistics(8))
    callers = together(Instance("model", backend), *(-1 if index in bad else index for index in range(7)), batcher=batcher)
    for index, caller in enumerate(callers):
        if index not in bad:
            assert caller.response[0, 0] == 2 * index
        elif error is InvalidArgument:
            assert str(caller.error) == "no negative numbers"
        else:
            assert isinstance(caller.error, Internal)
    assert (batcher.failed, batcher.statistics.request.count) == (len(bad), 7 - len(bad))
    assert sum(rows * sizes[0] for rows, sizes in batcher.statistics.batch_sizes().items()) == 7 - len(bad)
    assert len([record for record in caplog.records if record.exc_info]) == (error is ValueError), "one traceback a batch"


@pytest.mark.parametrize("bad_clients", [1, 3, 6])
def test_neighbours_of_clients_that_send_nothing_good_are_served(bad_clients: int) -> None:
    backend = Choosy()
    instance = Instance("model", backend)
    bad = [9 + place % bad_clients for place in range(8)]
    for _ in range(50):
        together(instance, *[-1.0] * 8, connections=bad)
    assert len(backend.rows) < 2 * 50 + 64, "their own batches are not run again any more"
    for _ in range(100):
        callers = together(instance, -1, 1, -1, -1, 2, -1, -1, -1, connections=(*bad[:1], 1, *bad[1:3], 2, *bad[3:6]))
        assert (callers[1].response[0, 0], callers[4].response[0, 0]) == (2, 4)


def test_what_is_not_run_again_blames_no_request(caplog: pytest.LogCaptureFixture) -> None:
    instance = Instance("model", Choosy())
    for _ in range(50):
        callers = together(instance, -1, -1)
    caplog.clear()
    callers = together(instance, -1, 1)
    assert {type(caller.error) for caller in callers} == {Internal}
    assert "too many runs fail" in str(callers[1].error)
    assert len(caplog.records) == 1


def test_requests_that_are_run_again_are_finished_and_nobody_runs_who_left() -> None:
    backend = Choosy()
    done: list[int] = []

    def finish(inputs: Tensors, outputs: Tensors) -> Tensors:
        done.append(len(outputs.arrays[0]))
        return outputs

    instance = Instance("model", backend, finish)
    batcher = Batcher(8, Statistics(8))
    callers = [Caller() for _ in range(3)]
    for value, caller in zip((-1, 2, 3), callers, strict=True):
        batcher.put(request(value), caller)
    batch = batcher.poll()
    assert batch is not None
    callers[2].cancel()
    instance.run_batch(batch)
    batch.deliver()
    assert (str(callers[0].error), callers[1].response[0, 0], callers[2].responses) == ("no negative numbers", 4, [])
    assert (done, backend.rows) == ([1], [3, 1, 1])
    assert batch.run_ns > 0


def test_the_one_who_is_left_is_run_again() -> None:
    backend = Choosy()
    instance = Instance("model", backend)
    batcher = Batcher(8, Statistics(8))
    leaves, stays = Caller(), Caller()
    batcher.put(request(-1), leaves)
    batcher.put(request(2), stays)
    batch = batcher.poll()
    assert batch is not None
    leaves.cancel()
    instance.run_batch(batch)
    batch.deliver()
    assert (stays.response[0, 0], backend.rows) == (4, [2, 1])


def test_what_the_steps_fail_to_finish_is_run_again() -> None:
    def finish(inputs: Tensors, outputs: Tensors) -> Tensors:
        if (outputs.arrays[0] < 0).any():
            raise InvalidArgument("below zero")
        return outputs

    bad, good = together(Instance("model", FakeBackend(), finish), -1, 2)
    assert (str(bad.error), good.response[0, 0]) == ("below zero", 4)


def test_what_is_run_again_ends_with_the_time_of_all() -> None:
    backend = Choosy()
    instance = Instance("model 'm'", backend)
    batcher = Batcher(8, Statistics(8))
    callers = [Caller(time.monotonic_ns() + HOUR_NS) for _ in range(3)]
    for value, caller in zip((-1, 2, 3), callers, strict=True):
        batcher.put(request(value), caller)
    batch = batcher.poll()
    assert batch is not None
    backend.hold()
    runner = threading.Thread(target=instance.run_batch, args=(batch,))
    runner.start()
    backend.wait_for_run()
    assert batch.end_if_late(time.monotonic_ns() + 2 * HOUR_NS)
    runner.join(LIMIT_S)
    batch.deliver()
    assert str(callers[0].error) == "no negative numbers"
    assert [type(caller.error) for caller in callers[1:]] == [DeadlineExceeded] * 2
    assert backend.rows == [3, 1, 2], "the last two are not run alone"


def test_what_takes_too_long_is_not_run_again(house: House) -> None:
    house.backend.hold()
    first = house.put(1)
    house.running()
    callers = [house.put(2), house.put(3)]
    house.backend.step()
    batch = house.running()
    house.backend.raises = ValueError("at the same moment")
    batch.end(Aborted("too long"))
    assert first.response[0, 0] == 2
    assert [str(caller.error) for caller in callers] == ["too long", "too long"]
    assert house.backend.rows == [1, 2]
    assert (house.batcher.failed, house.batcher.cancelled) == (2, 0)


def test_rejections_are_told_once_a_minute(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now_ns = [5 * HOUR_NS]
    monkeypatch.setattr(executor.time, "monotonic_ns", lambda: now_ns[0])
    instance = Instance("model 'm'", Choosy())
    with caplog.at_level(logging.INFO, "inferd.engine"):
        instance.warming_up = True
        together(instance, -1)
        instance.warming_up = False
        for _ in range(3):
            together(instance, -1)
        now_ns[0] += executor.TELL_EVERY_NS
        together(instance, -1)
    assert [record.getMessage() for record in caplog.records] == [
        "model 'm': the model's own operators rejected 1 requests; their clients were told why",
        "model 'm': the model's own operators rejected 3 requests; their clients were told why",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_nobody_waits_any_longer(house: House) -> None:
    house.backend.hold()
    callers = [house.put(1)]
    batch = house.running()
    callers += [house.put(2), house.put(3)]
    callers[0].cancel()
    assert house.backend.terminations == 1, "the only one of its batch"
    callers[0].cancel()
    house.backend.release()
    assert callers[2].response[0, 0] == 6, "a later batch is not touched"
    assert batch.terminated
    assert house.backend.terminations == 1
    assert callers[0].responses == []
    assert callers[0].errors == []


def test_one_of_two_leaves_and_the_run_goes_on(house: House) -> None:
    house.backend.hold()
    house.put()
    house.running()
    stays, leaves = house.put(1), house.put(2)
    house.backend.step()
    batch = house.running()
    leaves.cancel()
    assert batch.alive == 1
    house.backend.release()
    assert stays.response[0, 0] == 2
    assert house.backend.terminations == 0
    assert (leaves.responses, leaves.errors) == ([], [])


def test_a_run_that_every_deadline_has_passed_is_ended(house: House) -> None:
    house.backend.hold()
    now_ns = time.monotonic_ns()
    caller = house.put(1, now_ns + HOUR_NS)
    batch = house.running()
    assert not batch.end_if_late(now_ns)
    assert batch.end_if_late(now_ns + HOUR_NS)
    assert isinstance(caller.error, DeadlineExceeded)
    assert "the run was ended" in str(caller.error)
    assert house.backend.terminations == 1
    assert (house.batcher.failed, house.batcher.cancelled) == (0, 1)


def test_a_termination_that_comes_late_hits_no_other_run(house: House) -> None:
    house.backend.hold()
    first = house.put(1)
    late = house.running()
    terminate = late.terminate
    assert terminate is not None
    house.backend.step()
    assert first.response[0, 0] == 2
    second = house.put(2)
    house.running()
    terminate(late)
    assert house.backend.terminations == 0
    house.backend.release()
    assert second.response[0, 0] == 4


def test_expired_requests_do_not_reach_the_model(house: House) -> None:
    caller = house.put(deadline_ns=1)
    assert isinstance(caller.error, DeadlineExceeded)
    assert house.backend.rows == []


def test_cancelled_before_its_run_begins() -> None:
    backend = FakeBackend()
    instance = Instance("model 'double' version 1", backend)
    batcher = Batcher(8, Statistics(8))
    callers = [Caller(), Caller()]
    for caller in callers:
        batcher.put(request(), caller)
    batch = batcher.poll()
    assert batch is not None
    for caller in callers:
        caller.cancel()
    instance.run_batch(batch)
    batch.deliver()
    assert (backend.rows, backend.terminations) == ([], 0)
    assert [caller.errors for caller in callers] == [[], []]
    assert (batcher.cancelled, batcher.failed) == (2, 0)


def test_the_end_of_a_model_ends_its_run(house: House) -> None:
    house.backend.hold()
    caller = house.put()
    house.running()
    house.instance.end()
    assert isinstance(caller.error, Unavailable)
    assert house.backend.terminations == 1
    house.instance.end()  # nothing runs
    assert house.backend.terminations == 1


def test_a_deliver_that_raises_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    delivered = threading.Semaphore(0)
    backend, batcher = FakeBackend(), Batcher(8, Statistics(8))

    def deliver(batch: Batch) -> None:
        batch.deliver()
        delivered.release()
        raise RuntimeError("the loop is closed")

    thread = ExecutorThread(Instance("model 'double' version 1", backend), batcher, deliver)
    thread.start()
    for value in range(3):
        caller = Caller()
        batcher.put(request(value), caller)
        assert caller.response[0, 0] == 2 * value
        assert delivered.acquire(timeout=LIMIT_S)
    batcher.close()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert caplog.text.count("could not be handed over") == 3


def test_a_wrong_answer_of_the_backend_is_an_error_of_the_batch(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.backend.raises = Cancelled("somebody else ended it")
    assert isinstance(house.put().error, Cancelled)
    assert caplog.records == []
