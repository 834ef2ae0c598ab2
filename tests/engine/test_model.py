"""A model version over fake backends: its queue, its life, and its moves between the event loop and a thread."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from native_access import record_time

from inferd._core.batching.batch import Batch
from inferd._core.batching.local import LocalRequest
from inferd._core.tensor.signature import Signature
from inferd.engine.model import THREAD_IDLE_NS, Model
from inferd.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    StartError,
    Unavailable,
)
from inferd.protocol import inference
from tests.fake_backend import LIMIT_S, SIGNATURE, Caller, FakeBackend, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.protocol.inference import ModelConfig

HOUR_NS = 3600 * 10**9
GENEROUS_US = 100_000  # an inline limit that no run of these tests comes near


def config(**fields: Any) -> ModelConfig:
    """A completed configuration; fields as `max_queue_delay_microseconds=...` of dynamic_batching, or `inferd={...}`."""
    own = {"inline_limit_us": GENEROUS_US, "inline_busy_percent": 100} | fields.pop("inferd", {})
    return inference.ModelConfig(name="double", max_batch_size=8, dynamic_batching=fields, inferd=own)


class Loop:
    """An event loop that turns when a test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def turn(self) -> int:
        """Runs what is scheduled now, not what that schedules. How much it was."""
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()
        return len(callbacks)


def deliver(batch: Batch) -> None:
    batch.deliver()


def threaded(backends: int = 1, **fields: Any) -> tuple[Model, list[FakeBackend]]:
    """A ready model on executor threads."""
    made = [FakeBackend() for _ in range(backends)]
    model = Model("double", 1, config(**fields), SIGNATURE, made, deliver=deliver)
    model.start()
    return model, made


def inline(**fields: Any) -> tuple[Model, FakeBackend, Loop]:
    """A ready model on the loop."""
    backend, loop = FakeBackend(), Loop()
    model = Model("double", 1, config(**fields), SIGNATURE, [backend], schedule=loop.call_soon, deliver=deliver)
    model.warm_up()
    backend.rows.clear()
    model.start()
    assert model.inline
    return model, backend, loop


def submit(model: Model, value: float = 0.0, rows: int = 1, deadline_ns: int | None = None) -> Caller:
    made, caller = request(value, rows), Caller() if deadline_ns is None else Caller(deadline_ns)
    model.submit(made, caller)
    return caller


def ask(model: Model, loop: Loop, value: float = 0.0) -> float:
    """The first number of the response to one row. The loop turns once: it runs an inline model, or wakes the thread of another."""
    caller = submit(model, value)
    loop.turn()
    return float(caller.response[0, 0])


# ---- configuration ----


def test_without_dynamic_batching_each_request_is_a_run() -> None:
    backend, loop = FakeBackend(), Loop()
    written = config()
    written.ClearField("dynamic_batching")
    model = Model("double", 1, written, SIGNATURE, [backend], schedule=loop.call_soon, deliver=deliver)
    model.warm_up()
    backend.rows.clear()
    model.start()
    callers = [submit(model, value, rows=2) for value in range(3)]
    while loop.turn():
        pass
    assert [caller.response[1, 3] for caller in callers] == [0, 2, 4]
    assert backend.rows == [2, 2, 2]
    model.close()


# ---- the path of a request ----


def test_check_names_what_is_wrong_and_counts_it() -> None:
    model, _ = threaded()
    with pytest.raises(InvalidArgument, match="'x'"):
        model.check(LocalRequest([("x", "FP32", np.zeros((1, 5), np.float32))]))
    assert model.failures == {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 1}
    good = LocalRequest([("x", "FP32", np.zeros((3, 4), np.float32))])
    model.check(good)
    assert good.rows == 3
    model.close()


def test_requests_share_batches_on_threads() -> None:
    model, (backend,) = threaded()
    backend.hold()
    callers = [submit(model, 1)]
    backend.wait_for_run()
    callers += [submit(model, value) for value in range(2, 6)]
    assert (model.queues.depth, model.queues.depth_bytes) == (4, 64)
    backend.release()
    assert [caller.response[0, 0] for caller in callers] == [2, 4, 6, 8, 10]
    assert backend.rows == [1, 4]
    assert model.drain(LIMIT_S)
    assert (model.statistics.rows, model.statistics.runs, model.queues.depth) == (5, 2, 0)
    model.close()


