"""A model whose inputs are made by preprocess threads: the way of a request through both queues, and what can happen on it."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from native_access import record_time

from inferd._core.batching.batch import Batch
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import NO_DEADLINE
from inferd.engine.model import Model
from inferd.engine.running import preparer
from inferd.engine.running.preparer import PreprocessThreads
from inferd.errors import Cancelled, DeadlineExceeded, Internal, InvalidArgument, ResourceExhausted, Unavailable
from inferd.protocol import inference
from inferd.steps.pipeline import Array, Check, Content, PadAxis, RowPipeline, TensorType, Value, wrong_row
from inferd.steps.plan import Pipelines, Plan
from tests.fake_backend import LIMIT_S, SIGNATURE, Caller, FakeBackend


class Numbers(RowPipeline):
    """Four numbers as text -> FP32[4]. "wait" waits for `gate` first, "break" is a fault of ours."""

    inputs = (("text", TensorType("BYTES", (1,))),)
    outputs = (("x", TensorType("FP32", (4,))),)
    paddings: Mapping[str, PadAxis] = {}

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.prepared: list[str] = []
        self.threads: set[int] = set()

    def prepare_one(self, values: Sequence[Value], check: Any) -> list[Array]:
        self.threads.add(threading.get_ident())
        rows = []
        for row, element in enumerate(values[0]):
            check()
            text = bytes(element).decode().strip()
            if text == "wait":
                self.entered.release()
                assert self.gate.wait(LIMIT_S)
                check()
                text = "1 1 1 1"
            if text == "break":
                raise RuntimeError("secret")
            self.prepared.append(text)
            numbers = text.split()
            if len(numbers) != 4:
                raise wrong_row("text", row, f"expected 4 numbers, got {len(numbers)}; send 4")
            rows.append([float(number) for number in numbers])
        return [np.array(rows, np.float32)]


class Together(Numbers):
    """The same for many requests in one call."""

    together = 8

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def prepare(self, requests: Sequence[Sequence[Value]], check: Check) -> list[Any]:
        self.calls.append(len(requests))
        return super().prepare(requests, check)


class Texts(Numbers):
    """The same, charged as text: 200,000 bytes take long to prepare."""

    content = Content.TEXT


LONG = 200_000 * " "


def until(condition: Callable[[], bool]) -> None:
    """Lets other threads work until something is so."""
    pause = threading.Event()
    limit_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit_s
        pause.wait(0.0005)


class Setting:
    def __init__(self, pipeline: Numbers | None = None, threads: int = 1, share: PreprocessThreads | None = None, **own: Any) -> None:
        self.pipeline = pipeline or Numbers()
        self.backend = FakeBackend()
        self.plan = Plan(SIGNATURE, Pipelines((self.pipeline,)))
        config = inference.ModelConfig(
            name="double", max_batch_size=8, dynamic_batching={}, inferd={"preprocess_threads": threads, "max_queue_requests": 4, **own}
        )
        self.threads = share or PreprocessThreads(1)
        self.model = Model(
            "double", 1, config, self.plan.signature, [self.backend], deliver=Batch.deliver, steps=self.plan, preprocess=self.threads
        )
        self.model.start()

    def ask(self, *texts: str, deadline_ns: int = NO_DEADLINE, connection_id: int = 0) -> Caller:
        elements = np.empty((len(texts), 1), object)
        elements[:, 0] = texts
        request = LocalRequest([("text", "BYTES", elements)])
        self.model.check(request)
        caller = Caller(deadline_ns, connection_id)
        self.model.submit(request, caller)
        return caller

    def wait_for_preparing(self) -> None:
        assert self.pipeline.entered.acquire(timeout=LIMIT_S)


@pytest.fixture
def made() -> Iterator[list[Setting]]:
    settings: list[Setting] = []
    yield settings
    for setting in settings:
        setting.pipeline.gate.set()
        setting.backend.release()
        setting.model.close()
    for setting in settings:
        setting.threads.close(LIMIT_S)


@pytest.fixture
def setting(made: list[Setting]) -> Setting:
    made.append(Setting())
    return made[-1]


def test_clients_see_what_the_pipeline_takes(setting: Setting) -> None:
    assert setting.plan.signature.input_specs == (("text", "BYTES", (-1, 1)),)
    assert setting.plan.signature.output_specs == SIGNATURE.output_specs


def test_a_request_is_prepared_on_another_thread_and_answered(setting: Setting) -> None:
    np.testing.assert_array_equal(setting.ask("1 2 3 4", "5 6 7 8").response, [[2, 4, 6, 8], [10, 12, 14, 16]])
    assert threading.get_ident() not in setting.pipeline.threads
    assert setting.backend.rows == [2]


def test_a_wrong_row_fails_its_own_request_alone(setting: Setting) -> None:
    setting.backend.hold()
    first = setting.ask("1 1 1 1")
    setting.backend.wait_for_run()
    callers = [setting.ask(text) for text in ("2 2 2 2", "3 3", "4 4 4 4")]
    error = callers[1].error
    setting.backend.release()
    assert isinstance(error, InvalidArgument)
    assert str(error) == "input 'text', row 0: expected 4 numbers, got 2; send 4"
    assert [float(caller.response[0, 0]) for caller in (first, callers[0], callers[2])] == [2, 4, 8]
    assert setting.model.failures == {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 1}


def test_nothing_of_a_rejected_request_stays(setting: Setting) -> None:
    """An error has a traceback, whose frames have the request: a cycle that nobody would find."""
    caller = setting.ask("1 2 3")
    known = weakref.ref(caller.error)
    caller.errors.clear()
    until(lambda: gc.collect() >= 0 and known() is None)


def test_a_fault_of_ours_is_told_without_its_text(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    error = setting.ask("break").error
    assert isinstance(error, Internal)
    assert "secret" not in str(error)
    assert "secret" in caplog.text
    assert float(setting.ask("1 1 1 1").response[0, 0]) == 2


def test_what_is_prepared_while_a_batch_runs_runs_together(setting: Setting) -> None:
    setting.backend.hold()
    first = setting.ask("1 1 1 1")
    setting.backend.wait_for_run()
    others = [setting.ask(f"{n} {n} {n} {n}") for n in (2, 3)]
    until(lambda: setting.model.queues.run.depth == 2)
    setting.backend.release()
    assert [float(caller.response[0, 0]) for caller in (first, *others)] == [2, 4, 6]
    assert setting.backend.rows == [1, 2]


def test_a_pipeline_that_takes_many_gets_all_that_wait(made: list[Setting]) -> None:
    pipeline = Together()
    made.append(setting := Setting(pipeline))
    first = setting.ask("wait")
    setting.wait_for_preparing()
    others = [setting.ask(f"{n} {n} {n} {n}") for n in (2, 3, 4)]
    pipeline.gate.set()
    assert [float(caller.response[0, 0]) for caller in (first, *others)] == [2, 4, 6, 8]
    assert pipeline.calls == [1, 3]


def test_the_queue_limit_counts_what_waits_to_be_prepared(setting: Setting) -> None:
    setting.ask("wait")
    setting.wait_for_preparing()
    for _ in range(4):
        setting.ask("1 1 1 1")
    with pytest.raises(ResourceExhausted, match="max_queue_requests"):
        setting.ask("1 1 1 1")
    assert setting.model.queues.depth == 4
    assert setting.model.failures["REJECTED"] == 1


def test_a_request_that_cannot_be_in_time_is_rejected_before_it_is_prepared(setting: Setting) -> None:
    """What runs took is known although the queue in front has no runs."""
    held = setting.ask("wait")
    setting.wait_for_preparing()
    record_time(setting.model.queues.run.queue.run_times, 1, 10**12, time.monotonic_ns())
    with pytest.raises(ResourceExhausted, match="deadline"):
        setting.ask("1 1 1 1", deadline_ns=time.monotonic_ns() + 10**11)
    setting.pipeline.gate.set()
    assert held.response is not None
    until(lambda: setting.model.queues.first.queue.running == 0)


def test_only_so_much_is_prepared_as_the_runs_have_room_for(made: list[Setting]) -> None:
    made.append(setting := Setting(max_queue_requests=100))
    setting.backend.hold()
    callers = [setting.ask("1 1 1 1")]
    setting.backend.wait_for_run()
    callers += [setting.ask("1 1 1 1") for _ in range(40)]
    until(lambda: setting.model.queues.run.depth >= 16)  # two batches of 8
    callers += [setting.ask("1 1 1 1") for _ in range(4)]
    assert setting.model.queues.depth >= 28
    assert len(setting.pipeline.prepared) <= 1 + 16 + 1
    setting.backend.release()
    assert all(float(caller.response[0, 0]) == 2 for caller in callers)


def test_only_so_many_bytes_are_prepared_as_may_wait(made: list[Setting], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests of 16 bytes wait for a run; the fourth makes it no more than allowed, whatever rows a batch has room for."""
    monkeypatch.setattr(preparer, "READY_BYTES", 3 * 16)
    made.append(setting := Setting(max_queue_requests=100))
    setting.backend.hold()
    callers = [setting.ask("1 1 1 1")]
    setting.backend.wait_for_run()
    callers += [setting.ask("1 1 1 1") for _ in range(12)]
    until(lambda: setting.model.queues.run.depth >= 3)
    callers.append(setting.ask("1 1 1 1"))
    assert setting.model.queues.depth >= 9
    assert len(setting.pipeline.prepared) <= 1 + 3 + 1
    setting.backend.release()
    assert all(float(caller.response[0, 0]) == 2 for caller in callers)


