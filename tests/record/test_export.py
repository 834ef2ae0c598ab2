"""Records as tables, arrays and other records."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description
from inferd.diff.requests import requests_in
from inferd.errors import ConfigError, RequestError
from inferd.record import parquet as tables
from inferd.record.decoded import Tensor
from inferd.record.export import _inert, column_datatypes, export, merge
from inferd.record.reader import Recorded, Segments, read
from inferd.tensors import bytes_of
from tests.record.records import columns, record, tapped


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    record(folder, columns(tapped("a", 1, 2), tapped("b", 2)), columns(tapped("c", 3, model="other")))
    return folder


def test_a_table_of_parquet(recorded: Path, tmp_path: Path) -> None:
    to = tmp_path / "t.parquet"
    assert export(Segments([str(recorded)]), str(to), model="double") == 2
    first, second = parquet.read_table(to).to_pylist()
    assert (first["id"], first["model"], first["inputs.x"], first["inputs.x.shape"]) == ("a", "double", [1.0] * 8, [2, 4])
    assert (second["outputs.y"], second["code"], str(second["arrival"].tzinfo)) == ([4.0] * 4, 0, "UTC")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_table_of_csv(recorded: Path, tmp_path: Path) -> None:
    to = tmp_path / "t.csv"
    assert export(Segments([str(recorded)]), str(to), count=1) == 1
    (row,) = csv.DictReader(to.read_text().splitlines())
    assert (row["id"], json.loads(row["inputs.x"]), json.loads(row["outputs.y"])) == ("a", [[1.0] * 4] * 2, [[2.0] * 4] * 2)
    assert row["arrival"] == "2027-01-15T08:00:00.000000000Z"


@pytest.mark.parametrize("to", ["t.csv", "t.parquet"])
def test_a_table_has_the_columns_of_all_its_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    """The first request failed, and so it has no outputs."""
    monkeypatch.setattr(tables, "GROUP_ROWS", 1)
    record(tmp_path / "recorded", columns(tapped("a", error=RequestError("no")), tapped("b", 2)))
    assert export(Segments([str(tmp_path / "recorded")]), str(tmp_path / to)) == 2
    if to == "t.csv":
        first, second = csv.DictReader((tmp_path / to).read_text().splitlines())
        outputs = [first["outputs.y"], json.loads(second["outputs.y"])[0]]
    else:
        first, second = parquet.read_table(tmp_path / to).to_pylist()
        outputs = [first["outputs.y"] or "", second["outputs.y"]]
    assert list(first)[-1].startswith("outputs.y")
    assert (first["id"], first["error"], outputs) == ("a", "no", ["", [4.0] * 4])


def test_a_tensor_of_two_datatypes_is_no_column() -> None:
    rows = [Recorded("", "m", "1", "", 0, {}, 0, "", [Tensor("x", word, (1,), b"")], [], "row") for word in ("INT8", "BOOL")]
    with pytest.raises(ConfigError, match=r"row: inputs.x is BOOL, and INT8 in the requests before it: export one model"):
        column_datatypes(rows)


def test_arrays(recorded: Path, tmp_path: Path) -> None:
    assert export(Segments([str(recorded)]), str(tmp_path / "arrays"), model="other") == 1
    folder = tmp_path / "arrays"
    with np.load(folder / "inputs-000000.npz") as inputs, np.load(folder / "outputs" / "outputs-000000.npz") as outputs:
        np.testing.assert_array_equal(inputs["x"] * 2, outputs["y"])


def test_arrays_of_any_name_and_any_bytes(tmp_path: Path) -> None:
    """They are read back as they were, and lie in the folder. `inferd diff --on` takes it as it is."""
    texts = [b"ab\0\0", b"", b"\xff\0c"]
    names = ["file", "../x", "/a/b.npy", "é"]
    path = record(tmp_path / "recorded", columns(tapped()))
    with pa.ipc.open_stream(str(path)) as stream:
        schema, (row,) = stream.schema, stream.read_all().to_pylist()
    row["inputs"] = [{"name": name, "datatype": "BYTES", "shape": [1, 3], "data": bytes_of("BYTES", texts)} for name in names]
    with pa.ipc.new_stream(str(path), schema) as made:
        made.write_batch(pa.RecordBatch.from_pylist([row], schema))
    export(Segments([str(path)]), str(tmp_path / "arrays"))
    assert {each.name for each in tmp_path.iterdir()} == {"recorded", "arrays"}
    assert {each.name for each in (tmp_path / "arrays").iterdir()} == {"inputs-000000.npz", "outputs"}
    description = Description("m", "", tuple(Spec(name, "BYTES", (-1, 3)) for name in names), ())
    (request,) = requests_in(tmp_path / "arrays", description, 1, False, [])
    assert {name: array.tolist() for name, array in request.inputs.items()} == {name: [texts] for name in names}


def test_one_record_of_several(recorded: Path, tmp_path: Path) -> None:
    record(tmp_path / "second", columns(*(tapped(str(number)) for number in range(200))))
    to = tmp_path / "merged.arrow"
    assert merge(Segments([str(recorded), str(tmp_path / "second")]), str(to), model="double") == 202
    assert [request.id for request in read(to)][:3] == ["a", "b", "0"]
    assert [request.inputs["x"][0, 0] for request in read(to)][:2] == [1, 2]
    assert to.stat().st_size < (tmp_path / "second").stat().st_size + 40_000
    sampled = merge(Segments([str(to)]), str(tmp_path / "tenth.arrow"), sample=0.1)
    assert 5 < sampled < 40
    assert Segments([tmp_path / "tenth.arrow"]).models() == {"double": sampled}


def test_what_cannot_be_exported(recorded: Path, tmp_path: Path) -> None:
    for call, message in (
        (lambda: export(Segments([str(recorded)]), "t.xlsx"), "expected a file that ends in .parquet or .csv, or a folder"),
        (lambda: export(Segments([str(recorded)]), str(next(recorded.iterdir()) / "arrays")), "arrays: cannot be written: Not a directory"),
        (lambda: export(Segments([str(recorded)]), str(tmp_path / "none" / "t.csv")), "cannot be written: No such file or directory"),
        (lambda: merge(Segments([str(recorded)]), "t.parquet"), "expected a file that ends in .arrow"),
        (lambda: merge(Segments([str(recorded)]), str(next(recorded.iterdir()))), "expected another file than those that are merged"),
        (lambda: merge(Segments([str(recorded)]), str(tmp_path / "m.arrow"), model="third"), "got a record of: double, other"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert message in str(caught.value)


@pytest.mark.parametrize(("text", "cell"), [("=cmd()", "'=cmd()"), ("@a", "'@a"), ("+1", "'+1"), ("-1", "'-1"), ("a=b", "a=b"), ("", "")])
def test_a_cell_of_csv_is_no_formula(text: str, cell: str) -> None:
    assert _inert(text) == cell