def test_several_instances_run_at_once() -> None:
    model, backends = threaded(2)
    assert (model.instances, model.inline) == (2, False)
    for backend in backends:
        backend.hold()
    first = submit(model, 1)
    second = None
    # Whichever instance took the first request, the other one takes the second while it runs.
    deadline = time.monotonic() + LIMIT_S
    while not any(backend.rows for backend in backends):
        assert time.monotonic() < deadline
    second = submit(model, 2)
    for backend in backends:
        backend.wait_for_run()
    for backend in backends:
        backend.release()
    assert (first.response[0, 0], second.response[0, 0]) == (2, 4)
    model.close()
    assert all(backend.closed for backend in backends)


def test_a_full_queue_rejects_at_once_and_is_counted() -> None:
    model, (backend,) = threaded(inferd={"max_queue_requests": 2})
    backend.hold()
    running = submit(model)
    backend.wait_for_run()
    waiting = [submit(model), submit(model)]
    with pytest.raises(ResourceExhausted, match="max_queue_requests"):
        submit(model)
    assert model.failures["REJECTED"] == 1
    backend.release()
    for caller in (running, *waiting):
        assert caller.response[0, 0] == 0
    model.close()


def test_the_limits_of_a_queue_change_while_it_serves() -> None:
    model, (backend,) = threaded(inferd={"max_queue_requests": 1, "max_queue_bytes": 1000})
    backend.hold()
    running = submit(model)
    backend.wait_for_run()
    waiting = [submit(model)]
    with pytest.raises(ResourceExhausted, match="max_queue_requests"):
        submit(model)
    model.queues.limit({"max_queue_requests": 2})
    waiting.append(submit(model))
    assert (model.config.inferd.max_queue_requests, model.config.inferd.max_queue_bytes) == (2, 1000)
    model.queues.limit({})
    with pytest.raises(ResourceExhausted, match="max_queue_requests"):
        submit(model)
    backend.release()
    for caller in (running, *waiting):
        assert caller.response[0, 0] == 0
    model.close()


def test_a_request_that_cannot_be_in_time_is_rejected_at_once_and_counted() -> None:
    model, (backend,) = threaded(inferd={"max_queue_wait_us": 1_000_000})
    backend.hold()
    running = submit(model)
    backend.wait_for_run()
    record_time(model.queues.run.queue.run_times, 1, 10**12, time.monotonic_ns())
    with pytest.raises(ResourceExhausted, match="max_queue_wait_us"):
        submit(model)
    with pytest.raises(ResourceExhausted):
        submit(model, deadline_ns=time.monotonic_ns() + 10**11)
    assert model.failures["REJECTED"] == 2
    backend.release()
    assert running.response[0, 0] == 0
    model.close()


def test_an_idle_instance_takes_what_would_be_too_late_behind_the_others() -> None:
    model, backends = threaded(2)
    for backend in backends:
        backend.hold()
    running = submit(model)
    while not model.queues.run.queue.running:
        threading.Event().wait(0.001)
    record_time(model.queues.run.queue.run_times, 1, 10**12, time.monotonic_ns())
    second = submit(model, deadline_ns=time.monotonic_ns() + 10**11)
    for backend in backends:
        backend.release()
    assert [float(caller.response[0, 0]) for caller in (running, second)] == [0, 0]
    model.close()


def test_failures_by_reason(caplog: pytest.LogCaptureFixture) -> None:
    model, (backend,) = threaded()
    backend.hold()
    first = submit(model)
    backend.wait_for_run()
    late, gone = submit(model, deadline_ns=1), submit(model)
    gone.cancel()
    backend.raises = RuntimeError("broken")
    backend.release()
    assert isinstance(first.error, Internal)
    assert isinstance(late.error, DeadlineExceeded)
    model.drain(LIMIT_S)
    assert model.failures == {"REJECTED": 1, "CANCELED": 1, "BACKEND": 1, "OTHER": 0}
    assert "broken" in caplog.text
    for error in (ResourceExhausted(""), Cancelled(""), Internal(""), NotFound("")):
        model.route.count_rejection(error)
    assert model.failures == {"REJECTED": 2, "CANCELED": 2, "BACKEND": 2, "OTHER": 1}
    model.close()