def test_who_goes_away_while_it_waits_is_never_prepared(setting: Setting) -> None:
    held = setting.ask("wait")
    setting.wait_for_preparing()
    gone = setting.ask("9 9 9 9")
    gone.cancel()
    setting.pipeline.gate.set()
    assert float(held.response[0, 0]) == 2
    assert float(setting.ask("1 1 1 1").response[0, 0]) == 2
    assert "9 9 9 9" not in setting.pipeline.prepared
    assert (gone.responses, gone.errors) == ([], [])
    assert setting.model.failures["CANCELED"] == 1


def test_who_goes_away_while_it_is_prepared_is_not_run(setting: Setting) -> None:
    gone = setting.ask("wait", "9 9 9 9")
    setting.wait_for_preparing()
    gone.cancel()
    setting.pipeline.gate.set()
    assert float(setting.ask("1 1 1 1").response[0, 0]) == 2
    assert "9 9 9 9" not in setting.pipeline.prepared
    assert setting.backend.rows == [1]
    assert (gone.responses, gone.errors) == ([], [])


def test_a_deadline_that_passes_between_rows_ends_the_preparing(setting: Setting) -> None:
    late = setting.ask("wait", "9 9 9 9", deadline_ns=time.monotonic_ns() + 20_000_000)
    setting.wait_for_preparing()
    until(lambda: time.monotonic_ns() >= late.deadline_ns)
    setting.pipeline.gate.set()
    assert isinstance(late.error, DeadlineExceeded)
    assert "while the inputs were prepared" in str(late.error)
    assert "9 9 9 9" not in setting.pipeline.prepared


