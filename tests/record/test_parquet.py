"""A table is read back as it was written, whatever its tensors."""

from __future__ import annotations

from pathlib import Path

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
    tensors += [Tensor("texts.a", "BYTES", (2,), bytes_of("BYTES", ["é", ""])), Tensor("nothing", "FP32", (0, 4), b"")]
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
