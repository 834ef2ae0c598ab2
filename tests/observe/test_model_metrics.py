"""The tables of models: whatever a model has done, it has the same samples."""

from __future__ import annotations

from native_access import record_request, record_run

from inferd.observe.model_metrics import tables_of
from inferd.observe.text_format import lines_of
from tests.fake_repository import FakeModel


def samples_of(model: FakeModel) -> list[bytes]:
    return [
        line.rpartition(b" ")[0]
        for table in tables_of([model], {})  # type: ignore[list-item]
        for row in list(lines_of(table, openmetrics=False))[1:]
        for line in row.splitlines()
    ]


def test_all_samples_are_there_before_the_first_request() -> None:
    """A rate over a sample that comes later would miss its first count."""
    busy = FakeModel(failures={"REJECTED": 1})
    record_request(busy.statistics, 3, *[1_000] * 6)
    record_run(busy.statistics, 3, 1, 2, 3)
    assert samples_of(FakeModel()) == samples_of(busy)
    assert len(set(samples_of(busy))) == len(samples_of(busy)) > 150