def test_time_that_runs_out_before_preparing_is_answered_by_expire(setting: Setting) -> None:
    setting.ask("wait")
    setting.wait_for_preparing()
    late = setting.ask("1 1 1 1", deadline_ns=time.monotonic_ns() + 1)
    setting.model.expire(time.monotonic_ns() + 10**9)
    assert isinstance(late.error, DeadlineExceeded)


def test_a_model_does_not_rest_while_a_request_is_prepared(setting: Setting) -> None:
    caller = setting.ask("wait")
    setting.wait_for_preparing()
    setting.model.expire(time.monotonic_ns())
    assert setting.model.queues.depth == setting.model.running == 0
    assert not setting.model.rest(10**15)
    setting.pipeline.gate.set()
    assert caller.response.sum() == 8


def test_stages_add_up(setting: Setting) -> None:
    setting.ask("wait")
    setting.wait_for_preparing()
    caller = setting.ask("1 1 1 1")
    asked_ns = time.monotonic_ns()
    until(lambda: time.monotonic_ns() >= asked_ns + 5_000_000)
    setting.pipeline.gate.set()
    assert caller.response is not None
    statistics = setting.model.statistics
    assert statistics.preprocess.count == 2
    assert statistics.preprocess.sum_ns >= 5_000_000  # the one that waited in its step
    assert statistics.queue.sum_ns >= 5_000_000  # the one behind it
    total = sum(getattr(statistics, stage).sum_ns for stage in ("decode", "queue", "preprocess", "execute", "encode"))
    assert total <= statistics.request.sum_ns