def test_expire_answers_what_waits_and_ends_what_runs() -> None:
    model, (backend,) = threaded()
    backend.hold()
    now_ns = time.monotonic_ns()
    running = submit(model, 1, deadline_ns=now_ns + HOUR_NS)
    backend.wait_for_run()
    waiting = submit(model, 2, deadline_ns=now_ns + HOUR_NS)
    model.expire(now_ns)
    assert not running.answered.is_set()
    assert not waiting.answered.is_set()
    model.expire(now_ns + HOUR_NS)
    assert "while the request waited in the queue" in str(waiting.error)
    assert "while the model ran" in str(running.error)
    assert (backend.terminations, backend.rows) == (1, [1])
    assert model.failures == {"REJECTED": 1, "CANCELED": 1, "BACKEND": 0, "OTHER": 0}
    model.close()


def test_a_model_is_active_from_its_first_request_until_an_expire_finds_nothing() -> None:
    backend, activated = FakeBackend(), list[Model]()
    model = Model("double", 1, config(), SIGNATURE, [backend], deliver=deliver, activated=activated.append)
    model.start()
    for times in (1, 2):
        backend.hold()
        callers = [submit(model)]
        backend.wait_for_run()
        callers.append(submit(model))
        model.expire(time.monotonic_ns())
        assert not model.rest(times * 10**12), "one request runs, one waits"
        backend.release()
        assert all(caller.response.sum() == 0 for caller in callers)
        while not model.queues.idle:
            model.expire(time.monotonic_ns())
        model.expire(time.monotonic_ns())
        assert not model.rest(times * 10**12), "its thread may be needed again soon"
        assert model.rest(times * 10**12 + THREAD_IDLE_NS)
        assert activated == times * [model]
    model.close()
    assert model.rest(10**13)
    assert model.route.first_waits is None, "what is closed and its route do not refer to each other"


