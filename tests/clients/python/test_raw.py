"""What a model that makes its own tensors takes: one rule of shapes for both clients, which is that of `inferd infer`."""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from inferd_client import InferenceError, InferResult, arrow_records, csv_records, files, records, texts
from inferd_client.raw import Rows

from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.raw import fit
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.echo_server import Awaited, EchoServer


def test_each_file_and_text_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    assert files(str(tmp_path / "a.jpg"), tmp_path / "a.jpg").tolist() == [[b"\xff\xd8"]] * 2
    assert texts("Grüße", "").tolist() == [["Grüße".encode()], [b""]]


def test_records_in_each_form() -> None:
    rows: list[dict[str, Any]] = [{"a": np.float32(1.5), "b": None, "c": 'x, "y"'}, {"a": 2, "b": True, "c": ""}]
    assert [json.loads(row) for (row,) in records(*rows)] == [{**rows[0], "a": 1.5}, rows[1]]
    assert [row for (row,) in csv_records(["x\ny", "a\rb", 1])] == [b'"x\ny","a\rb",1']
    blank = [None], [""], [" \t"]
    assert [row for (row,) in csv_records(*blank)] == [b'""', b'""', b'" \t"'], "a blank line is no record"
    lines = csv_records(*(row.values() for row in rows))
    assert [next(csv.reader([row.decode()])) for (row,) in lines] == [["1.5", "", 'x, "y"'], ["2", "True", ""]]
    pyarrow = pytest.importorskip("pyarrow")
    assert [pyarrow.ipc.open_stream(row).read_all().to_pylist() for (row,) in arrow_records(*rows)] == [[{**rows[0], "a": 1.5}], [rows[1]]]


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        (b"x", "send one of these"),
        ({1}, "send one of these"),
        (1j, "send one of these"),
        (Decimal("1.5"), "send float() of it"),
        (np.longdouble(1.5), "send float() of it"),
        (datetime(2024, 5, 1), "send its isoformat()"),
        (np.datetime64("2024-05-01", "ns"), "send str() of it"),
        (np.timedelta64(1, "ns"), "send one of these"),
        (np.array(3), "send its item()"),
    ],
)
def test_what_no_record_holds_is_told_by_record_and_column(value: Any, cure: str) -> None:
    why = f"a record holds numbers, truth values, texts and None, not {type(value).__name__}: {cure}"
    with pytest.raises(TypeError, match=f"^record 1: column 'b': {re.escape(why)}$"):
        records({"b": 1}, {"a": 1, "b": value})
    with pytest.raises(TypeError, match=f"^record 1: column 2: {re.escape(why)}$"):
        csv_records([1], [1, 2, value])


@pytest.mark.parametrize(("name", "cure"), [(np.int64(1), "got int64"), (("a",), "got tuple"), (b"a", "got bytes")])
def test_names_that_are_no_texts_are_told(name: Any, cure: str) -> None:
    why = f"record 1: column {name!r}: expected a str as its name, {cure}: send str() of it"
    with pytest.raises(TypeError, match=f"^{re.escape(why)}$"):
        records({"a": 1}, {"a": 1, name: 2})


def test_nothing_of_pandas_is_none() -> None:
    pandas = pytest.importorskip("pandas")
    for nothing in (pandas.NA, pandas.NaT):
        with pytest.raises(TypeError, match=r"^record 0: column 'a': .*, not (NA|NaT)Type: None is a missing value$"):
            records({"a": nothing})
    with pytest.raises(TypeError, match=r"column 'a': .*, not Timestamp: send its isoformat\(\)$"):
        records({"a": pandas.Timestamp("2024-05-01")})


