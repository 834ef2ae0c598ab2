"""Records in every format: numbers and texts that a plain reading finds, too, or InvalidArgument.

Input: 1 byte for the format, and a record. Lines of CSV are also read and written: what was read is written so that it is read again.
"""

from __future__ import annotations

import csv
import json
import math
from typing import Any

from inferd.errors import InvalidArgument
from inferd.steps.csv_lines import read_csv, write_csv
from inferd.steps.pipeline import TensorType
from inferd.steps.records import arrow_record
from tests.steps.test_table import compiled, unwatched

MODULES = ("codec.records",)
LINES = ("inferd.steps.csv_lines", "inferd.steps.records", "inferd.steps.columns", "inferd.steps.table")
DICTIONARY = (
    b'"a":',
    b'"b":',
    b'"c":',
    b'"d":',
    b'"text":',
    b"null",
    b"true",
    b"NaN",
    b"1e308",
    b'""',
    b"\r\n",
    b"2024-05-01T12:30:00Z",
    b"NA",
)
COLUMNS = (
    {"name": "a", "datatype": "FP64"},
    {"name": "b", "datatype": "INT64", "missing": "7"},
    {"name": "c", "datatype": "BOOL"},
    {"name": "d", "date_time": {"parts": ["YEAR", "HOUR"]}, "missing": "1970-01-01"},
    {"name": "text", "datatype": "BYTES", "missing": "none"},
)
GRAPH = {
    "a": TensorType("FP64", (1,)), "b": TensorType("INT64", (1,)), "c": TensorType("BOOL", (1,)), "d.year": TensorType("INT64", (1,)),
    "d.hour": TensorType("INT64", (1,)), "text": TensorType("BYTES", (1,)),
}  # fmt: skip
FORMS = ("JSON", "CSV", "ARROW")
PIPELINES = [compiled(COLUMNS, GRAPH, form=form) for form in FORMS]
WHOLE: dict[str, Any] = {"a": 1.5, "b": -3, "c": True, "d": "2024-05-01T12:30:00Z", "text": 'x, "y"'}


def check(data: bytes) -> None:
    if not data:
        return
    form = data[0] % len(FORMS)
    (found,) = PIPELINES[form].prepare([[[memoryview(data)[1:]]]], unwatched)
    if FORMS[form] == "CSV":
        check_lines(data[1:])
    if isinstance(found, InvalidArgument):
        assert len(str(found)) < 1000
        return
    assert not isinstance(found, Exception)
    by_name = {name: array.item() for (name, _), array in zip(PIPELINES[form].outputs, found, strict=True)}
    assert math.isfinite(by_name["a"])
    if FORMS[form] == "JSON":
        record = json.loads(data[1:])
        assert by_name["a"] == float(record["a"])
        assert by_name["b"] == (7 if record["b"] is None else record["b"])
        assert by_name["c"] == bool(record["c"])
        assert by_name["text"] == ("none" if record["text"] is None else record["text"])


def check_lines(content: bytes) -> None:
    try:
        records = [fields for _, fields in read_csv(content.decode("utf-8", "replace").splitlines(keepends=True))]
    except csv.Error:
        return
    for fields in records:
        assert [again for _, again in read_csv([write_csv(fields)])] == [fields]


def seeds() -> list[bytes]:
    lacking = {**WHOLE, "b": None, "d": None, "text": None}
    found = [b"\0" + json.dumps(record).encode() for record in (WHOLE, lacking, {**WHOLE, "d": 1e9, "more": [1]})]
    lines = [write_csv([str(value) for value in WHOLE.values()]), '1,,0,,"a\nb"', ",NA,true,null,", '"1', 'a,b\n"c""d",e\n\n""\n']
    found += [b"\1" + line.encode() for line in lines]
    return [*found, *(b"\2" + arrow_record(record) for record in (WHOLE, lacking))]
