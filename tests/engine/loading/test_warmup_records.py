"""Which recorded requests warm a model up, and what is said of records that cannot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from inferd._core.batching.tap import Tapped
from inferd._core.codec.columns import Columns
from inferd._core.tensor.signature import Signature
from inferd.engine.loading import warmup_records
from inferd.engine.loading.warmup_records import run_records
from inferd.engine.running.executor import Instance
from inferd.errors import ConfigError, Internal, StartError
from inferd.record import form, reader
from inferd.record.export import merge
from inferd.record.reader import Segments
from tests.fake_backend import SIGNATURE, FakeBackend
from tests.record.records import OFFSET_NS, columns, record, tapped


class Listening(FakeBackend):
    """Keeps the first value of each run."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def run(self, rows: int) -> Any:
        self.values.append(float(self._x[0, 0]))
        return super().run(rows)


def run(*files: Path, signature: Signature = SIGNATURE, raises: Exception | None = None) -> list[float]:
    backend = Listening()
    backend.raises = raises
    ran = run_records(files, [Instance("double", backend)], signature, None, "model 'double'")
    assert ran == len(backend.values)
    return backend.values


def rejection(*files: Path, **options: Any) -> str:
    with pytest.raises((ConfigError, StartError)) as caught:
        run(*files, **options)
    return str(caught.value)


def later(*requests: Tapped) -> Columns:
    """One comes a nanosecond after the other."""
    made = Columns()
    for number, request in enumerate(requests):
        made.add(request, OFFSET_NS + number - request.received_ns, None)
    return made


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Nine requests of the values 0 to 8, of two rows where 3 divides the value, and one of another model."""
    ours = [tapped(value=number, rows=1 if number % 3 else 2) for number in range(9)]
    return record(tmp_path / "recorded", later(tapped(model="other", value=100), *ours))


def test_the_newest_requests_of_each_shape_run(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = tmp_path / "m.arrow"
    merge(Segments([str(recorded)]), str(merged))
    assert run(recorded) == run(merged) == [8, 7, 6, 3]
    assert run(merged, recorded) == [8, 8, 6, 6]
    for limit, most, values in (
        ("MOST_OF_SHAPES", 1, [8, 6]),
        ("MOST_REQUESTS", 3, [8, 7, 6]),
        ("MOST_NBYTES", 64, [8, 7, 6]),
        ("LONGEST_NS", 0, [8]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(warmup_records, limit, most)
            assert run(recorded) == values


def test_only_the_end_of_a_record_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = record(tmp_path, *(later(tapped(value=2 * number), tapped(value=2 * number + 1)) for number in range(3)))
    monkeypatch.setattr(warmup_records, "MOST_OF_SHAPES", 100)
    for limit, most, count in (("NEWEST_ROWS", 4, 4), ("NEWEST_ROWS", 1, 1), ("NEWEST_NBYTES", 1, 2)):
        with monkeypatch.context() as patch:
            patch.setattr(reader, limit, most)
            assert sorted(run(file)) == list(range(6))[-count:]


def test_records_that_do_not_fit(recorded: Path, tmp_path: Path) -> None:
    """Each error names the file."""
    other = record(tmp_path / "other", columns(tapped(model="other")))
    said = rejection(recorded, other)
    assert said == f"model 'double': warm-up by {other}: expected requests of the model 'double', got a record of: other"
    narrow = Signature("double", "2", [("x", "FP32", (-1, 3))], [("y", "FP32", (-1, 3))], 8)
    said = rejection(recorded, signature=narrow)
    assert f"warm-up by {recorded.name}: expected requests that this version takes: " in said
    hashed = record(tmp_path / "hashed", columns(tapped()), changed={"x": "hash", "y": "omit"})
    assert f"warm-up by {hashed}: the input 'x' was hashed when it was recorded" in rejection(hashed)
    (odd := tmp_path / "odd.arrow").write_bytes(b"no record")
    assert f"warm-up by {odd}: expected an Arrow IPC stream" in rejection(odd)
    assert f"warm-up by {recorded.name} failed: " in rejection(recorded, raises=Internal("broken"))


def test_without_pyarrow(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    form.arrow.cache_clear()
    try:
        assert rejection(recorded).endswith(f"{recorded}: records need pyarrow, which is not installed: pip install 'inferd[record]'")
    finally:
        form.arrow.cache_clear()
