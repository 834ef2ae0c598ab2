"""The memory of runs: it has a limit, it is exact, and it is given back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from inferd import Engine
from inferd.engine.model import Model
from inferd.engine.runtime.arena import KEPT_BYTES, Decaying
from inferd.errors import ResourceExhausted
from tests import models

MIB = 1 << 20


@pytest.fixture(autouse=True)
def nothing_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is rejected by an estimate before it runs."""
    monkeypatch.setattr("inferd.engine.checks.run_limits.learn", lambda *_: None)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Models with 100 MiB each, whose runs take s x s numbers of 4 bytes; those of "many" three such tensors at once."""
    folder = models.repository(
        tmp_path, {"one": models.self_similarity(), "other": models.self_similarity(), "many": models.self_similarity(3)}
    )
    with Engine(folder, max_run_bytes=100 * MIB) as opened:
        yield opened


def ask(engine: Engine, tokens: int, name: str = "one") -> None:
    """Runs one row of so many tokens, all ones: so is the mean of them, and its sum over three heads is 3."""
    answer = engine.infer(name, {"x": np.ones((1, tokens, 1), np.float32)})
    np.testing.assert_allclose(answer["y"], 3 if name == "many" else 1, rtol=1e-3)


def served(engine: Engine, name: str = "one") -> Model:
    return engine._repository.lookup(name, "")


def test_a_run_beyond_the_limit_is_rejected_and_the_next_one_runs(engine: Engine) -> None:
    with pytest.raises(ResourceExhausted, match=r"a run of 1 row needs more than the 104857600 bytes .* max_run_bytes raised") as raised:
        ask(engine, 4000, "many")
    assert raised.value.reason == "run_memory"
    assert served(engine, "many").memory.arena_bytes <= KEPT_BYTES, "what the rejected run had got is given back"
    ask(engine, 400, "many")


def test_a_large_run_is_given_back_and_seen(engine: Engine) -> None:
    ask(engine, 4096)
    one, other = served(engine), served(engine, "other")
    assert 64 * MIB <= one.memory.arena_bytes < 65 * MIB
    assert other.memory.arena_bytes <= KEPT_BYTES, "each model has an arena of its own"
    engine._repository.upkeep.decay()
    assert one.memory.arena_bytes <= KEPT_BYTES
    assert 64 * MIB <= one.memory.peak_bytes < 65 * MIB


def test_the_same_run_again_takes_no_more(engine: Engine) -> None:
    ask(engine, 1500, "many")
    held_bytes = served(engine, "many").memory.arena_bytes
    for _ in range(3):
        ask(engine, 1500, "many")
    assert served(engine, "many").memory.arena_bytes == held_bytes


def test_what_smaller_runs_have_left_is_no_reason_to_reject_a_larger_one(engine: Engine) -> None:
    for tokens in (3000, 3500, 4500):  # 34, 47 and 77 MiB
        ask(engine, tokens)
    assert served(engine).memory.arena_bytes < 100 * MIB


def test_a_model_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, {"one": models.self_similarity()}, {"one": "inferd { max_run_bytes: 10000000 }"})
    with Engine(folder) as engine:
        ask(engine, 1000)
        with pytest.raises(ResourceExhausted, match="10000000 bytes"):
            ask(engine, 2000)


def test_decay_comes_again_and_again_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One that fails is told, and the next one comes."""
    monkeypatch.setattr("inferd.engine.runtime.arena.DECAY_S", 0.001)
    calls, three = [], threading.Event()

    def decay() -> None:
        calls.append(1)
        if len(calls) == 3:
            three.set()
        raise OSError("not today")

    decaying = Decaying(decay)
    decaying.start()
    assert three.wait(30)
    decaying.stop()
    assert not decaying.is_alive()
    assert "could not be given back" in caplog.text


def test_an_onnxruntime_without_such_arenas_serves_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so."""

    def registered_already(*_: object) -> None:
        raise RuntimeError("An allocator for this device has already been registered for sharing.")

    monkeypatch.setattr(onnxruntime, "create_and_register_allocator", registered_already)
    with caplog.at_level("INFO"), Engine(models.repository(tmp_path, {"one": models.self_similarity()}), max_run_bytes=MIB) as engine:
        ask(engine, 1000)
        assert not served(engine).memory.has_arena
        assert served(engine).memory.arena_bytes == 0
    assert "so the memory of runs has none" in caplog.text


def test_a_model_that_nobody_asks_keeps_the_memory_of_one_row(tmp_path: Path) -> None:
    """Its warm-up runs the most rows, too. A first request of one row finds the memory that it needs."""
    with Engine(models.repository(tmp_path, {"squares": models.sum_of_squares()}), max_run_bytes=100 * MIB) as engine:
        model = served(engine, "squares")
        one_row_bytes = model.memory.arena_bytes
        for rows, grows in ((1, False), (model.config.max_batch_size, True)):
            engine.infer("squares", {"x": np.ones((rows, 1000), np.float32)})
            assert (model.memory.arena_bytes > one_row_bytes > 0) is grows
