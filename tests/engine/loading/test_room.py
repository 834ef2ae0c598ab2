"""Whether a version fits into memory, by made-up numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.engine.files.places import find_places
from inferd.engine.loading import room
from inferd.engine.loading.origin import Origin
from inferd.engine.loading.room import SESSION_BYTES, Room
from inferd.engine.model import Model
from inferd.errors import StartError
from inferd.system.memory_limit import resident_bytes
from tests.engine.running.test_run_limit import made
from tests.fake_backend import FakeBackend

MiB = 1 << 20


def test_a_version_must_fit_by_what_its_last_load_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(room, "CHECKED_BYTES", MiB)
    (tmp_path / "m" / "1").mkdir(parents=True)
    with (tmp_path / "m" / "1" / "model.onnx").open("wb") as file:
        file.truncate(10 * MiB)
    ((place,), _) = find_places([tmp_path])
    held = 79 * MiB
    tried = Room(lambda: held, lambda: 100 * MiB)
    tried.check(place, 1)
    held += 2 * MiB
    with pytest.raises(
        StartError, match=r"its files have 10 MiB and take about 20 MiB, and the process holds 81 MiB of the 100 MiB that it may"
    ):
        tried.check(place, 1)

    assert tried.expected(place, 1) == 20 * MiB
    model = made([FakeBackend()])
    request.addfinalizer(model.close)

    def load() -> Model:
        nonlocal held
        held += 12 * MiB
        return model

    held = 60 * MiB
    assert tried.measured(place, 1, load) is model
    assert model.memory_bytes == tried.expected(place, 1) == 12 * MiB
    held = 87 * MiB
    tried.check(place, 1)
    held += 2 * MiB
    with pytest.raises(StartError, match="take about 12 MiB"):
        tried.check(place, 1)


def test_small_files_are_not_looked_at(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A load of one is not measured: it takes its files twice, its buffers and steps once they are known, and what each session takes."""
    (tmp_path / "m.onnx").write_bytes(b"x" * 1000)
    ((place,), _) = find_places([tmp_path])
    tried = Room(lambda: 2, lambda: 1)
    tried.check(place, 1)
    assert tried.expected(place, 1) == 2000 + SESSION_BYTES
    model = made([FakeBackend()])
    request.addfinalizer(model.close)
    model.comes_from(Origin(steps_bytes=5000))
    tried.measured(place, 1, lambda: model)
    assert model.memory.buffer_bytes == 2 * 8 * 4 * 4, "x and y, 8 rows of 4 numbers"
    assert model.memory_bytes == tried.expected(place, 1) == 2000 + SESSION_BYTES + model.memory.buffer_bytes + 5000


def test_the_process_holds_memory() -> None:
    assert resident_bytes() > MiB
