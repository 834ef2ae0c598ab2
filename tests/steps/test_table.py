"""Records become the arrays that numpy makes of the same values; one that cannot be used fails alone, and says which value it was."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction import FeatureHasher

from inferd.errors import Cancelled, ConfigError, InvalidArgument
from inferd.protocol import options
from inferd.steps.columns import MISSING_WORDS
from inferd.steps.pipeline import EntryPlace, TensorType
from inferd.steps.records import MAX_RECORD_BYTES, arrow_record
from inferd.steps.table import MAX_COLUMNS, compile_table

WHERE = "config.toml of model 'm': preprocess[0]"
FORMATS = options.Columns
WORDS_OF = {"FP32": np.float32, "FP64": np.float64}
WORDS = {"float": "FP32", "int": "INT64", "flag": "BOOL", "text": "BYTES"}


def compiled(columns, free=None, *, form="JSON", input="", name="", refuse_unknown=False):
    """columns: dicts of Column's fields. free: the graph's inputs; None: FP32 [any number], for all columns."""
    step = options.Columns(
        format=FORMATS.Format.Value(form), columns=[options.Column(**column) for column in columns], refuse_unknown=refuse_unknown
    )
    entry = options.Preprocess(name=name, input=input, steps=[options.Step(columns=step)])
    graph = {"features": TensorType("FP32", (-1,))} if free is None else free
    return compile_table(entry, EntryPlace(WHERE, graph))


def single(datatype, shape=(1,)):
    return TensorType(datatype, shape)


def unwatched(place: int) -> None:
    """A check of requests that all have time."""


def views(*records):
    texts = [record if isinstance(record, (bytes, str)) else json.dumps(record) for record in records]
    return [[memoryview(text.encode() if isinstance(text, str) else text) for text in texts]]


def prepared(pipeline, *records):
    """The arrays of one request of these records."""
    (answer,) = pipeline.prepare([views(*records)], unwatched)
    if isinstance(answer, Exception):
        assert answer.__traceback__ is answer.__context__ is None  # which would hold what was made so far
        raise answer
    assert all(array.flags.c_contiguous and array.flags.writeable for array in answer)
    assert [(name, array.dtype) for (name, _), array in zip(pipeline.outputs, answer, strict=True)]
    return answer


def rejection(pipeline, *records) -> str:
    with pytest.raises(InvalidArgument) as raised:
        prepared(pipeline, *records)
    assert raised.value.reason == "bad_content"
    return str(raised.value)


NUMBERS = [{"name": "a"}, {"name": "b", "datatype": "INT64"}, {"name": "c", "datatype": "BOOL"}]


# ---- ways out


def test_columns_become_one_matrix_in_their_order() -> None:
    pipeline = compiled(NUMBERS)
    assert pipeline.inputs == (("record", TensorType("BYTES", (1,))),)
    assert pipeline.outputs == (("features", TensorType("FP32", (3,))),)
    assert pipeline.together > 1
    assert not pipeline.paddings
    (array,) = prepared(pipeline, {"c": True, "a": 1.5, "b": -2}, {"a": 0, "b": 7, "c": False})
    np.testing.assert_array_equal(array, np.array([[1.5, -2, 1], [0, 7, 0]], np.float32))
    assert array.dtype == np.float32


@pytest.mark.parametrize("shape", [(1,), (), (-1,)])
def test_columns_go_into_inputs_of_their_names(shape) -> None:
    free = {word: single(datatype, shape) for word, datatype in WORDS.items()}
    pipeline = compiled([{"name": word, "datatype": datatype} for word, datatype in reversed(WORDS.items())], free)
    assert [name for name, _ in pipeline.outputs] == ["text", "flag", "int", "float"]
    rows = [{"float": 0.1, "int": 2**60 + 1, "flag": True, "text": "é"}, {"float": -1, "int": -5, "flag": False, "text": ""}]
    for some in (rows, rows[:1]):
        text, flag, number, real = prepared(pipeline, *some)
        assert {array.shape for array in (text, flag, number, real)} == {(len(some), *((1,) if shape else ()))}
        assert text.reshape(-1).tolist() == [row["text"] for row in some]
        assert flag.reshape(-1).tolist() == [row["flag"] for row in some]
        assert number.reshape(-1).tolist() == [row["int"] for row in some]
        np.testing.assert_array_equal(real.reshape(-1), np.array([row["float"] for row in some], np.float32))
        assert [array.dtype for array in (flag, number, real)] == [np.bool_, np.int64, np.float32]


def test_numbers_are_widened_to_what_the_graph_takes() -> None:
    free = {"a": single("FP64"), "b": single("FP32"), "c": single("INT32")}
    a, b, c = prepared(compiled(NUMBERS, free), {"a": 0.1, "b": 2**24 + 1, "c": True})
    assert (a.dtype, a.item()) == (np.float64, 0.1)
    assert (b.dtype, b.item()) == (np.float32, 2.0**24)
    assert (c.dtype, c.item()) == (np.int32, 1)


def test_inputs_that_are_no_columns_are_left_to_others() -> None:
    pipeline = compiled([{"name": "a"}], {"a": single("FP32"), "image": single("FP32", (3, 8, 8))})
    assert [name for name, _ in pipeline.outputs] == ["a"]
    pipeline = compiled([{"name": "a"}], {"a": single("FP32"), "x": single("FP64")}, input="x")
    assert pipeline.outputs == (("x", TensorType("FP64", (1,))),)


def test_parts_of_a_date_go_into_one_input_or_one_each() -> None:
    date = {"name": "when", "date_time": options.DateTime(parts=["YEAR", "MONTH"])}
    free = {"when": single("INT64", (2,)), "a": single("FP32")}
    when, a = prepared(compiled([date, {"name": "a"}], free), {"when": "2024-05-01", "a": 1}, {"when": "1999-12-31", "a": 2})
    assert when.tolist() == [[2024, 5], [1999, 12]]
    assert a.tolist() == [[1], [2]]
    free = {"when.month": single("FP32"), "a": single("FP32"), "when.year": single("FP32", ())}
    pipeline = compiled([date, {"name": "a"}], free)
    assert [name for name, _ in pipeline.outputs] == ["when.year", "when.month", "a"]
    year, month, a = prepared(pipeline, {"when": "2024-05-01", "a": 1}, {"when": "1999-12-31", "a": 2})
    assert (year.tolist(), month.tolist(), a.tolist()) == ([2024, 1999], [[5], [12]], [[1], [2]])
    with pytest.raises(ConfigError, match="the parts of column 'when' go into inputs of several datatypes: FP32, INT64"):
        compiled([date], {"when.month": single("FP32"), "when.year": single("INT64")})
    (matrix,) = prepared(compiled([{"name": "b"}, date, {"name": "a"}]), {"when": "2024-05-01", "a": 1, "b": 3})
    assert matrix.tolist() == [[3, 2024, 5, 1]]


def test_arrays_are_the_same_whatever_the_number_of_rows() -> None:
    columns = [*NUMBERS, {"name": "t", "datatype": "BYTES"}, {"name": "v", "vocabulary": options.Vocabulary(values=["x", "y"])}]
    free = {"a": single("FP32"), "b": single("FP32"), "c": single("BOOL"), "t": single("BYTES"), "v": single("INT64")}
    pipeline = compiled(columns, free)
    records = [{"a": row / 7, "b": row, "c": row % 2 == 0, "t": str(row), "v": "xy"[row % 2]} for row in range(5)]
    together = prepared(pipeline, *records)
    for row, record in enumerate(records):
        for whole, alone in zip(together, prepared(pipeline, record), strict=True):
            np.testing.assert_array_equal(whole[row : row + 1], alone)


# ---- values


@given(
    st.lists(
        st.tuples(
            st.floats(-3e38, 3e38), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_json_and_csv_say_the_same(rows) -> None:
    columns = [{"name": word, "datatype": datatype} for word, datatype in WORDS.items()]
    columns[3]["missing"] = ""  # CSV has no empty text
    free = {word: single(datatype) for word, datatype in WORDS.items()}
    free["float"] = single("FP64")
    records = [dict(zip(WORDS, row, strict=True)) for row in rows]
    from_json = prepared(compiled(columns, free), *records)
    for array, values in zip(from_json, zip(*rows, strict=True), strict=True):
        assert array.reshape(-1).tolist() == list(values)
    if any("\0" in row[3] or row[3] in MISSING_WORDS for row in rows):
        return  # older versions of the csv module reject the one, the other is a missing value
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow([row[0], row[1], str(row[2]).lower(), row[3]])
        lines.append(line.getvalue())
    for array, same in zip(prepared(compiled(columns, free, form="CSV"), *lines), from_json, strict=True):
        np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"a": "abc", "b": 1, "c": True}, "column 'a': expected a number, got 'abc'"),
        ({"a": True, "b": 1, "c": True}, "column 'a': expected a number, got true"),
        ({"a": [1], "b": 1, "c": True}, "column 'a': expected a number, got a list"),
        ({"a": {}, "b": 1, "c": True}, "column 'a': expected a number, got an object"),
        ({"a": None, "b": 1, "c": True}, "column 'a': there is no value, and nothing stands in for one: send a number"),
        ({"b": 1, "c": True}, "column 'a': the record lacks it: send a number"),
        ({"A": 1, "b": 1, "c": True}, "column 'a': the record lacks it, and has 'A', which is no column: send a number"),
        ({"a": 1e39, "b": 1, "c": True}, "column 'a': expected a number that FP32 can hold, up to 3.4e38, got 1e+39"),
        ('{"a": 1e400, "b": 1, "c": true}', "column 'a': "),
        ('{"a": ' + "9" * 400 + ', "b": 1, "c": true}', "column 'a': "),
        ({"a": 1, "b": 1.5, "c": True}, "column 'b': expected a whole number, got 1.5"),
        ({"a": 1, "b": "1", "c": True}, "column 'b': expected a whole number, got '1'"),
        ({"a": 1, "b": 2**63, "c": True}, "column 'b': expected a whole number of 64 bits, got 9223372036854775808"),
        ({"a": 1, "b": 10**30, "c": True}, "column 'b': expected a whole number of 64 bits, got a whole number of more than 64 bits"),
        ({"a": 1, "b": 1, "c": 2}, "column 'c': expected true or false, got 2"),
        ({"a": 1, "b": 1, "c": "true"}, "column 'c': expected true or false, got 'true'"),
        ('{"a": 1, "b": 1, "c": true, "a": 2}', "column 'a' is there twice: send it once"),
        ('{"a": 1, "b": 1, "\\u0061": 2, "c": true}', "column 'a' is there twice"),
        ('{"a": 1, "b": 1, "c": true, "d": 1, "d" : 2}', "field 'd' is there twice"),
        ('{"a": 1, "a": "x", "b": 1, "c": true}', "column 'a' is there twice"),
        (json.dumps({"a": math.nan, "b": 1}), "NaN at byte 6 is not a JSON value: send null for a missing value"),
        (json.dumps({"b": 1, "a": -math.inf}), "-Infinity at byte 14 is not a JSON value: send null for a missing value; infinities need"),
        ('{"a": nan}', "nan at byte 6 is not a JSON value: send null for a missing value"),
        ('{"a": "nan", "b": nano}', "expected one JSON object, and byte"),
        ('{"a": 1, "b": 1', "expected one JSON object, and it ends too early"),
        (r'{"a": "\ud800"}', "expected JSON of whole characters, and the escape at byte 7 is half of a surrogate pair: send both halves"),
        (r'{"a": "\\\ud83d\ude00\udc00"}', "the escape at byte 21 is half of a surrogate pair"),
        (r'{"\uDBFF": 1}', "the escape at byte 2 is half of a surrogate pair"),
        (r'{"a": "\\ud800', "expected one JSON object, and it ends too early"),
        (r'{"a": 1x, "b": "\ud800"}', "expected one JSON object, and byte 7 does not fit"),
        ('{"a": 1, "b": 1, "c": true} {}', "expected one JSON object"),
        ("", "expected one JSON object, and it ends too early"),
        ("[1, 2, 3]", "expected a JSON object of columns, got another kind of JSON value"),
        ("null", "expected a JSON object of columns"),
        (b'{"a": 1, "b": 1, "c": true, "d": "\xff"}', "byte 34 is none: encode it as UTF-8"),
        (b'\xff\xfe{"a"', "byte 0 is none: encode it as UTF-8"),
        ('{"a": ' + "[" * 60000 + "]" * 60000 + ', "b": 1, "c": true}', "nested too deep"),
        ('{"x": ' * 20000 + "1" + "}" * 20000, "record of at most"),
        ('{"z": ' + "[" * 60000 + "]" * 60000 + ', "a": 1, "b": 1, "c": true}', "nested too deep"),
        ({"a": 1, "b": 1, "c": True, "d": "x" * MAX_RECORD_BYTES}, f"expected a record of at most {MAX_RECORD_BYTES} bytes, got "),
    ],
)
def test_json_that_cannot_be_used(record, told) -> None:
    text = rejection(compiled(NUMBERS), {"a": 1, "b": 2, "c": False}, record)
    assert text.startswith("input 'record', row 1: ")
    assert told in text
    assert "msgspec" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("abc,1,true", "column 'a': expected a number, got 'abc'"),
        ("1_000,1,true", "column 'a': expected a number, got '1_000'"),
        ("٣,1,true", "column 'a': expected a number, got '٣'"),
        ("inf,1,true", "column 'a': expected a finite number, got inf"),
        ("1e999,1,true", "column 'a': expected a number that FP64 can hold, up to 1.8e308, got '1e999'"),
        ("nan,1,true", "column 'a': there is no value"),
        (",1,true", "column 'a': there is no value"),
        ("1,1.5,true", "column 'b': expected a whole number, got 1.5"),
        ("1,1,maybe", "column 'c': expected true or false, got 'maybe'"),
        ("1,1", "expected a line of 3 fields ('a', 'b', 'c'), got 2"),
        ("1,1,true,9", "expected a line of 3 fields ('a', 'b', 'c'), got 4"),
        ("1,1,true\n2,2,false", "expected "),
        ("", 'expected a line of CSV, got a blank one, which is no record: write an empty field alone as ""'),
        (" \t\r\n", "expected a line of CSV, got a blank one"),
        ('""', "expected a line of 3 fields ('a', 'b', 'c'), got 1"),
        ('1,1,"true', "expected one line of CSV"),
        ('1,1,"true"x', "expected one line of CSV"),
        (b"1,1,\xff", "expected CSV in UTF-8, and byte 4 is none"),
        ("x" * (MAX_RECORD_BYTES + 1), "expected a record of at most"),
    ],
)
def test_csv_that_cannot_be_used(line, told) -> None:
    text = rejection(compiled(NUMBERS, form="CSV"), "1,2,0", line)
    assert text.startswith("input 'record', row 1: ")
    assert told in text


def test_csv_as_rfc_4180_has_it() -> None:
    columns = [{"name": "t", "datatype": "BYTES"}, {"name": "n", "datatype": "INT64"}, {"name": "c", "datatype": "BOOL"}]
    free = {"t": single("BYTES"), "n": single("INT64"), "c": single("BOOL")}
    text, number, flag = prepared(compiled(columns, free, form="CSV"), '"a ""b"", c\nd",1.0,TRUE\r\n', "x, 7 ,0\n")
    assert text.reshape(-1).tolist() == ['a "b", c\nd', "x"]
    assert number.reshape(-1).tolist() == [1, 7]
    assert flag.reshape(-1).tolist() == [True, False]


def test_whole_floats_are_whole_numbers() -> None:
    pipeline = compiled([{"name": "b", "datatype": "INT64"}], {"b": single("INT64")})
    assert prepared(pipeline, '{"b": 3.0}')[0].item() == 3
    assert "expected a whole number, got 1e+18" in rejection(pipeline, '{"b": 1e18}'), "FP64 has no neighbours of it"
    assert prepared(pipeline, '{"b": -9007199254740991.0}')[0].tolist() == [[-9007199254740991]]
    for number in ("9007199254740993.0", "-9007199254740993.0", "9007199254740992.0"):
        assert "which may have been rounded: send all of its digits" in rejection(pipeline, f'{{"b": {number}}}')


def test_fields_that_are_no_columns() -> None:
    assert prepared(compiled(NUMBERS), {"z": {"y": [1]}, "a": 1, "b": 2, "c": False, "": None})
    text = rejection(compiled(NUMBERS, refuse_unknown=True), {"a": 1, "b": 2, "c": False, "z": 1})
    assert text.endswith("'z' is no column: send 'a', 'b', 'c' only")


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "tab\t", "é x", "$", ""])
def test_any_name_is_a_column(name) -> None:
    if not name:
        with pytest.raises(ConfigError, match=r"columns\[0\] has no name"):
            compiled([{"name": name}])
        return
    assert prepared(compiled([{"name": name}, {"name": "b"}]), {name: 1.5, "b": 2})[0].tolist() == [[1.5, 2]]


def test_one_bad_record_fails_its_own_request_alone() -> None:
    pipeline = compiled(NUMBERS)
    good = {"a": 1, "b": 2, "c": True}
    answers = pipeline.prepare([views(good), views(good, {"a": 1}), views("{"), views(good, good)], unwatched)
    assert [isinstance(answer, InvalidArgument) for answer in answers] == [False, True, True, False]
    assert answers[3][0].tolist() == [[1, 2, 1]] * 2
    answers = pipeline.prepare([views(good), views({**good, "a": 1e300}), views(good)], unwatched)
    assert [isinstance(answer, InvalidArgument) for answer in answers] == [False, True, False]
    assert answers[2][0].tolist() == [[1, 2, 1]]
    assert "row 0: column 'a': expected a number that FP32 can hold" in str(answers[1])


def test_requests_that_are_prepared_together_get_what_they_get_alone() -> None:
    columns = [*NUMBERS, {"name": "t", "datatype": "BYTES", "missing": "?"}]
    free = {"a": single("FP32"), "b": single("INT64", ()), "c": single("FP32"), "t": single("BYTES")}
    for pipeline in (compiled(columns, free), compiled(columns[:3])):
        requests = [
            views(*({"a": row + place / 8, "b": row, "c": row == place, "t": f"{place}.{row}"} for row in range(place % 3 + 1)))
            for place in range(7)
        ]
        for request, answer in zip(requests, pipeline.prepare(requests, unwatched), strict=True):
            ((alone),) = pipeline.prepare([request], unwatched)
            for array, same in zip(answer, alone, strict=True):
                np.testing.assert_array_equal(array, same)
                assert array.flags.c_contiguous
                assert array.shape[0] == len(request[0])


def test_a_request_that_nobody_waits_for_is_left() -> None:
    def gone(place: int) -> None:
        if place == 1:
            raise Cancelled("gone")

    good = {"a": 1, "b": 2, "c": True}
    answers = compiled(NUMBERS).prepare([views(good)] * 3, gone)
    assert [type(answer) for answer in answers] == [list, Cancelled, list]


# ---- what stands in


def test_what_stands_in_for_a_missing_value() -> None:
    columns = [
        {"name": "a", "missing": "0.5"},
        {"name": "b", "datatype": "INT64", "missing": "NaN"},
        {"name": "f", "datatype": "BOOL", "missing": "NaN"},
        {"name": "v", "vocabulary": options.Vocabulary(values=["x", "y"]), "missing": "y"},
        {"name": "when", "date_time": options.DateTime(parts=["YEAR", "DAY"]), "missing": "2001-02-03"},
    ]
    pipeline = compiled(columns)
    expected = [0.5, math.nan, math.nan, 1, 2001, 3]
    none = dict.fromkeys(["a", "b", "f", "v", "when"])
    (array,) = prepared(pipeline, none, none, {**none, "v": "x", "b": 3, "f": True})
    np.testing.assert_array_equal(array, np.array([expected, expected, [0.5, 3, 1, 0, 2001, 3]], np.float32))
    (array,) = prepared(compiled(columns, form="CSV"), ",,,,", "nan,,,y,")
    np.testing.assert_array_equal(array, np.array([expected, expected], np.float32))
    assert "column 'a' is there twice" in rejection(pipeline, '{"a": 1, "a": 2}')


def test_a_blank_line_of_csv_is_no_record_of_one_column_that_is_missing() -> None:
    pipeline = compiled([{"name": "a", "missing": "0.5"}], form="CSV")
    assert prepared(pipeline, '""', "2", "NA")[0].tolist() == [[0.5], [2], [0.5]]
    for blank in ("", "\r\n", "  "):
        assert "row 1: expected a line of CSV, got a blank one" in rejection(pipeline, "2", blank)
    text = compiled([{"name": "t", "datatype": "BYTES"}], {"t": single("BYTES")}, form="CSV")
    assert prepared(text, '"  "', " x ")[0].tolist() == [["  "], [" x "]]


def test_missing_text() -> None:
    (array,) = prepared(compiled([{"name": "t", "datatype": "BYTES", "missing": "none"}], {"t": single("BYTES")}), {"t": None}, {"t": ""})
    assert array.reshape(-1).tolist() == ["none", ""]


@pytest.fixture(params=["JSON", "ARROW"])
def named(request: pytest.FixtureRequest):
    """A format whose records name their columns, and what writes one."""
    if request.param == "ARROW":
        pytest.importorskip("pyarrow")
    return request.param, json.dumps if request.param == "JSON" else arrow_record


@pytest.mark.parametrize("refuse_unknown", [False, True])
def test_a_column_that_a_record_lacks_is_no_missing_value(named, refuse_unknown) -> None:
    form, write = named
    columns = [{"name": "distance_km", "missing": "7"}, {"name": "stops", "missing": "8"}, {"name": "x"}]
    pipeline = compiled(columns, form=form, refuse_unknown=refuse_unknown)
    whole = [write({"distance_km": 1, "stops": 2, "x": 3}), write({"distance_km": None, "stops": None, "x": 3})]
    assert prepared(pipeline, *whole)[0].tolist() == [[1, 2, 3], [7, 8, 3]]

    def told(**record: object) -> str:
        return rejection(pipeline, *whole, write(record))

    why = "the record lacks it, and has 'stop', which is no column: send a number, or null where none is known"
    assert told(distance_km=1, stop=2, x=3) == f"input 'record', row 2: column 'stops': {why}"
    assert "column 'distance_km': the record lacks it, and has 'Distance_KM', which is no column: send" in told(Distance_KM=1, stops=2, x=3)
    assert "column 'distance_km': the record lacks it: send a number, or null where none is known" in told(x=1)
    assert "column 'distance_km': the record lacks it: send" in told(**{"distance_km" * 20: 1})
    assert "column 'distance_km': the record lacks it, and has 'distance_" in told(**{f"distance_{place}m": 1 for place in range(99)})


def test_unless_it_may_be_absent(named) -> None:
    form, write = named
    pipeline = compiled([{"name": "a", "missing": "7", "allow_absent": True}, {"name": "b", "missing": "8"}], form=form)
    records = [{"a": 1.0, "b": 2.0}, {"b": 2.0}, {"a": None, "b": None}, {"b": None, "c": 1.0}]
    assert prepared(pipeline, *map(write, records))[0].tolist() == [[1, 2], [7, 2], [7, 8], [7, 8]]
    assert "row 0: column 'b': the record lacks it" in rejection(pipeline, write({"a": 1}))


def test_words_of_csv_for_what_is_missing_are_those_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    words = [*MISSING_WORDS, "", "Na", "none", " NA", "-", "Null", "NA NA"]
    frame = pandas.DataFrame({"t": words, "row": 1})
    read = pandas.read_csv(io.StringIO(frame.to_csv(index=False)))["t"]
    columns = [{"name": "t", "datatype": "BYTES", "missing": "nothing"}]
    (array,) = prepared(compiled(columns, {"t": single("BYTES")}, form="CSV"), *(word or '""' for word in words))
    assert array.reshape(-1).tolist() == read.fillna("nothing").tolist()
    assert list(read.isna()) == [True] * (len(MISSING_WORDS) + 1) + [False] * 6


def test_words_for_what_is_missing_are_values_elsewhere() -> None:
    given = {"name": "t", "datatype": "BYTES"}
    free = {"t": single("BYTES")}
    (array,) = prepared(compiled([given], free, form="CSV"), "NA")
    assert array.tolist() == [["NA"]], "nothing stands in"
    (array,) = prepared(compiled([given | {"missing": "x", "allowed": ["x", "NA"]}], free, form="CSV"), "NA", "null")
    assert array.tolist() == [["NA"], ["x"]], "it is listed"
    vocabulary = options.Vocabulary(values=["x", "NA"])
    (array,) = prepared(compiled([{"name": "t", "vocabulary": vocabulary, "missing": "x"}], form="CSV"), "NA", "null")
    assert array.tolist() == [[1], [0]]
    (array,) = prepared(compiled([given | {"missing": "x"}], free), {"t": "NA"})
    assert array.tolist() == [["NA"]], "a text of JSON is itself"
    pipeline = compiled([given | {"missing": "x"}], free, form="TENSORS")
    ((texts,),) = pipeline.prepare([[[memoryview(b"NA"), memoryview(b"")]]], unwatched)
    assert texts.tolist() == [["NA"], ["x"]]
    with pytest.raises(ConfigError, match="missing is 'NA', which is itself rejected: expected a number, got 'NA'"):
        compiled([{"name": "a", "missing": "NA"}])


# ---- encodings


def test_a_vocabulary_gives_places() -> None:
    vocabulary = options.Vocabulary(values=["red", "green", "bleu"], unseen=-1)
    (array,) = prepared(compiled([{"name": "v", "vocabulary": vocabulary}], {"v": single("INT64")}), {"v": "bleu"}, {"v": "RED"})
    assert array.tolist() == [[2], [-1]]
    pipeline = compiled([{"name": "v", "vocabulary": options.Vocabulary(values=["red", "green"])}])
    text = rejection(pipeline, {"v": "red"}, {"v": "rot"})
    assert text == "input 'record', row 1: column 'v': 'rot' is none of the 2 values that the model knows: 'red', 'green'"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=5), st.integers(1, 2**31 - 1))
def test_hash_buckets_are_scikit_learns(texts, buckets) -> None:
    pipeline = compiled([{"name": "h", "hash": options.Hash(buckets=buckets)}], {"h": single("INT64")})
    (array,) = prepared(pipeline, *({"h": text} for text in texts))
    hasher = FeatureHasher(buckets, input_type="string")
    assert array.reshape(-1).tolist() == [int(hasher.transform([[text]]).indices[0]) for text in texts]


ALL_PARTS = options.DateTime.Part.keys()


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.none() | st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
def test_parts_of_a_date_are_those_of_utc(when, minutes, separator) -> None:
    if minutes is not None:
        when = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=ALL_PARTS)}], {"d": single("FP64", (9,))})
    (array,) = prepared(pipeline, {"d": when.isoformat(separator)})
    utc = when.replace(tzinfo=UTC) if minutes is None else when.astimezone(UTC)
    expected = [utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.weekday(), utc.timetuple().tm_yday]
    assert array[0, :8].tolist() == expected
    assert array[0, 8] == (utc - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


@pytest.mark.parametrize("form", ["JSON", "CSV"])
@pytest.mark.parametrize(("seconds", "year"), [(0, 1970), (1714566600.5, 2024), (-1, 1969)])
def test_dates_as_seconds(form, seconds, year) -> None:
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["YEAR", "EPOCH_SECONDS"])}], form=form)
    (array,) = prepared(pipeline, {"d": seconds} if form == "JSON" else str(seconds))
    assert array.tolist() == [[year, np.float32(seconds)]]


def test_dates_in_csv_may_be_basic() -> None:
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["YEAR", "MONTH", "DAY", "HOUR"])}], form="CSV")
    (array,) = prepared(pipeline, "20240501", "2024-05-01T23:00:00-02:00", "2024-05-01 07:00:00Z")
    assert array.tolist() == [[2024, 5, 1, 0], [2024, 5, 2, 1], [2024, 5, 1, 7]]


@pytest.mark.parametrize(("text", "year"), [("1714521600", 2024), ("-1", 1969), ("20240501", 2024), ("2024-05-01", 2024)])
def test_dates_as_text_are_the_same_in_csv_and_in_tensors(text, year) -> None:
    for form in ("CSV", "TENSORS"):
        pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["YEAR"])}], form=form)
        assert prepared(pipeline, text)[0].item() == year


@pytest.mark.parametrize("form", ["CSV", "TENSORS"])
def test_a_year_alone_is_no_date(form) -> None:
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["YEAR"])}], form=form)
    assert "expected a date and time (ISO 8601, such as 2024-05-01T12:30:00Z, or seconds since 1970)" in rejection(pipeline, "2024")


@pytest.mark.parametrize("date", ["yesterday", "2024-13-01", "", "2024-05-01T25:00", "0001-01-01T00:00:00+05:00", 1e300, True, [1], "5"])
def test_what_is_no_date(date) -> None:
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["YEAR"])}])
    assert "row 0: column 'd': expected a date and time" in rejection(pipeline, {"d": date})


def test_seconds_that_an_integer_of_the_graph_does_not_hold() -> None:
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["EPOCH_SECONDS"])}], {"d": single("INT32")})
    assert prepared(pipeline, {"d": "1970-01-01T00:00:01.9Z"})[0].item() == 1
    assert "do not fit INT32" in rejection(pipeline, {"d": "2040-01-01"})


def test_only_values_that_are_allowed() -> None:
    columns = [
        {"name": "t", "datatype": "BYTES", "allowed": ["x", "y"], "missing": ""},
        {"name": "n", "datatype": "INT64", "allowed": ["1", "2"]},
    ]
    free = {"t": single("BYTES"), "n": single("INT64")}
    text, number = prepared(compiled(columns, free), {"t": "y", "n": 2}, {"t": None, "n": 1})
    assert (text.reshape(-1).tolist(), number.reshape(-1).tolist()) == (["y", ""], [2, 1])
    assert "column 't': 'z' is none of the 2 values that the model knows: 'x', 'y'" in rejection(
        compiled(columns, free), {"t": "z", "n": 1}
    )
    assert "column 'n': 3 is none of the 2 values that the model knows: 1, 2" in rejection(compiled(columns, free), {"t": "x", "n": 3})


def test_where_only_some_values_are_allowed_a_row_of_such_is_an_example() -> None:
    columns = [
        {"name": "t", "datatype": "BYTES", "allowed": ["x", "y"]},
        {"name": "n", "datatype": "INT64", "allowed": ["7"]},
        {"name": "free", "datatype": "BYTES"},
    ]
    pipeline = compiled(columns, {"t": single("BYTES"), "n": single("INT64"), "free": single("BYTES")})
    assert {name: rows[0].tolist() for name, rows in pipeline.samples(1).items()} == {"t": ["x"], "n": [7], "free": [""]}
    days = {"name": "d", "date_time": options.DateTime(parts=["YEAR", "DAY"])}
    assert {name: rows[0].tolist() for name, rows in compiled([{"name": "a", "allowed": ["2.5"]}, days]).samples(1).items()} == {
        "features": [2.5, 0, 0]
    }
    assert compiled([{"name": "a"}, days]).samples(1) == {}
    vocabulary = {"name": "v", "vocabulary": options.Vocabulary(values=["x", "y"])}
    assert compiled([vocabulary | {"allowed": ["z", "y"]}]).samples(3)["features"].tolist() == [[1], [1], [1]]
    assert compiled([vocabulary | {"allowed": ["z"]}]).samples(1)["features"].tolist() == [[0]]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("target", ["FP32", "FP64"])
def test_fractions_that_are_allowed_come_as_fp32_too(datatype, target) -> None:
    columns = [{"name": "a", "datatype": datatype, "allowed": ["0.1", "0.25", "7", "1e300"][: 4 if target == "FP64" else 3]}]
    free = {"a": single(target)}
    sent = np.array([[0.1], [0.25], [7]], WORDS_OF[datatype])
    ((array,),) = compiled(columns, free, form="TENSORS").prepare([[sent]], unwatched)
    assert array.tolist() == np.array([[0.1], [0.25], [7]], WORDS_OF[target]).tolist()
    (array,) = prepared(compiled(columns, free), {"a": 0.1}, {"a": 7})
    assert array.tolist() == np.array([[0.1], [7]], WORDS_OF[target]).tolist()
    assert "0.3 is none of the" in rejection(compiled(columns, free), {"a": 0.3})
    exact = datatype == target == "FP64"  # FP32 has no number between the two
    near = {"a": 0.1 + 1e-12}
    if exact:
        assert "is none of the" in rejection(compiled(columns, free), near)
    else:
        prepared(compiled(columns, free), near)


# ---- typed columns


def test_typed_columns_are_inputs_of_their_own() -> None:
    columns = [*NUMBERS, {"name": "t", "vocabulary": options.Vocabulary(values=["x", "y"])}]
    pipeline = compiled(columns, form="TENSORS")
    assert pipeline.inputs == tuple(
        (name, TensorType(datatype, (1,))) for name, datatype in [("a", "FP32"), ("b", "INT64"), ("c", "BOOL"), ("t", "BYTES")]
    )
    texts = [memoryview(b"y"), memoryview(b"x")]
    values = [np.array([[1.5], [2]], np.float32), np.array([[3], [-4]]), np.array([[True], [False]]), texts]
    ((array,),) = pipeline.prepare([values], unwatched)
    assert array.tolist() == [[1.5, 3, 1, 1], [2, -4, 0, 0]]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([np.float32([[1], [np.nan]]), [b"x", b"x"]], "input 'a', row 1: there is no value"),
        ([np.float32([[1], [-np.inf]]), [b"x", b"x"]], "input 'a', row 1: expected a finite number, got -inf"),
        ([np.float32([[1], [2]]), [b"x", b"\xff"]], "input 't', row 1: expected text in UTF-8, and byte 0 is none"),
        ([np.float32([[1], [2]]), [b"x", b"z"]], "input 't', row 1: 'z' is none of the 2 values"),
    ],
)
def test_typed_columns_that_cannot_be_used(values, told) -> None:
    pipeline = compiled([{"name": "a"}, {"name": "t", "vocabulary": options.Vocabulary(values=["x", "y"])}], form="TENSORS")
    (answer,) = pipeline.prepare([[values[0], [memoryview(text) for text in values[1]]]], unwatched)
    assert isinstance(answer, InvalidArgument)
    assert str(answer).startswith(told)


def test_infinities_where_they_are_allowed() -> None:
    columns = [{"name": "a", "allow_infinity": True, "missing": "nan"}, {"name": "b", "allow_infinity": True}]
    (array,) = prepared(compiled(columns, form="CSV"), "inf,-inf", "nan,1", "Infinity,-infinity")
    np.testing.assert_array_equal(array, np.array([[np.inf, -np.inf], [np.nan, 1], [np.inf, -np.inf]], np.float32))


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1.8e308", "9" * 400, "9" * 400 + ".5"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_a_finite_number_that_overflows_is_no_infinity(text, datatype) -> None:
    columns = [{"name": "a", "datatype": datatype, "allow_infinity": True}, {"name": "b"}]
    for form, record in (("CSV", text + ",1"), ("JSON", f'{{"a": {text}, "b": 1}}')):
        whole = form == "JSON" and text.isdecimal()
        got = "a whole number of more than 308 digits" if whole else "'" + text[:39]
        told = rejection(compiled(columns, form=form), record)
        assert f"column 'a': expected a number that FP64 can hold, up to 1.8e308, got {got}" in told


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_nor_is_one_that_the_graph_cannot_hold(datatype) -> None:
    columns = [{"name": "a", "datatype": datatype, "allow_infinity": True}, {"name": "b"}]
    for form, record in (("CSV", "-1e39,1"), ("JSON", {"a": -1e39, "b": 1})):
        told = rejection(compiled(columns, form=form), record)
        assert "column 'a': expected a number that FP32 can hold, up to 3.4e38, got -1e+39" in told


@pytest.mark.parametrize("form", ["JSON", "CSV", "TENSORS"])
@pytest.mark.parametrize("text", ["1e400", "inf"])
def test_seconds_that_no_date_has(form, text) -> None:
    pipeline = compiled([{"name": "d", "date_time": options.DateTime(parts=["YEAR"])}], form=form)
    record = json.dumps({"d": text}) if form == "JSON" else text
    told = rejection(pipeline, record)
    assert re.search("'d'.*: expected a (number that FP64 can hold|date and time)", told)


NAMES_THAT_LOOK_ALIKE = [{"name": "caf\u00e9", "missing": "7"}, {"name": "x"}]
ANOTHER_FORM = "column 'café': its name came in another Unicode normal form, 'cafe\\u0301' and not 'caf\\xe9': write it as the model does"


@pytest.mark.parametrize("refuse_unknown", [False, True])
def test_a_name_in_another_normal_form_is_no_missing_value(refuse_unknown) -> None:
    pipeline = compiled(NAMES_THAT_LOOK_ALIKE, refuse_unknown=refuse_unknown)
    assert ANOTHER_FORM in rejection(pipeline, {"cafe\u0301": 1, "x": 2})
    assert ANOTHER_FORM in rejection(pipeline, {"cafe\u0301": 1, "x": None})
    assert prepared(pipeline, {"caf\u00e9": 1, "x": 2})[0].tolist() == [[1, 2]]
    if not refuse_unknown:
        assert prepared(pipeline, {"caf\u00e9": 1, "cafe\u0301": 5, "x": 2})[0].tolist() == [[1, 2]]
    absent = [NAMES_THAT_LOOK_ALIKE[0] | {"allow_absent": True}, NAMES_THAT_LOOK_ALIKE[1]]
    assert ANOTHER_FORM in rejection(compiled(absent, refuse_unknown=refuse_unknown), {"cafe\u0301": 1, "x": 2})
    assert prepared(compiled(absent), {"the\u0301": 1, "x": 2})[0].tolist() == [[7, 2]]
    both = compiled([*absent, {"name": "cafe\u0301"}], refuse_unknown=refuse_unknown)
    assert prepared(both, {"cafe\u0301": 1, "x": 2})[0].tolist() == [[7, 2, 1]], "both are columns"


# ---- Arrow


@pytest.fixture(scope="module")
def arrow():
    return pytest.importorskip("pyarrow")


def stream(arrow, *, schema=None, compression=None, batches=1, **columns) -> bytes:
    table = arrow.table(columns, schema=schema)
    sink = io.BytesIO()
    with arrow.ipc.new_stream(sink, table.schema, options=arrow.ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return sink.getvalue()


MIXED = [
    {"name": "a", "missing": "-1"},
    {"name": "b", "datatype": "INT64"},
    {"name": "c", "datatype": "BOOL"},
    {"name": "t", "vocabulary": options.Vocabulary(values=["x", "y"])},
    {"name": "d", "date_time": options.DateTime(parts=["YEAR", "HOUR"])},
]


def test_arrow_records(arrow) -> None:
    when = datetime(2024, 5, 1, 23, tzinfo=timezone(timedelta(hours=-2)))
    record = {
        "t": ["y"],
        "a": [1.5],
        "b": arrow.array([3], arrow.int8()),
        "c": [True],
        "d": arrow.array([when], arrow.timestamp("us", "UTC")),
    }
    coded = arrow.array(["x"]).dictionary_encode()
    other = {"a": arrow.array([None], arrow.float32()), "b": [4], "c": [False], "t": coded, "d": [when.date()], "z": ["?"]}
    (array,) = prepared(compiled(MIXED, form="ARROW"), stream(arrow, **record), stream(arrow, **other))
    assert array.tolist() == [[1.5, 3, 1, 1, 2024, 1], [-1, 4, 0, 0, 2024, 0]]


def test_arrow_that_cannot_be_used(arrow) -> None:
    pipeline = compiled([{"name": "a"}, {"name": "b", "datatype": "INT64"}], form="ARROW", refuse_unknown=True)
    good = stream(arrow, a=[1.0], b=[2])
    for place in range(0, len(good), 3):
        cut, flipped = good[:place], good[:place] + bytes([good[place] ^ 0x5A]) + good[place + 1 :]
        for data in (cut, flipped):
            (answer,) = pipeline.prepare([views(data)], unwatched)
            assert isinstance(answer, (list, InvalidArgument))
    assert "expected an Arrow IPC stream of one record" in rejection(pipeline, b"PAR1 is no stream")
    assert "expected one record, got 2" in rejection(pipeline, stream(arrow, a=[1.0, 2.0], b=[1, 2]))
    assert "expected one record, got 2 batches" in rejection(pipeline, stream(arrow, a=[1.0], b=[2], batches=2))
    assert "expected one record, got 0 batches" in rejection(
        pipeline, stream(arrow, a=arrow.array([], arrow.float64()), b=arrow.array([], arrow.int64()))
    )
    assert "its buffers are compressed" in rejection(pipeline, stream(arrow, a=[1.0], b=[2], compression="zstd"))
    nested = rejection(pipeline, stream(arrow, a=[[1.0]], b=[2]))
    assert "Arrow column 'a' has the type list<" in nested
    assert nested.endswith("send numbers, true or false, text, or dates (timestamp, date32, date64), one value a column")
    for kind in (arrow.duration("s"), arrow.time32("s")):
        assert f"'a' has the type {kind}, which is none that" in rejection(pipeline, stream(arrow, a=arrow.array([1], kind), b=[2]))
    assert "'z' is no column" in rejection(pipeline, stream(arrow, a=[1.0], b=[2], z=[1]))
    assert "column 'b': the record lacks it: send a whole number" in rejection(pipeline, stream(arrow, a=[1.0]))
    assert "column 'a': expected a finite number, got inf" in rejection(pipeline, stream(arrow, a=[math.inf], b=[2]))
    assert "column 'b': expected a whole number, got 'x'" in rejection(pipeline, stream(arrow, a=[1.0], b=["x"]))


def test_arrow_names_in_another_normal_form(arrow) -> None:
    columns = {"cafe\u0301": [1.0], "x": [2.0]}  # as a keyword Python would make the other form of it
    assert ANOTHER_FORM in rejection(compiled(NAMES_THAT_LOOK_ALIKE, form="ARROW"), stream(arrow, **columns))


def test_arrow_text_of_every_kind(arrow) -> None:
    pipeline = compiled([{"name": "t", "datatype": "BYTES"}], {"t": single("BYTES")}, form="ARROW")
    kinds = [arrow.string(), arrow.large_string(), arrow.string_view(), arrow.binary(), arrow.large_binary(), arrow.binary_view()]
    for kind in kinds:
        for text in ("é", "longer than the twelve bytes of a view"):
            content = text.encode() if "binary" in str(kind) else text
            assert prepared(pipeline, stream(arrow, t=arrow.array([content], kind)))[0].item() == text
    for kind in (arrow.large_string(), arrow.binary()):
        coded = arrow.array(["x"]).cast(kind).dictionary_encode()
        assert prepared(pipeline, stream(arrow, t=coded))[0].item() == "x"
    for kind in kinds[3:]:
        why = "column 't': expected text in UTF-8, and byte 1 is none: encode it as UTF-8"
        assert why in rejection(pipeline, stream(arrow, t=arrow.array([b"a\xff"], kind)))
    broken = arrow.array([b"a\xff"], arrow.binary()).view(arrow.string())
    assert "a text in it is no UTF-8" in rejection(pipeline, stream(arrow, t=broken))


def test_arrow_decimals_are_numbers(arrow) -> None:
    form = [{"name": "a", "datatype": "FP64"}, {"name": "b", "datatype": "INT64"}]
    pipeline = compiled(form, {"a": single("FP64"), "b": single("INT64")}, form="ARROW")

    def of(text: str, kind) -> object:
        return arrow.array([Decimal(text)], kind)

    exact = arrow.decimal128(38, 2)
    for kind in (exact, arrow.decimal256(70, 2)):
        a, b = prepared(pipeline, stream(arrow, a=of("-1234.56", kind), b=of("9007199254740993.00", kind)))
        assert (a.item(), b.item()) == (-1234.56, 9007199254740993)
    third = f"0.{'3' * 38}"
    assert prepared(pipeline, stream(arrow, a=of(third, arrow.decimal128(38, 38)), b=[1]))[0].item() == float(third)
    assert "column 'b': expected a whole number, got 1.5" in rejection(pipeline, stream(arrow, a=[1.0], b=of("1.5", exact)))
    assert "column 'a': there is no value" in rejection(pipeline, stream(arrow, a=arrow.array([None], exact), b=[1]))


def test_arrow_times_whose_zone_or_year_python_does_not_know(arrow) -> None:
    form = [{"name": "d", "datatype": "BYTES", "date_time": {"parts": ["YEAR", "HOUR", "EPOCH_SECONDS"]}}]
    pipeline = compiled(form, {"x": TensorType("FP64", (3,))}, form="ARROW")
    hour = 3600
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        for zone in (None, "UTC", "Nowhere/Such", "+03:00"):
            sent = arrow.array([5 * hour * factor], arrow.timestamp(unit, zone))
            assert prepared(pipeline, stream(arrow, d=sent))[0].tolist() == [[1970, 5, 5 * hour]]
    before = arrow.array([-1], arrow.timestamp("ns"))
    assert prepared(pipeline, stream(arrow, d=before))[0].tolist() == [[1969, 23, -1e-06]]
    assert prepared(pipeline, stream(arrow, d=arrow.array([-1], arrow.date32())))[0].tolist() == [[1969, 0, -24 * hour]]
    assert prepared(pipeline, stream(arrow, d=arrow.array([24 * hour * 1000], arrow.date64())))[0].tolist() == [[1970, 0, 24 * hour]]
    for count, kind, unit in ((10**15, arrow.timestamp("s"), "s"), (10**8, arrow.date32(), "days"), (-(10**9), arrow.date32(), "days")):
        sent = arrow.array([count], arrow.int64()).cast(arrow.int32()).cast(kind) if unit == "days" else arrow.array([count], kind)
        why = f"column 'd': expected a date and time of the years 1 to 9999, got {count} {unit} since 1970"
        assert why in rejection(pipeline, stream(arrow, d=sent))


def test_compressed_dictionaries_are_rejected_too(arrow) -> None:
    pipeline = compiled([{"name": "t", "datatype": "BYTES"}], {"t": single("BYTES")}, form="ARROW")
    coded = arrow.array(["x" * 500]).dictionary_encode()
    assert "its buffers are compressed" in rejection(pipeline, stream(arrow, t=coded, compression="lz4"))
    assert prepared(pipeline, stream(arrow, t=coded))[0].item() == "x" * 500


def test_pyarrow_is_loaded_where_it_is_used() -> None:
    code = (
        "import sys; from inferd.steps.table import compile_table; from inferd.steps.pipeline import EntryPlace, TensorType\n"
        "from inferd.protocol import options as o\n"
        "def make(form):\n"
        "    step = o.Step(columns=o.Columns(format=form, columns=[o.Column(name='a')]))\n"
        "    return compile_table(o.Preprocess(steps=[step]), EntryPlace('m', {'x': TensorType('FP32', (1,))}))\n"
        "make('JSON'); assert 'pyarrow' not in sys.modules\n"
        "sys.modules['pyarrow'] = None\n"
        "try: make('ARROW')\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "m: steps[0] (columns): format ARROW needs pyarrow: pip install 'inferd[table]'"


# ---- configuration


@pytest.mark.parametrize(
    ("columns", "free", "told"),
    [
        ([], None, "it has 0 columns; it must have 1 to"),
        ([{"name": f"c{number}"} for number in range(MAX_COLUMNS + 1)], None, "it must have 1 to 4096"),
        ([{"name": "a"}, {"name": "a"}], None, "column 'a' is there twice"),
        ([{"name": "a", "datatype": "FP16"}], None, "column 'a': datatype is 'FP16'; it must be FP32, FP64, INT64, BOOL or BYTES"),
        ([{"name": "a", "datatype": "BYTES"}], None, "column 'a': it gives texts, which go into BYTES, and the graph's input is FP32"),
        ([{"name": "a"}], {"a": single("INT64")}, "column 'a': it gives numbers, which go into FP32, FP64, and the graph's input is INT64"),
        (
            [{"name": "a"}, {"name": "b"}],
            {"a": single("FP32"), "c": single("FP32")},
            "column 'b' is none of the graph's inputs, and others are",
        ),
        (
            [{"name": "a"}, {"name": "b"}],
            {"x": single("FP32", (3,))},
            "the columns give 2 values a row ('a', 'b'), and the graph's input 'x' is FP32[3]",
        ),
        ([{"name": "a"}], {"x": single("FP32"), "y": single("FP32")}, "say which of the graph's tensors it is for"),
        ([{"name": "a", "allow_absent": True}], None, "column 'a': allow_absent is true, and nothing stands in for its value then: add"),
        ([{"name": "a", "missing": "abc"}], None, "column 'a': missing is 'abc', which is itself rejected: expected a number, got 'abc'"),
        (
            [{"name": "a", "datatype": "INT64", "missing": "1.5"}],
            None,
            "missing is '1.5', which is itself rejected: expected a whole number",
        ),
        ([{"name": "a", "datatype": "INT64", "missing": "nan"}], {"a": single("INT64")}, "column 'a'"),
        ([{"name": "a", "missing": "1e400"}], None, "missing is '1e400', which is itself rejected: expected a number that FP64 can hold"),
        (
            [{"name": "a", "allowed": ["1", "1e400"]}],
            None,
            "'a': allowed[1] is '1e400', which is itself rejected: expected a number that FP64",
        ),
        (
            [{"name": "a", "allowed": [""]}],
            None,
            "column 'a': allowed[0] is '', which is itself rejected: expected a number, and it is no value",
        ),
        ([{"name": "a", "missing": "inf"}], None, "missing is 'inf', which is itself rejected: expected a finite number"),
        ([{"name": "a", "vocabulary": options.Vocabulary()}], None, "vocabulary has no values"),
        ([{"name": "a", "vocabulary": options.Vocabulary(values=["x", "x"])}], None, "vocabulary holds 'x' twice"),
        ([{"name": "a", "vocabulary": options.Vocabulary(values=["x"], unseen=2**40)}], None, "unseen is 1099511627776; it must be"),
        ([{"name": "a", "datatype": "INT64", "hash": options.Hash(buckets=2)}], None, "hash takes text, and datatype is INT64"),
        ([{"name": "a", "hash": options.Hash()}], None, "hash has 0 buckets"),
        ([{"name": "a", "hash": options.Hash(buckets=2**31)}], None, "hash has 2147483648 buckets"),
        ([{"name": "a", "date_time": options.DateTime()}], None, "date_time has no parts"),
        ([{"name": "a", "datatype": "FP32", "date_time": options.DateTime(parts=["DAY"])}], None, "date_time takes BYTES, INT64 or FP64"),
        ([{"name": "a", "datatype": "BYTES", "allow_infinity": True}], None, "allow_infinity is for FP32 and FP64"),
        ([{"name": "a", "vocabulary": options.Vocabulary(values=["x"]), "missing": "y"}], None, "missing is 'y', which is itself rejected"),
    ],
)
def test_what_a_configuration_cannot_say(columns, free, told) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(columns, free)
    assert str(raised.value).startswith(WHERE)
    assert told in str(raised.value)


@pytest.mark.parametrize("form", ["CSV", "TENSORS"])
def test_where_all_columns_come_none_is_absent(form) -> None:
    with pytest.raises(ConfigError, match=f"'a': allow_absent is for JSON and ARROW; what comes as {form} has all columns: remove it"):
        compiled([{"name": "a", "missing": "1", "allow_absent": True}], form=form)


def test_names_of_the_wire() -> None:
    assert compiled(NUMBERS, name="record").inputs[0][0] == "record"
    assert rejection(compiled(NUMBERS, name="record"), "{").startswith("input 'record', row 0: ")
    with pytest.raises(ConfigError, match="TENSORS has an input for each column, named as it is: remove name"):
        compiled(NUMBERS, form="TENSORS", name="record")
    with pytest.raises(ConfigError, match="of which a request has at most 256"):
        compiled([{"name": f"c{number}"} for number in range(257)], form="TENSORS")
    steps = [options.Step(columns=options.Columns(columns=[options.Column(name="a")])), options.Step(scale=options.Scale())]
    with pytest.raises(ConfigError, match="columns is the only step of its list"):
        compile_table(options.Preprocess(steps=steps), EntryPlace(WHERE, {"x": single("FP32")}))


@given(st.binary(max_size=80))
def test_any_bytes_are_answered(data) -> None:
    for form in ("JSON", "CSV"):
        (answer,) = compiled(NUMBERS, form=form).prepare([views(data)], unwatched)
        assert isinstance(answer, (list, InvalidArgument))


@given(st.text(alphabet='{}[]":,\\abc10.eE-truefalsn u0061', max_size=60))
def test_what_looks_like_json_is_answered(text) -> None:
    (answer,) = compiled(NUMBERS).prepare([views(text)], unwatched)
    assert isinstance(answer, (list, InvalidArgument))
