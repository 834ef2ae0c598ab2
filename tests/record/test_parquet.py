"""A table has what was recorded, whatever the tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from inferd._core.tensor.datatypes import DATATYPES
from inferd.record import parquet as tables
from inferd.record.decoded import Tensor
from inferd.record.export import column_datatypes
from inferd.record.parquet import write_table
from inferd.record.reader import Recorded
from inferd.tensors import bytes_of


def recorded(number: int, inputs: list[Tensor], outputs: list[Tensor], model: str = "m") -> Recorded:
    return Recorded(str(number), model, "3", "canary", 10**18 + number, {"total_ns": number}, 0, "", inputs, outputs)


def test_every_datatype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without outputs is among them, and each is a row group of its own."""
    monkeypatch.setattr(tables, "GROUP_NBYTES", 1)
    given = {word: bytes_of(word, np.array([[1, 0]])) for word in DATATYPES if word != "BYTES"}
    tensors = [Tensor(word, word, (1, 2), data) for word, data in given.items()]
    tensors += [Tensor("texts.a", "BYTES", (2,), bytes_of("BYTES", ["é", ""])), Tensor("nothing_ns", "FP32", (0, 4), b"")]
    requests = [recorded(0, tensors, []), recorded(1, tensors, tensors[:1])]
    path = tmp_path / "t.parquet"
    assert write_table(iter(requests), path, column_datatypes(requests)) == 2
    assert parquet.ParquetFile(path).num_row_groups == 2
    table = parquet.read_table(path)
    for row in range(2):
        for word, data in given.items():
            values, shape = table.column(f"inputs.{word}")[row].values, table.column(f"inputs.{word}.shape")[row].as_py()
            assert (bytes_of(word, values.to_numpy(zero_copy_only=False)), shape) == (data, [1, 2])
    first, second = table.select(["inputs.texts.a", "inputs.nothing_ns.shape", f"outputs.{tensors[0].name}.shape"]).to_pylist()
    assert list(first.values()) == [["é".encode(), b""], [0, 4], None]
    assert list(second.values()) == [["é".encode(), b""], [0, 4], [1, 2]]
