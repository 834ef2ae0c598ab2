"""Sizes of row groups are those that pyarrow's own metadata gives."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from inferd.record.footer import group_nbytes

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two row groups, of more columns than the head of a short list can count. Half of the texts are in dictionaries."""
    kinds = [pa.bool_(), pa.uint8(), pa.int64(), pa.float32(), pa.float64(), pa.list_(pa.float16()), pa.string(), pa.list_(pa.binary())]
    values = [[True], [1], [-1], [1.0], [2.0], [[1.0, None], None], ["ab"], [[b"c"] * 300]]
    arrays = [pa.array(value * (20 // len(value)), kind) for value, kind in zip(values * 2, kinds * 2, strict=True)]
    table = pa.Table.from_arrays(arrays, [f"c{number}" for number in range(16)])
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=12, use_dictionary=["c6", "c7.list.element"])
    return tmp_path / "t.parquet"


def test_sizes_of_row_groups(path: Path) -> None:
    metadata, expected = parquet.ParquetFile(path).metadata, []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        nbytes = 0
        for column in map(group.column, range(group.num_columns)):
            shared = column.num_values if column.has_dictionary_page else 1
            width = WIDTHS.get(column.physical_type)
            nbytes += column.num_values * width if width else column.total_uncompressed_size * shared
        expected.append(nbytes)
    assert group_nbytes(path) == expected
    assert len(expected) == 2


def test_a_damaged_footer_is_rejected_or_read(path: Path) -> None:
    content, chance = path.read_bytes(), random.Random(3)
    first = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    outcomes = set()
    for _ in range(40):
        damaged = bytearray(content)
        damaged[chance.randrange(first, len(content) - 8)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            outcomes.add(len(group_nbytes(path)))
        except ValueError:
            outcomes.add(0)
    assert outcomes == {0, 2}
