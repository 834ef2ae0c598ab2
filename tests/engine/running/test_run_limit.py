"""Runs that take longer than max_run_s, by a manual clock: what becomes of them, of who waits, and of the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from inferd._core.batching.batch import Batch
from inferd._core.batching.tap import Tap
from inferd.engine.model import Model
from inferd.engine.models.repository import Repository
from inferd.engine.running.run_limit import GRACE_NS
from inferd.errors import Aborted, DeadlineExceeded, Unavailable
from tests.engine.test_model import config, deliver, submit
from tests.fake_backend import LIMIT_S, SIGNATURE, Caller, FakeBackend

BEGUN_NS = 5 * 10**15  # beyond every time that this machine's clock shows: deadlines have passed by then
MAX_NS = 7 * 10**9
TITLE = "model 'double' version 1"


class Deaf(FakeBackend):
    """Its runs do not end when they are told to."""

    def terminate(self) -> None:
        self.terminations += 1


def made(backends: list[FakeBackend], max_run_s: int = 7) -> Model:
    model = Model("double", 1, config(inferd={"max_run_s": max_run_s}), SIGNATURE, backends, deliver=deliver)
    model.start()
    for backend in backends:
        backend.hold()
    return model


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def deaf() -> Deaf:
    return Deaf()


@pytest.fixture
def hung(deaf: Deaf) -> Iterator[tuple[Model, Caller]]:
    """A model whose only run is told to end and does not, just before anybody takes notice, and who asked for that run."""
    model = made([deaf])
    caller = submit(model, 1)
    deaf.wait_for_run()
    assert not model.expire(BEGUN_NS)
    assert not model.expire(BEGUN_NS + MAX_NS)
    assert not model.expire(BEGUN_NS + MAX_NS + GRACE_NS - 1)
    assert (caller.errors, deaf.terminations, model.state) == ([], 1, "READY")
    yield model, caller
    deaf.release()
    model.close()


def test_a_run_is_ended_that_takes_too_long_and_no_other(backend: FakeBackend, caplog: pytest.LogCaptureFixture) -> None:
    model = made([backend])
    first = submit(model, 1)
    backend.wait_for_run()
    model.expire(BEGUN_NS)
    poisonous, neighbour = submit(model, 2), submit(model, 3)
    model.expire(BEGUN_NS + MAX_NS - 1)
    backend.step()
    assert first.response[0, 0] == 2
    backend.wait_for_run()
    model.expire(BEGUN_NS + MAX_NS + 1)  # the next batch has just been seen
    assert backend.terminations == 0
    model.expire(BEGUN_NS + 2 * MAX_NS + 1)
    for caller in (poisonous, neighbour):
        assert isinstance(caller.error, Aborted)
        assert str(caller.error).startswith(f"{TITLE}: the run took longer than max_run_s, 7 s, and was ended")
    assert (backend.terminations, backend.rows) == (1, [1, 2]), "neighbours are not run again: that would take as long"
    assert (model.runs_ended, model.failures["BACKEND"], model.failures["CANCELED"]) == (1, 2, 0)
    assert [record.levelname for record in caplog.records if "max_run_s" in record.getMessage()] == ["WARNING"]
    backend.release()
    assert submit(model, 4).response[0, 0] == 8
    assert not model.expire(BEGUN_NS + 9 * MAX_NS)
    assert (model.state, model.hung) == ("READY", 0)
    model.close()


def test_without_a_limit_a_run_takes_its_time(backend: FakeBackend) -> None:
    model = made([backend], max_run_s=0)
    caller = submit(model, 1)
    backend.wait_for_run()
    for turn in range(3):
        model.expire(BEGUN_NS + turn * 10**15)
    backend.release()
    assert caller.response[0, 0] == 2
    model.close()


def test_a_run_that_does_not_end_takes_the_model_out_of_service(hung: tuple[Model, Caller], deaf: Deaf) -> None:
    model, caller = hung
    waiting = submit(model, 2)
    assert model.expire(BEGUN_NS + MAX_NS + GRACE_NS), "the state has changed"
    assert isinstance(caller.error, Aborted)
    assert isinstance(waiting.error, Unavailable)
    assert (model.state, model.reason, model.hung, model.runs_ended) == ("UNAVAILABLE", "its run does not end", 1, 1)
    late = submit(model, 3)
    assert not model.expire(BEGUN_NS + MAX_NS + GRACE_NS + 1)
    assert isinstance(late.error, Unavailable)
    assert model.queues.depth == 0
    assert not model.rest(10**15), "its run may end after all"


def test_a_run_that_ends_after_all_brings_the_model_back(hung: tuple[Model, Caller], deaf: Deaf) -> None:
    model, caller = hung
    assert model.expire(BEGUN_NS + MAX_NS + GRACE_NS)
    (batch,) = [instance.running for instance in model.runners]
    assert isinstance(batch, Batch)
    deaf.release()
    until_s = time.monotonic() + LIMIT_S
    while not batch.finished_ns:
        assert time.monotonic() < until_s
    assert model.expire(BEGUN_NS + MAX_NS + GRACE_NS + 1)
    assert (model.state, model.reason, model.hung) == ("READY", "", 0)
    assert not model.rest(10**15)
    assert model.rest(10**16)
    assert submit(model, 5).response[0, 0] == 10
    assert (caller.responses, len(caller.errors)) == ([], 1), "what the run gave after all goes to nobody"


def test_a_model_with_an_instance_left_serves(deaf: Deaf, backend: FakeBackend, caplog: pytest.LogCaptureFixture) -> None:
    model = made([deaf, backend])
    callers = [submit(model, 1)]
    while not deaf.entered.acquire(blocking=False):  # whichever thread is first takes it
        if backend.entered.acquire(blocking=False):
            callers.append(submit(model, 1))
            assert deaf.entered.acquire(timeout=LIMIT_S)
            break
    backend.release()
    if len(callers) == 2:
        assert callers[0].response[0, 0] == 2, "the run of the instance that is left is over"
    for now_ns in (BEGUN_NS, BEGUN_NS + MAX_NS, BEGUN_NS + MAX_NS + GRACE_NS):
        assert not model.expire(now_ns)
    assert (model.state, model.hung) == ("READY", 1)
    assert submit(model, 2).response[0, 0] == 4
    assert any("its instance is lost until it does" in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    deaf.release()
    model.close()


def test_a_run_that_every_deadline_has_passed_and_that_does_not_end_is_found(deaf: Deaf) -> None:
    model = made([deaf])
    model.tap(tap := Tap())
    caller = submit(model, 1, deadline_ns=BEGUN_NS - 1)
    deaf.wait_for_run()
    assert not model.expire(BEGUN_NS)
    assert [each.code for each in tap.take()] == [DeadlineExceeded.code], "a canary counts it though it never ends"
    assert deaf.terminations == 1, "nobody waits for it"
    assert not model.expire(BEGUN_NS + MAX_NS)
    assert model.expire(BEGUN_NS + MAX_NS + GRACE_NS)
    assert isinstance(caller.error, Aborted)
    assert tap.seen == 1
    deaf.release()
    model.close()


def test_runs_that_are_left_behind_do_not_hold_up_the_close(caplog: pytest.LogCaptureFixture) -> None:
    backends = [Deaf(), Deaf()]
    repository = Repository(deliver=Batch.deliver)
    repository._entry("m").models = tuple(made([backend]) for backend in backends)
    callers = [submit(model) for model in repository.models()]
    for backend in backends:
        backend.wait_for_run()
    assert not repository.close(0.0)
    assert caplog.text.count("its thread is left behind") == 2
    assert [backend.terminations for backend in backends] == [1, 1]
    for backend, caller in zip(backends, callers, strict=True):
        backend.release()
        assert caller.answered.wait(LIMIT_S)
    assert repository.close()
