"""A table is read back as it was written, whatever its tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from inferd._core.tensor.tensor import DATATYPES
from inferd.errors import ConfigError
from inferd.record import parquet as tables
from inferd.record.decoded import Tensor, bytes_of
from inferd.record.export import column_datatypes
from inferd.record.parquet import newest_of_table, write_table
from inferd.record.reader import Recorded


def recorded(number: int, inputs: list[Tensor], outputs: list[Tensor], model: str = "m") -> Recorded:
    return Recorded(str(number), model, "3", "canary", 10**18 + number, {"total_ns": number}, 0, "", inputs, outputs)


def test_every_datatype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without outputs is among them, and each is a row group of its own."""
    monkeypatch.setattr(tables, "GROUP_NBYTES", 1)
    given = {word: bytes_of(word, np.array([[1, 0]])) for word in DATATYPES if word != "BYTES"}
    tensors = [Tensor(word, word, (1, 2), data) for word, data in given.items()]
    tensors += [Tensor("texts.a", "BYTES", (2,), bytes_of("BYTES", ["é", ""])), Tensor("nothing_ns", "FP32", (0, 4), b"")]
    requests = [recorded(0, tensors, []), recorded(1, tensors, tensors[:1]), recorded(2, tensors, tensors[:1], "other")]
    path = tmp_path / "t.parquet"
    assert write_table(iter(requests), path, column_datatypes(requests)) == 3
    assert parquet.ParquetFile(path).num_row_groups == 3
    found = newest_of_table(path, "m", "table")
    for row in (*found, *requests):
        row.where = ""
    assert found == requests[:2]


def test_a_table_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"model": ["m"]}), path)
    with pytest.raises(ConfigError, match=r"table: expected a record of inferd, got another file"):
        newest_of_table(path, "m", "table")


def changed(to: Path, change: Callable[[dict[str, Any], dict[str, pa.DataType]], object]) -> Path:
    """A table of one request with an input x of two numbers, whose values and types of columns `change` has changed."""
    tensors = [Tensor("x", "FP32", (2,), bytes(8)), Tensor("t", "BYTES", (2,), bytes_of("BYTES", ["a", "b"]))]
    write_table(iter([recorded(0, tensors, [])]), to, column_datatypes([recorded(0, tensors, [])]))
    table = parquet.read_table(to)
    (row,), types = table.to_pylist(), {field.name: field.type for field in table.schema}
    change(row, types)
    metadata = {field.name: field.metadata for field in table.schema}
    schema = pa.schema([pa.field(name, kind, metadata=metadata[name]) for name, kind in types.items()], table.schema.metadata)
    parquet.write_table(pa.Table.from_pylist([row], schema), to)
    return to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row, types: types.pop("model"), "expected one column 'model' of type string, got none"),
        (lambda row, types: (types.update(model=pa.list_(pa.string())), row.update(model=["m"])), "got list<element: string>"),
        (
            lambda row, types: (types.update({"inputs.x": pa.float32()}), row.update({"inputs.x": 1.0})),
            "'inputs.x' of type list<item: float>",
        ),
        (lambda row, types: (types.update({"inputs.x.shape": pa.int64()}), row.update({"inputs.x.shape": 2})), "got int64"),
        (lambda row, types: row.update(model=None), "expected a value in each row of the column 'model', got null"),
        (lambda row, types: row.update({"inputs.x.shape": None}), "expected elements and a shape in the column 'inputs.x', got null"),
        (lambda row, types: row.update({"inputs.t": ["a", None]}), "expected elements and a shape in the column 'inputs.t', got null"),
        (
            lambda row, types: row.update({"inputs.x.shape": [1] * 9}),
            "expected shapes of 8 sizes at most in the column 'inputs.x', got more",
        ),
    ],
)
def test_an_odd_table(tmp_path: Path, change: Callable[[dict[str, Any], dict[str, pa.DataType]], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        newest_of_table(changed(tmp_path / "t.parquet", change), "m", "table")
    assert str(caught.value).startswith("table: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"inputs.x": [0.0] * 100_000, "inputs.x.shape": [100_000]}, {"inputs.t": ["a" * 1000] * 400, "inputs.t.shape": [400]}]
)
def test_a_row_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    """A few hundred bytes of a dictionary stand for each of them."""
    path = changed(tmp_path / "t.parquet", lambda row, _: row.update(more))
    assert len(newest_of_table(path, "m", "table")) == 1
    monkeypatch.setattr(tables, "MAX_GROUP_NBYTES", 300_000)
    assert parquet.ParquetFile(path).metadata.row_group(0).total_byte_size < 10_000
    with pytest.raises(ConfigError, match=r"table: expected row groups of 0 MiB at most, got up to [\d,]+ bytes in row group 0: export"):
        newest_of_table(path, "m", "table")