def test_half_of_a_surrogate_pair_is_told_by_its_place() -> None:
    why = "character 1 is half of a surrogate pair, which UTF-8 has not: send the whole character, or U+FFFD in its place"
    for make, where in [
        (lambda: texts("a", "b\ud800"), "text 1"),
        (lambda: records({"a": 1}, {"a": "b\ud800"}), "record 1: column 'a'"),
        (lambda: records({"b\ud800": 1}), "record 0: column 'b\\ud800': its name"),
        (lambda: csv_records(["a"], ["a", "b\ud800"]), "record 1: column 1"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(f'{where}: {why}')}$"):
            make()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "record 1: column 'age': JSON has no nan: None is a missing value"),
        (np.float32("nan"), "record 1: column 'age': JSON has no nan: None is a missing value"),
        (-np.inf, "record 1: column 'age': JSON has no -inf: send None, or send it as CSV or Arrow"),
    ],
)
def test_numbers_that_json_has_not_are_told_by_column(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        records({"age": 1.5}, {"name": "x", "age": value})


@pytest.mark.parametrize(
    ("make", "given", "told"),
    [
        (texts, ["a", 1], "text 1: expected a str, got int: give each as an argument, texts('one', 'another')"),
        (texts, [["a", "b"]], "text 0: expected a str, got list"),
        (texts, [b"a"], "text 0: expected a str, got bytes"),
        (records, [[{"a": 1}]], "record 0: expected a mapping of columns, got list: give each as an argument, records({...}, {...})"),
        (csv_records, ["39,a"], "record 0: expected values in the order of the columns, got str: give each record as an argument, csv_"),
        (csv_records, [[1], {"a": 1}], "record 1: expected values in the order of the columns, got dict"),
        (csv_records, [3], "record 0: expected values in the order of the columns, got int"),
        (
            arrow_records,
            [[{"a": 1}]],
            "record 0: expected a mapping of columns, got list: give each as an argument, arrow_records({...}, {",
        ),
    ],
)
def test_what_is_no_row_is_told_by_its_place(make: Any, given: list[Any], told: str) -> None:
    with pytest.raises(TypeError, match=re.escape(told)):
        make(*given)


@pytest.mark.parametrize("shape", [(-1, 1), (-1,), (-1, -1), (1,), (1, 1), (), (3, 1), (-1, 2)])
@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_fitted_as_inferd_infer_does(shape: tuple[int, ...], count: int) -> None:
    rows = texts(*map(str, range(count)))
    try:
        expected = fit(Spec("x", "BYTES", shape), rows.reshape(-1).tolist())
    except ConfigError:
        with pytest.raises(ValueError, match=rf"the model takes BYTES.*: expected \d+ a request, got {count} "):
            rows.fitted(shape)
    else:
        assert isinstance(expected, np.ndarray)
        found = rows.fitted(shape)
        assert (type(found), found.shape, found.tolist()) == (np.ndarray, expected.shape, expected.tolist())


def test_rows_fit_no_shape_of_more_axes_than_arrays_have() -> None:
    with pytest.raises(ValueError, match="expected a shape of 64 axes at most, got 200000"):
        texts("one").fitted([2**62] * 200_000)


async def test_clients_send_the_shape_of_the_metadata_and_ask_for_it_once(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, timeout=30, retry=None)
    server.datatype, server.shape = "BYTES", [1]
    for _ in range(2):
        assert (await client.infer("echo", {"x": texts("one")}))["x"].tolist() == [b"one"]
    assert server.metadata_calls == 1
    with pytest.raises(ValueError, match=r"input 'x': the model takes BYTES\[1\]: expected 1 a request, got 2"):
        await client.infer("echo", {"x": texts("one", "two")})
    with pytest.raises(InferenceError):
        await client.infer("full", {"x": texts("one")})
    server.shape = [-1, 1]
    with pytest.raises(InferenceError):
        await client.infer("full", {"x": texts("one")})
    assert list(server.request.inputs[0].shape) == [1, 1], "after a refusal the shape is asked for again"


async def test_an_input_that_the_metadata_lacks_is_sent_as_it_is(client: Awaited) -> None:
    assert (await client.infer("echo", {"y": texts("one", "two")}))["y"].tolist() == [[b"one"], [b"two"]]


def test_a_ranking_has_labels_and_scores() -> None:
    scores = np.array([[0.75, 0.25], [0.5, 0.5]])
    places = np.array([[7, 1], [0, 2]])
    labels = np.array([[b"sieben", b"one"], [b"zero", b"two"]], object)
    named = InferResult({"digit": scores, "digit_index": places, "digit_label": labels, "other": scores})
    assert named.ranked("digit") == [[("sieben", 0.75), ("one", 0.25)], [("zero", 0.5), ("two", 0.5)]]
    assert InferResult({"digit": scores[0], "digit_index": places[0]}).ranked("digit") == [[("7", 0.75), ("1", 0.25)]]
    with pytest.raises(KeyError, match="no output 'other_index'"):
        named.ranked("other")


def test_rows_are_an_array_for_everybody_else() -> None:
    rows = texts("one", "two")
    assert isinstance(rows, Rows)
    assert (rows.shape, rows.dtype) == ((2, 1), np.dtype(object))
    assert np.concatenate([rows, rows])[:, 0].tolist() == [b"one", b"two"] * 2