def test_draining_answers_what_waits_in_both_queues(setting: Setting) -> None:
    callers = [setting.ask("wait"), setting.ask("2 2 2 2"), setting.ask("3 3 3 3")]
    setting.wait_for_preparing()
    setting.pipeline.gate.set()
    assert setting.model.drain(LIMIT_S)
    assert [float(caller.response[0, 0]) for caller in callers] == [2, 4, 6]
    with pytest.raises(Unavailable):
        setting.ask("1 1 1 1")


def test_closing_answers_everything(setting: Setting) -> None:
    held = setting.ask("wait")
    setting.wait_for_preparing()
    waiting = [setting.ask("1 1 1 1") for _ in range(3)]
    closing = threading.Thread(target=setting.model.close)
    closing.start()
    assert all(isinstance(caller.error, Unavailable) for caller in waiting)
    setting.pipeline.gate.set()
    closing.join(LIMIT_S)
    assert not closing.is_alive()
    assert isinstance(held.error, Unavailable | Cancelled)
    assert setting.backend.closed


def test_two_threads_prepare_at_the_same_time(made: list[Setting]) -> None:
    made.append(setting := Setting(threads=2))
    callers = [setting.ask("wait"), setting.ask("wait")]
    setting.wait_for_preparing()
    setting.wait_for_preparing()  # while the first one still waits
    setting.pipeline.gate.set()
    assert [float(caller.response[0, 0]) for caller in callers] == [2, 2]


def test_a_small_request_does_not_wait_for_the_thread_of_a_large_one(made: list[Setting]) -> None:
    made.append(setting := Setting(Texts()))
    held = [setting.ask(LONG + "wait") for _ in range(2)]
    setting.wait_for_preparing()
    assert [float(setting.ask("1 1 1 1").response[0, 0]) for _ in range(3)] == [2] * 3
    assert setting.model.queues.depth == 1
    assert not setting.pipeline.entered.acquire(blocking=False), "large ones still wait for each other"
    setting.pipeline.gate.set()
    assert [float(caller.response[0, 0]) for caller in held] == [2, 2]


def test_a_connection_pays_for_what_its_requests_take_to_prepare(made: list[Setting]) -> None:
    """Turns of 30 ms and of 0.01 ms."""
    made.append(setting := Setting(Texts(), max_queue_requests=100))
    setting.ask("wait")
    setting.wait_for_preparing()
    costly = [setting.ask(LONG[:100_000] + f"7 7 7 {number}", connection_id=1) for number in range(3)]
    cheap = [setting.ask(f"1 1 1 {number}", connection_id=2) for number in range(9)]
    setting.pipeline.gate.set()
    for caller in costly + cheap:
        assert caller.response is not None
    assert [text[0] for text in setting.pipeline.prepared[1:]] == [*"7", *"1" * 9, *"77"]


def test_the_limits_hold_for_large_requests(made: list[Setting]) -> None:
    made.append(setting := Setting(Texts()))
    setting.model.queues.limit({"max_queue_requests": 1})
    held = [setting.ask(LONG + "wait")]
    setting.wait_for_preparing()
    held.append(setting.ask(LONG + "wait"))
    with pytest.raises(ResourceExhausted, match="max_queue_requests"):
        setting.ask(LONG + "1 1 1 1")
    assert setting.model.failures["REJECTED"] == 1
    setting.pipeline.gate.set()
    assert setting.model.drain(LIMIT_S)
    assert [float(caller.response[0, 0]) for caller in held] == [2, 2]


def test_a_thread_is_added_where_all_are_at_work(made: list[Setting]) -> None:
    made.append(setting := Setting(threads=3))
    threads = setting.threads.short
    assert len(threads) == 1
    for held, expected in enumerate((2, 3, 3)):
        setting.ask("wait")
        setting.wait_for_preparing()
        assert setting.pipeline.entered.acquire(blocking=False) is False
        assert len(threads) == expected, held


