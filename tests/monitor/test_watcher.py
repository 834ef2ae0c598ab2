"""Versions that are watched, by a manual clock: who judges, what is kept, and profiles that are wrong."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inferd.engine.embedded import Engine
from inferd.monitor.judging import Finding
from inferd.monitor.watch import Watch
from inferd.monitor.watcher import OLD_S, Watcher
from tests import models
from tests.monitor.profiles import requests, write_beside

S = 10**9
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(2000, 4)).astype(np.float32)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1000 * S

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = models.write(tmp_path, "m", models.identity(dims=(4,)))
    write_beside(made, {"x": ROWS})
    return made


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    with Engine(file) as engine:
        yield engine


def ask(engine: Engine, shift: float = 0.0, rows: int = 1000) -> None:
    for given in requests({"x": RNG.normal(shift, 1.0, (rows, 4)).astype(np.float32)}):
        engine.infer(None, given)


def watched(watcher: Watcher, engine: Engine) -> Watch:
    watcher.watch(engine._lookup(None, ""))
    watcher.look()
    (watch,) = watcher.watches()
    return watch


def test_moved_rows_are_found_and_said_once(engine: Engine, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    watcher = Watcher(None, 1000, 60, clock)
    watch = watched(watcher, engine)
    for _ in range(4):
        ask(engine)
        watcher.look()
    assert not watch.track().found
    for _ in range(3):
        ask(engine, shift=1.0)
        watcher.look()
    found = {(watch.reference.features[each.place].name, each.finding) for each in watch.track().found}
    assert {(f"x[{place}]", Finding.DRIFT) for place in range(4)} <= found
    assert len(watch.track().windows) == 7
    assert caplog.text.count("moved away from the reference") == 2, "one more where the outliers become a finding"


def test_one_process_judges_and_all_count(engine: Engine, file: Path, tmp_path: Path, clock: Clock) -> None:
    """Two watchers, as of two processes; and a third after a restart."""
    first, second = (Watcher(tmp_path / "monitor", 1000, 60, clock) for _ in range(2))
    judge = watched(first, engine)
    with Engine(file) as other:
        beside = watched(second, other)
        ask(engine, rows=600)
        ask(other, rows=600)
        second.look()
        assert (judge.rows(), beside.rows()) == (1200, 1200)
        assert not judge.track().windows
        clock.now_ns += 20 * S
        first.look()
        assert [window.rows for window in beside.track().windows] == [1200]
    ask(engine, rows=500)
    first.stop(1.0)
    first.keep()
    first.close()
    third = watched(second, engine)  # counts from here on, in the track of the first
    clock.now_ns += 61 * S
    ask(engine, rows=100)
    second.look()
    assert [window.rows for window in third.track().windows] == [1200, 600]


def test_a_track_is_written_by_and_by(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    watcher = Watcher(tmp_path, 1000, 60, clock)
    watch = watched(watcher, engine)
    assert watch.path is not None
    watcher.keep()
    assert not watch.path.exists(), "without a row"
    ask(engine)
    clock.now_ns += 11 * S
    watcher.look()
    kept = watch.path.read_bytes()
    ask(engine)
    clock.now_ns += 1 * S
    watcher.look()
    assert watch.path.read_bytes() == kept
    clock.now_ns += 10 * S
    watcher.look()
    assert watch.path.read_bytes() != kept


def test_a_version_that_is_loaded_again_goes_on_in_its_track(file: Path, tmp_path: Path, clock: Clock) -> None:
    watcher = Watcher(tmp_path / "monitor", 1000, 60, clock)
    with Engine(file) as before:
        watched(watcher, before)
        ask(before)
        watcher.look()
        ask(before, rows=300)
        with Engine(file) as engine:
            watch = watched(watcher, engine)
            ask(engine, rows=300)
            ask(before, rows=400)  # the last ones of the old one
            watcher.look()
            assert [window.rows for window in watch.track().windows] == [1000, 1000]


def test_old_files_are_removed(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    clock.now_ns = time.time_ns()
    for name, age_s in (("a.counts", 2 * OLD_S), ("b.track", 2 * OLD_S), ("c.track", 0), ("other", 2 * OLD_S)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    watched(Watcher(tmp_path, 1000, 60, clock), engine)
    assert {"c.track", "other", "lock"} <= {path.name for path in tmp_path.iterdir()}
    assert not {"a.counts", "b.track"} & {path.name for path in tmp_path.iterdir()}


def test_a_version_that_is_gone_is_forgotten(file: Path, clock: Clock) -> None:
    watcher = Watcher(None, 1000, 60, clock)
    with Engine(file) as engine:
        assert watched(watcher, engine).is_alive
    del engine
    gc.collect()
    watcher.look()
    assert watcher.watches() == []


def test_without_a_profile_nothing_is_watched(tmp_path: Path, clock: Clock) -> None:
    with Engine(models.write(tmp_path, "m", models.identity())) as engine:
        watcher = Watcher(None, 1000, 60, clock)
        watcher.watch(engine._lookup(None, ""))
        assert watcher.watches() == []


def test_a_profile_of_another_signature_is_said_and_the_version_serves(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = models.write(tmp_path, "m", models.identity(dims=(4,)))
    write_beside(file, {"x": ROWS})
    models.write(tmp_path, "m", models.identity(dims=(5,)))
    with Engine(file) as engine:
        watcher = Watcher(None, 1000, 60, clock)
        watcher.watch(engine._lookup(None, ""))
        assert watcher.watches() == []
        assert "is not watched: m.onnx.reference.parquet: expected the input 'x' FP32[-1, 5], got 'x' FP32[-1, 4]" in caplog.text
        assert engine.infer(None, {"x": np.zeros((1, 5), np.float32)})["y"].shape == (1, 5)


def test_a_folder_that_cannot_be_used_leaves_the_process_its_own_counts(
    engine: Engine, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    watcher = Watcher(tmp_path / "file" / "monitor", 1000, 60, clock)
    watch = watched(watcher, engine)
    ask(engine)
    watcher.look()
    assert "cannot be used" in caplog.text
    assert len(watch.track().windows) == 1
