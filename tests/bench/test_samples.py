"""Samples are on the disk as they come, and a file has its name only when it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.bench.samples import Samples
from inferd.errors import ConfigError, InferdError


def rows(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + 4 * count, dtype=np.int64).reshape(-1, 4)


@pytest.mark.parametrize("counts", [[], [0], [1], [3, 0, 5], [70_000, 100_000]])
def test_all_that_came_is_in_the_file(tmp_path: Path, counts: list[int]) -> None:
    path = tmp_path / "s.npy"
    path.write_bytes(b"what was there before")
    pieces = [rows(place, count) for place, count in enumerate(counts)]
    with Samples(str(path)) as samples:
        for piece in pieces:
            samples.append(piece.tobytes())
        samples.save()
    assert np.array_equal(np.load(path), np.concatenate([rows(0, 0), *pieces]))
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_held_in_memory(tmp_path: Path) -> None:
    with Samples(str(tmp_path / "s.npy")) as samples:
        samples.append(rows(0, 100_000).tobytes())
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_size > 3_000_000


def test_what_is_not_saved_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    path.write_bytes(b"what was there before")
    with Samples(str(path)) as samples:
        samples.append(rows(0, 3).tobytes())
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Samples(str(tmp_path / "s.npy")) as samples:
        samples._file.close()
        with open("/dev/full", "wb", buffering=0) as full:
            monkeypatch.setattr(samples, "_file", full)
            samples.append(rows(0, 3).tobytes())
            samples.append(rows(0, 3).tobytes())
            with pytest.raises(InferdError, match=r"s\.npy: cannot be written: No space left on device"):
                samples.save()


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--samples /dev/null: expected a file, for its beginning is written last"):
        Samples("/dev/null")
    with pytest.raises(InferdError, match="No such file or directory"):
        Samples(str(tmp_path / "none" / "s.npy"))