def test_requests_one_by_one_need_few_threads(made: list[Setting]) -> None:
    made.append(setting := Setting(threads=8))
    assert [float(setting.ask("1 1 1 1").response[0, 0]) for _ in range(20)] == [2] * 20
    assert len(setting.threads.short) < 8  # mostly 2: one is still at its end when the next request comes


def test_where_the_system_has_no_more_threads_it_goes_on(
    made: list[Setting], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made.append(setting := Setting(threads=3))
    assert float(setting.ask("1 1 1 1").response[0, 0]) == 2
    setting.threads.short._most = len(setting.threads.short) + 1

    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        held = [setting.ask("wait") for _ in range(len(setting.threads.short))]
        for _ in held:
            setting.wait_for_preparing()
        setting.pipeline.gate.set()
        assert [float(caller.response[0, 0]) for caller in held] == len(held) * [2]
    assert float(setting.ask("2 2 2 2").response[0, 0]) == 4
    assert "the system starts no further thread" in caplog.text
    assert f"the server goes on with {len(held)} that prepare inputs" in caplog.text


def test_a_thread_outlives_a_fault(setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(requests: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(setting.plan, "prepare", fail)
        setting.ask("1 1 1 1")
        until(lambda: not setting.model._preparer.busy and "could not be prepared" in caplog.text)  # type: ignore[union-attr]
    assert float(setting.ask("2 2 2 2").response[0, 0]) == 4


def test_draining_waits_for_what_is_prepared_meanwhile(made: list[Setting]) -> None:
    made.append(setting := Setting(threads=4))
    callers = [setting.ask("wait") for _ in range(3)]
    for _ in callers:
        setting.wait_for_preparing()
    drained: list[bool] = []
    draining = threading.Thread(target=lambda: drained.append(setting.model.drain(LIMIT_S)))
    draining.start()
    until(lambda: setting.model.queues.first.closed)
    assert drained == []
    setting.pipeline.gate.set()
    draining.join(LIMIT_S)
    assert drained == [True]
    assert [float(caller.response[0, 0]) for caller in callers] == [2, 2, 2]


def test_models_share_threads_and_take_turns(made: list[Setting]) -> None:
    """A model with many requests delays one with a few by a quantum at most: here each batch costs more than that."""
    pipeline = Texts()
    made.append(busy := Setting(pipeline, max_queue_requests=100))
    busy.threads.short._most = 1
    made.append(other := Setting(pipeline, share=busy.threads))
    first = busy.ask("wait")
    busy.wait_for_preparing()
    callers = [busy.ask(LONG[:100_000] + f"7 7 7 {number}") for number in range(5)]
    callers += [other.ask(f"1 1 1 {number}") for number in range(3)]
    pipeline.gate.set()
    for caller in [first, *callers]:
        assert caller.response is not None
    assert [text[0] for text in pipeline.prepared[1:]].index("1") <= 1
    assert [text for text in pipeline.prepared if text[0] == "1"] == ["1 1 1 1", "1 1 1 0", "1 1 1 1", "1 1 1 2"]


def test_a_model_without_room_for_more_does_not_hold_up_another(made: list[Setting]) -> None:
    made.append(full := Setting(max_queue_requests=100))
    made.append(other := Setting(share=full.threads))
    full.backend.hold()
    callers = [full.ask("1 1 1 1")]
    full.backend.wait_for_run()
    callers += [full.ask("1 1 1 1") for _ in range(40)]
    until(lambda: full.model.queues.run.depth >= 16)
    assert float(other.ask("2 2 2 2").response[0, 0]) == 4
    full.backend.release()
    assert all(float(caller.response[0, 0]) == 2 for caller in callers)


def test_models_that_nobody_asks_have_no_threads_of_their_own(made: list[Setting]) -> None:
    before = threading.active_count()
    made.append(first := Setting())
    made += [Setting(share=first.threads) for _ in range(20)]
    assert threading.active_count() == before + 2


def test_it_is_never_inline(setting: Setting) -> None:
    setting.model.warm_up()
    assert not setting.model.inline
