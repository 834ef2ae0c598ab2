"""Tables as inputs: columns by name and in order, texts, absent values, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from inferd.errors import ConfigError
from inferd.monitor.data import Spec, read_table

X: Spec = ("x", "FP32", (-1, 2))
TABLE = "age,income,kind\n30,1.5,a\n40,,b\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def test_columns_are_the_elements_of_an_input(table: Path) -> None:
    found = read_table(table, [X], ["income", "age"])
    assert np.array_equal(found.inputs["x"], np.array([[1.5, 30], [np.nan, 40]], np.float32), equal_nan=True)
    assert found.inputs["x"].dtype == np.float32
    assert found.labels == {"x": ["income", "age"]}


def test_columns_are_inputs_by_name(table: Path) -> None:
    specs: list[Spec] = [("kind", "BYTES", (-1, 1)), ("age", "INT64", (-1, 1))]
    found = read_table(table, specs)
    assert found.inputs["kind"].tolist() == [[b"a"], [b"b"]]
    assert found.inputs["age"].tolist() == [[30], [40]]
    assert found.labels == {}


def test_parquet_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({name: [1.0, 2.0, 3.0] for name in "abcd"}), path)
    assert read_table(path, [("x", "FP64", (-1, 2, 2))]).inputs["x"].shape == (3, 2, 2)
    assert read_table(path, [("x", "FP64", (-1, -1))]).inputs["x"].shape == (3, 4)


@pytest.mark.parametrize(
    ("specs", "columns", "why"),
    [
        ([X], [], "the input 'x' has 2 elements in a row, and the file has 3 columns: name them in order with --columns; there are age"),
        ([X], ["age", "size"], "--columns: there is no column 'size' in t.csv; there are age, income, kind"),
        ([X], ["age", "kind"], "the column 'kind' has texts, and the model takes FP32"),
        ([("age", "FP32", (-1, 1)), ("size", "FP32", (-1, 1))], [], "expected a column for each input, got none for 'size'"),
        ([("x", "INT32", (-1, 1))], ["income"], "the column 'income' has values that INT32 cannot hold, such as absent ones"),
    ],
)
def test_what_does_not_fit_is_said(table: Path, specs: list[Spec], columns: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_table(table, specs, columns)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [("t.csv", b"a,b\n", "expected rows, got none"), ("t.csv", b"a,b\n1\n", "cannot be read"), ("t.pq", b"x", "cannot be read")],
)
def test_a_broken_table_is_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        read_table(tmp_path / name, [X])