def executors(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{name}/1#")]


def settle(model: Model) -> None:
    while not model.queues.idle:
        time.sleep(0)
    model.expire(time.monotonic_ns())


def test_a_model_has_an_executor_thread_from_its_first_request_until_it_was_idle_for_long() -> None:
    model = Model("rare", 1, config(), SIGNATURE, [FakeBackend()], deliver=deliver)
    model.start()
    for turn in range(3):
        assert executors("rare") == [], turn
        assert submit(model, 1).response[0, 0] == 2
        (thread,) = executors("rare")
        settle(model)
        assert not model.rest(turn * 10**12)
        assert submit(model, 1).response[0, 0] == 2
        assert executors("rare") == [thread]
        settle(model)
        model.rest(turn * 10**12)
        assert model.rest(turn * 10**12 + THREAD_IDLE_NS)
        thread.join(LIMIT_S)
    model.close()


def test_a_request_that_comes_while_its_thread_is_told_to_go_is_run() -> None:
    model = Model("rare", 1, config(), SIGNATURE, [FakeBackend()], deliver=deliver)
    model.start()
    for turn in range(50):
        assert submit(model, turn).response[0, 0] == 2 * turn
        settle(model)
        model.rest(turn * 10**12)
        assert model.rest(turn * 10**12 + THREAD_IDLE_NS)
    assert model.drain(LIMIT_S)
    model.close()


def test_several_instances_keep_their_threads() -> None:
    model = Model("rare", 1, config(), SIGNATURE, [FakeBackend(), FakeBackend()], deliver=deliver)
    model.start()
    assert len(executors("rare")) == 2
    model.close()


def test_a_request_for_which_the_system_has_no_thread_is_rejected_and_the_next_one_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    model = Model("rare", 1, config(), SIGNATURE, [FakeBackend()], deliver=deliver)
    model.start()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        error = submit(model, 1).error
    assert isinstance(error, Unavailable)
    assert "no thread left" in str(error)
    assert "model 'rare' version 1 rejects requests: the system starts no further thread" in caplog.text
    assert submit(model, 2).response[0, 0] == 4
    model.close()


def test_an_inline_model_is_active_only_once_it_has_left_the_loop() -> None:
    backend, loop, activated = FakeBackend(), Loop(), list[Model]()
    model = Model("double", 1, config(), SIGNATURE, [backend], schedule=loop.call_soon, deliver=deliver, activated=activated.append)
    model.warm_up()
    model.start()
    slow_down(model)
    while model.inline:
        assert activated == []
        assert model.rest(0)
        submit(model)
        loop.turn()
    assert activated == [model]
    speed_up(model)
    while not model._may_return:
        assert ask(model, loop, 1) == 2
    assert not model.rest(10**12), "it has to return"
    while not model.inline:
        model.expire(time.monotonic_ns())
    assert model.rest(10**12)
    assert submit(model, 1).answered.wait(0) or loop.turn() == 1
    assert activated == [model]
    model.close()


# ---- life ----


def test_states() -> None:
    backend = FakeBackend()
    model = Model("double", 3, config(), SIGNATURE, [backend], deliver=deliver, plan_reason="1 core")
    assert (model.name, model.version, model.state, model.plan_reason) == ("double", 3, "LOADING", "1 core")
    model.warm_up()
    assert set(backend.rows) == {1, 8}
    assert model.statistics.runs == 0, "warm-up is not counted"
    assert model.state == "LOADING"
    model.start()
    assert model.state == "READY"
    assert model.drain(LIMIT_S)
    assert model.state == "UNLOADING"
    with pytest.raises(Unavailable):
        submit(model)
    assert model.failures["OTHER"] == 1
    model.close()
    assert (model.state, model.reason, backend.closed) == ("UNAVAILABLE", "unloaded", True)
    model.close()


@pytest.mark.parametrize("verb", ["drain", "hurry"])
def test_what_waits_for_more_requests_is_answered_at_once(verb: str) -> None:
    """By the drain of a model, and of a server whose clients wait."""
    model, (backend,) = threaded(max_queue_delay_microseconds=10**9)
    callers = [submit(model, value) for value in range(3)]
    (model.queues.hurry if verb == "hurry" else model.drain)()
    assert [caller.response[0, 0] for caller in callers] == [0, 2, 4]
    assert backend.rows == [3]
    model.close()


def test_drain_has_a_limit_and_close_ends_what_is_left() -> None:
    model, (backend,) = threaded()
    backend.hold()
    running = submit(model, 1)
    backend.wait_for_run()
    waiting = submit(model, 2)
    assert not model.drain(0.01)
    model.close()
    assert isinstance(waiting.error, Unavailable)
    assert isinstance(running.error, Unavailable)
    assert (backend.terminations, backend.rows, backend.closed) == (1, [1], True)


def test_close_outlives_a_loop_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    def closed_loop(batch: Batch) -> None:
        batch.deliver()
        raise RuntimeError("Event loop is closed")

    backend = FakeBackend()
    model = Model("double", 1, config(), SIGNATURE, [backend], deliver=closed_loop)
    caller = Caller()
    model.submit(request(), caller)  # not started: nobody takes it
    model.close()
    assert isinstance(caller.error, Unavailable)
    assert "could not be handed over" in caplog.text


# ---- inline ----


def test_one_turn_of_the_loop_is_one_batch() -> None:
    model, backend, loop = inline()
    callers = [submit(model, value) for value in range(5)]
    assert backend.rows == []
    assert loop.turn() == 1, "scheduled once"
    assert [caller.response[0, 0] for caller in callers] == [0, 2, 4, 6, 8]
    assert backend.rows == [5]
    assert loop.turn() == 0
    assert submit(model, 7).answered.is_set() is False
    assert loop.turn() == 1
    model.close()


def test_the_loop_has_its_turn_between_many_batches() -> None:
    model, backend, loop = inline()
    callers = [submit(model, value) for value in range(8 * 6)]
    loop.turn()
    assert backend.rows == [8] * 4
    loop.turn()
    assert backend.rows == [8] * 6
    assert [caller.response[0, 0] for caller in callers] == [2 * value for value in range(48)]
    model.close()


def test_the_loop_has_its_turn_after_a_batch_that_took_long() -> None:
    model, backend, loop = inline(inferd={"inline": "ON", "inline_limit_us": 1})
    for value in range(8 * 2):
        submit(model, value)
    for count in (1, 2):
        loop.turn()
        assert backend.rows == [8] * count
    model.close()


def test_a_request_that_was_cancelled_before_the_turn() -> None:
    model, backend, loop = inline()
    submit(model).cancel()
    other = submit(model, 3)
    assert loop.turn() == 1
    assert other.response[0, 0] == 6
    submit(model).cancel()
    loop.turn()
    assert backend.rows == [1]
    model.close()


def test_an_inline_run_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    model, backend, loop = inline()
    backend.raises = RuntimeError("broken")
    first = submit(model)
    loop.turn()
    backend.raises = None
    second = submit(model, 2)
    loop.turn()
    assert isinstance(first.error, Internal)
    assert second.response[0, 0] == 4
    assert "broken" in caplog.text
    model.close()


@pytest.mark.parametrize(
    ("instances", "loop", "fields", "is_inline", "reason"),
    [
        (1, True, {}, True, "a run takes"),
        (1, True, {"inferd": {"inline": "OFF"}}, False, "inline is off"),
        (1, True, {"inferd": {"inline": "ON"}}, True, "inline is on"),
        (1, False, {}, False, "no event loop"),
        (2, True, {}, False, "2 instances"),
        (2, True, {"inferd": {"inline": "ON"}}, False, "2 instances"),
        (1, True, {"max_queue_delay_microseconds": 1}, False, "max_queue_delay_microseconds"),
    ],
)
def test_where_a_model_runs(instances: int, loop: bool, fields: dict[str, Any], is_inline: bool, reason: str) -> None:
    backends = [FakeBackend() for _ in range(instances)]
    model = Model("double", 1, config(**fields), SIGNATURE, backends, schedule=Loop().call_soon if loop else None, deliver=deliver)
    model.warm_up()
    assert model.inline is is_inline
    assert reason in model.inline_reason
    model.close()


def test_a_model_that_shapes_do_not_bound_is_never_on_the_loop_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def why_unbounded() -> str:
        asked.append("once")
        return "shapes do not say how often its Loop runs"

    def made(mode: str, loop: Loop | None) -> Model:
        model = Model(
            "double", 1, config(inferd={"inline": mode}), SIGNATURE, [FakeBackend()],
            schedule=loop.call_soon if loop else None, deliver=deliver, why_unbounded=why_unbounded,
        )  # fmt: skip
        model.warm_up()
        model.start()
        return model

    loop = Loop()
    model = made("AUTO", loop)
    assert (model.inline, model.inline_reason) == (False, "executor thread: shapes do not say how often its Loop runs")
    assert model.route.policy is None, "no run brings it back"
    assert ask(model, loop, 3) == 6
    model.close()
    caplog.clear()
    model = made("ON", Loop())
    assert model.inline, "as it was asked for"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "model 'double' version 1: inline is on, and shapes do not say how often its Loop runs: one request can hold up all others"
    ]
    model.close()
    asked.clear()
    for mode, loop in (("OFF", Loop()), ("AUTO", None)):
        made(mode, loop).close()
    assert not asked, "where it does not matter, nobody looks"


