"""Whether a version fits into memory, by made-up numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.engine import room
from inferd.engine.places import find_places
from inferd.engine.room import Room, resident_bytes
from inferd.errors import StartError

MiB = 1 << 20


def test_a_version_must_fit_by_what_its_last_load_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def load() -> str:
        nonlocal held
        held += 12 * MiB
        return "loaded"

    held = 60 * MiB
    assert tried.measured(place, 1, load) == "loaded"
    held = 87 * MiB
    tried.check(place, 1)
    held += 2 * MiB
    with pytest.raises(StartError, match="take about 12 MiB"):
        tried.check(place, 1)


def test_small_files_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    ((place,), _) = find_places([tmp_path])
    Room(lambda: 2, lambda: 1).check(place, 1)


def test_the_process_holds_memory() -> None:
    assert resident_bytes() > MiB