def test_a_slow_model_starts_on_a_thread() -> None:
    class Slow(FakeBackend):
        def run(self, rows: int) -> Any:
            until_ns = time.monotonic_ns() + 2000
            while time.monotonic_ns() < until_ns:
                pass
            return super().run(rows)

    model = Model("double", 1, config(inferd={"inline_limit_us": 1}), SIGNATURE, [Slow()], schedule=Loop().call_soon, deliver=deliver)
    model.warm_up()
    assert not model.inline
    assert "the limit is 1 us" in model.inline_reason
    model.close()


def slow_down(model: Model) -> None:
    """From now on every run is too long for the loop."""
    assert model.route.policy is not None
    model.route.policy.limit_ns = 1


def speed_up(model: Model) -> None:
    """From now on no run is, and three of them are enough to return."""
    assert model.route.policy is not None
    model.route.policy.limit_ns, model.route.policy.busy_share, model.route.policy.return_runs = HOUR_NS, 1e9, 3


def test_a_model_that_grows_slow_leaves_the_loop_and_returns() -> None:
    model, backend, loop = inline()
    slow_down(model)
    answers = 0
    while model.inline:
        caller = submit(model, answers)
        loop.turn()
        assert caller.response[0, 0] == 2 * answers
        answers += 1
        assert answers < 10
    assert "its runs take longer" in model.inline_reason
    assert ask(model, loop, 50) == 100, "a thread runs it now"
    assert loop.turn() == 0
    speed_up(model)
    while not model.inline:
        caller = submit(model, 60)
        loop.turn()  # if that was the first one after the thread had gone
        assert caller.response[0, 0] == 120
        model.expire(time.monotonic_ns())
        assert len(backend.rows) < 10_000
    caller = submit(model, 70)
    assert not caller.answered.is_set()
    assert loop.turn() == 1
    assert caller.response[0, 0] == 140
    assert "short again" in model.inline_reason
    model.close()


def test_memory_is_never_given_back_while_the_model_is_on_the_loop() -> None:
    """Its runs would wait for the system to unmap it. The model gives back the memory of its thread before it returns."""
    model, _, loop = inline()
    places: list[bool] = []

    class Arena:
        peak_bytes = 0

        def give_back(self, kept_bytes: int) -> int:
            places.append(model.inline)
            return 0

    model.memory.arenas = [Arena()]  # type: ignore[list-item]
    submit(model)
    loop.turn()
    model.decay()
    assert places == [], "inline"
    slow_down(model)
    while model.inline:
        submit(model)
        loop.turn()
    assert ask(model, loop, 50) == 100
    model.decay()
    model.decay()
    assert places == [False], "once: nothing has run since"
    speed_up(model)
    while not model.inline:
        ask(model, loop, 60)
        model.expire(time.monotonic_ns())
    assert places[1:]
    assert not any(places)
    model.close()


def test_a_request_of_a_size_that_nobody_measured_does_not_run_on_the_loop() -> None:
    """Where sizes vary, the measured runs were of small ones. What runs on the thread is learned of."""
    signature = Signature("double", "1", [("x", "FP32", (-1, -1))], [("y", "FP32", (-1, -1))], 8)
    loop = Loop()
    model = Model("double", 1, config(), signature, [FakeBackend()], schedule=loop.call_soon, deliver=deliver)
    model.warm_up()
    model.route.short_nbytes = 400  # as if no larger one had been short
    model.start()

    def ask(nbytes: int) -> Caller:
        made, caller = LocalRequest([("x", "FP32", np.ones((1, nbytes // 4), np.float32))]), Caller()
        made.check(signature)
        model.submit(made, caller)
        return caller

    small, fits, large = ask(4), ask(1600), ask(1604)
    assert not model.inline
    assert "a request of 1604 bytes came, and runs are known to be short up to 400" in model.inline_reason
    loop.turn()
    assert {caller.response.sum() for caller in (small, fits, large)} == {2, 800, 802}, "the thread takes them all"
    speed_up(model)
    while not model.inline:
        caller = ask(1604)
        loop.turn()  # if that was the first one after the thread had gone
        assert caller.response.sum() == 802
        model.expire(time.monotonic_ns())
    assert model.route.short_nbytes == 1604
    after = ask(4 * 1604)
    assert model.inline
    loop.turn()
    assert after.response.sum() == 2 * 1604
    model.close()


def test_what_waits_when_a_model_leaves_the_loop_is_run() -> None:
    model, _, loop = inline()
    slow_down(model)
    callers = [submit(model, value) for value in range(8 * 10)]
    while loop.turn():
        pass
    assert [caller.response[0, 0] for caller in callers] == [2 * value for value in range(80)]
    assert not model.inline
    model.close()


def on_the_way_back() -> tuple[Model, FakeBackend, Loop]:
    """A model that left the loop, whose thread runs a batch that is held, and has been dismissed."""
    model, backend, loop = inline()
    slow_down(model)
    while model.inline:
        submit(model)
        loop.turn()
    speed_up(model)
    while not model._may_return:
        assert ask(model, loop, 1) == 2
    while backend.entered.acquire(blocking=False):
        pass
    backend.hold()
    return model, backend, loop


def test_until_the_thread_has_gone_it_takes_what_comes() -> None:
    model, backend, loop = on_the_way_back()
    first = submit(model, 1)
    loop.turn()  # wakes the thread
    backend.wait_for_run()
    model.expire(time.monotonic_ns())  # dismisses the thread, which is busy
    second = submit(model, 2)
    model.expire(time.monotonic_ns())
    assert not model.inline
    assert loop.turn() == 0
    backend.release()
    assert (first.response[0, 0], second.response[0, 0]) == (2, 4)
    while not model.inline:
        model.expire(time.monotonic_ns())
    third = submit(model, 3)
    loop.turn()
    assert third.response[0, 0] == 6
    model.close()


def test_the_first_request_after_the_thread_has_gone_runs_inline() -> None:
    model, backend, loop = on_the_way_back()
    backend.release()
    thread = model._executors.threads[0]
    model.expire(time.monotonic_ns())
    thread.join(LIMIT_S)
    assert not model.inline
    caller = submit(model, 5)
    assert model.inline
    loop.turn()
    assert caller.response[0, 0] == 10
    model.close()


def test_moving_to_and_fro_under_load_loses_nothing() -> None:
    model, _, loop = inline()
    answered = 0
    for phase in range(6):
        slow_down(model) if phase % 2 == 0 else speed_up(model)
        for number in range(100):
            callers = [submit(model, number + offset) for offset in range(3)]
            loop.turn()
            if phase % 2:
                model.expire(time.monotonic_ns())
            loop.turn()
            while not all(caller.answered.is_set() for caller in callers):
                callers[-1].answered.wait(0.0005)  # lets the thread have the GIL
                model.expire(time.monotonic_ns())
                loop.turn()
            assert [caller.response[0, 0] for caller in callers] == [2 * (number + offset) for offset in range(3)]
            answered += 3
    assert model.drain(LIMIT_S)
    assert model.statistics.request.count == answered
    assert sum(model.failures.values()) == 0
    model.close()


def test_drain_of_an_inline_model_from_another_thread() -> None:
    model, _, loop = inline()
    callers = [submit(model, value) for value in range(50)]
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(model.drain(LIMIT_S)))
    thread.start()
    while thread.is_alive():
        loop.turn()
    assert drained == [True]
    assert [caller.response[0, 0] for caller in callers] == [2 * value for value in range(50)]
    with pytest.raises(Unavailable):
        submit(model)
    model.close()


def test_close_of_an_inline_model_answers_what_waits() -> None:
    model, backend, loop = inline()
    caller = submit(model)
    model.close()
    assert isinstance(caller.error, Unavailable)
    loop.turn()
    assert backend.rows == []


# ---- warm-up by configuration ----


def test_a_configured_warm_up_runs() -> None:
    written = config()
    written.model_warmup.add(name="three", batch_size=3, count=2).inputs["x"].random_data = True
    backend = FakeBackend()
    model = Model("double", 1, written, SIGNATURE, [backend], deliver=deliver)
    model.warm_up()
    assert backend.rows[-2:] == [3, 3]
    model.close()


def test_a_model_that_does_not_take_zeros_is_served(caplog: pytest.LogCaptureFixture) -> None:
    written = config()
    backend = FakeBackend()
    backend.raises = RuntimeError("not zero, please")
    model = Model("double", 1, written, SIGNATURE, [backend], schedule=Loop().call_soon, deliver=deliver)
    model.warm_up()
    assert not model.inline
    assert "the run failed" in str(model.zeros_fault)
    written.model_warmup.add(name="mine", batch_size=1).inputs["x"].zero_data = True
    with pytest.raises(StartError, match="model_warmup 'mine' failed"):
        model.warm_up()
    model.close()


@pytest.mark.parametrize("make", [inline, threaded])
def test_a_closed_model_is_gone_with_its_last_reference(make: Callable[..., Any]) -> None:
    """Sessions and arrays are large: they do not wait for the collector."""
    gc.collect()
    gc.disable()
    try:
        model, backend, *rest = make()
        caller = submit(model, 1)
        if rest:
            rest[0].turn()
        assert caller.response[0, 0] == 2
        assert model.close()
        gone = weakref.ref(model), weakref.ref(model.runners[0])
        del model, backend, rest, caller
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()
