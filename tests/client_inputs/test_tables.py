"""A CSV file means the same to every model: each cell is what its column is declared to be, and what is declared nowhere stays text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inferd.client_inputs import tables
from inferd.client_inputs.inputs import Spec, suit
from inferd.client_inputs.raw import fit
from inferd.client_inputs.tables import from_csv
from inferd.client_inputs.targets import Description
from inferd.engine.configuration.model_config import read_model_config
from inferd.engine.embedded import Engine
from inferd.errors import ConfigError, InferdError
from tests import models

RECORD = Spec("record", "BYTES", (-1, 1))
COLUMNS = """
    { name = "age", missing = "-1" },
    { name = "count", datatype = "INT64", missing = "7" },
    { name = "member", datatype = "BOOL", missing = "true" },
    { name = "city", datatype = "BYTES", missing = "none", hash = { buckets = 1000 } },
    { name = "joined", datatype = "BYTES", missing = "1999-12-31", date_time = { parts = ["YEAR", "MONTH", "DAY"] } },
    { name = "open", datatype = "FP64", allow_infinity = true },
"""
GOOD = "39.5,3,true,Bern,2024-05-01,1"


def only(*names: str) -> str:
    """Of COLUMNS these."""
    return "".join(line for line in COLUMNS.splitlines() if any(f'"{name}"' in line for name in names))


def described(folder: Path, form: str, columns: str, *specs: Spec) -> Description:
    """A model whose records are of that form."""
    (folder / "config.toml").write_text(f"[[inferd.preprocess]]\nsteps = [{{ columns = {{ format = '{form}', columns = [{columns}] }} }}]")
    return Description("model", "1", specs or (RECORD,), (), read_model_config(folder, "model").config)


def write(folder: Path, text: str) -> str:
    path = folder / "rows.csv"
    path.write_text(text, "utf-8")
    return str(path)


def rejection(folder: Path, text: str, description: Description) -> str:
    with pytest.raises(ConfigError) as caught:
        from_csv("--csv", write(folder, text), description)
    return str(caught.value).replace(str(folder / "rows.csv"), "FILE")


# ---------------------------------------------------------------------------------------------------------------------
# The same to every model


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory):
    """A model of each form: the same columns, and the same graph."""
    folder = tmp_path_factory.mktemp("forms")
    forms = ("JSON", "CSV", "ARROW")
    models.repository(folder, dict.fromkeys(forms, models.identity(dims=(8,))))
    for form in forms:
        described(folder / form, form, COLUMNS)
    with Engine(folder) as engine:
        yield engine


def responses(engine: Engine, form: str, source: str) -> list[list[float]] | None:
    """None where it is rejected, here or there."""
    inputs = tuple(Spec(*tensor) for tensor in engine.metadata(form).inputs)
    try:
        rows = from_csv("--csv", source, Description(form, "1", inputs, (), engine.config(form)))
        return engine.infer(form, {"record": fit(inputs[0], rows["record"])})["y"].tolist()
    except InferdError:
        return None


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        ",,,,,0",
        "NaN,7,1,NA,20240501,inf",
        "nan,7,False,007,1714521600,-Infinity",
        " 1.5 ,1.0,TRUE,true,1714521600.5,1e-320",
        '1e3,-9223372036854775808,0,"a, ""b""",2024-05-01T12:30:00+02:00,0.1',
        "1,9223372036854775807,0,null,20240501,0.1",
        "NA,<NA>,None,N/A,NULL,0.1",
    ],
)
def test_the_responses_are_those_of_the_model_that_takes_csv(engines: Engine, tmp_path: Path, line: str) -> None:
    source = write(tmp_path, f"age,count,member,city,joined,open\n{line}\n{GOOD}\n")
    expected = responses(engines, "CSV", source)
    assert expected is not None
    assert responses(engines, "ARROW", source) == expected
    assert responses(engines, "JSON", source) == (None if "inf" in line.lower() else expected), "JSON has no infinity"


@pytest.mark.parametrize(
    "line",
    [
        "1,3,true,Bern,2024-05-01,NA",
        "1,3,true,Bern,2024-05-01,null",
        "1_000,3,true,Bern,2024-05-01,1",
        "1,3.5,true,Bern,2024-05-01,1",
        "1,9223372036854775808,true,Bern,2024-05-01,1",
        "1,99999999999999999999,true,Bern,2024-05-01,1",
        "1,3,yes,Bern,2024-05-01,1",
        "1,3,true,Bern,soon,1",
        "1,3,true,Bern,2024,1",
        "1,3,true,Bern,2024-05-01,",
        "1,3,true,Bern,2024-05-01,1e400",
        "1,3,true,Bern,2024-05-01,-1e400",
    ],
)
def test_what_the_model_that_takes_csv_rejects_no_other_answers(engines: Engine, tmp_path: Path, line: str) -> None:
    source = write(tmp_path, f"age,count,member,city,joined,open\n{line}\n")
    assert [responses(engines, form, source) for form in ("CSV", "JSON", "ARROW")] == [None, None, None]


# ---------------------------------------------------------------------------------------------------------------------
# Records


def test_cells_are_what_their_columns_are_declared_to_be(tmp_path: Path) -> None:
    source = write(tmp_path, "city,age,zip,late\n007,007,007,NA\ntrue,,,true\n")
    (record, empty) = from_csv("--csv", source, described(tmp_path, "JSON", only("age", "city")))["record"]
    assert json.loads(record) == {"city": "007", "age": 7.0, "zip": "007", "late": "NA"}
    assert json.loads(empty) == {"city": "true", "age": None, "zip": "", "late": "true"}, "what is declared nowhere stays text"


def test_csv_lines_are_put_into_the_models_order_and_quoted(tmp_path: Path) -> None:
    source = write(tmp_path, 'b,a\n"x, ""y""",1_0\n,\n')
    assert from_csv("--csv", source, described(tmp_path, "CSV", '{ name = "a" }, { name = "b" }')) == {"record": [b'1_0,"x, ""y"""', b","]}
    assert from_csv("--csv", source, described(tmp_path, "CSV", '{ name = "b" }'))["record"][1] == b'""', "a line, and no empty one"
    source = write(tmp_path, 'a\n"x\ny"\n')
    assert from_csv("--csv", source, described(tmp_path, "CSV", '{ name = "a" }'))["record"] == [b'"x\ny"']


def test_records_of_arrow_need_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    said = rejection(tmp_path, "age\n1\n", described(tmp_path, "ARROW", only("age")))
    assert said == "--csv FILE: the model takes Arrow records, which pyarrow writes: pip install 'inferd[table]'"


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("JSON", "age\n1\n\nold\n", "line 4: column 'age': expected a number, got 'old'"),
        ("JSON", 'city,age\n"a\nb",1_000\n', "line 3: column 'age': expected a number, got '1_000'"),
        ("ARROW", "count\n99999999999999999999\n", "line 2: column 'count': expected a whole number of 64 bits, got a longer one"),
        ("JSON", "open\ninf\n", "line 2: column 'open': the model takes JSON, which has no infinity"),
        ("JSON", "age,age\n1,2\n", ": column 'age' is there twice"),
        ("JSON", "age\n", ": expected a header with the columns' names and at least one line below it"),
        ("JSON", "age,city\n1\n", "line 2: expected 2 values, as the header has, got 1"),
    ],
)
def test_a_wrong_table_is_rejected_by_line_and_column(tmp_path: Path, form: str, text: str, said: str) -> None:
    header = text.split("\n")[0]
    assert rejection(tmp_path, text, described(tmp_path, form, only(*header.split(",")))).endswith(said)


# ---------------------------------------------------------------------------------------------------------------------
# A tensor a column


def tensors(folder: Path, text: str, description: Description) -> dict[str, np.ndarray]:
    rows = from_csv("--csv", write(folder, text), description)
    return suit({spec.name: fit(spec, rows[spec.name]) for spec in description.inputs}, description.inputs)[0]


def test_columns_are_inputs_of_their_names(tmp_path: Path) -> None:
    specs = (Spec("age", "FP32", (-1, 1)), Spec("job", "BYTES", (-1, 1)), Spec("level", "UINT8", (-1,)), Spec("there", "BOOL", (-1, 1)))
    found = tensors(tmp_path, "age,job,extra,level,there\n39,NA,9,255,True\n,007,9,1.0,0\n", Description("model", "1", specs, ()))
    assert found["age"].dtype == np.float32
    np.testing.assert_array_equal(found["age"], [[39], [np.nan]])
    assert found["job"].tolist() == [[b"NA"], [b"007"]]
    assert found["level"].tolist() == [255, 1]
    assert found["there"].tolist() == [[True], [False]]


def test_words_for_nothing_are_missing_where_something_stands_in(tmp_path: Path) -> None:
    columns = """{ name = "city", datatype = "BYTES", missing = "none" }, { name = "mood", datatype = "BYTES" },
        { name = "land", datatype = "BYTES", missing = "AT", allowed = ["AT", "NA"] }"""
    source = write(tmp_path, "city,mood,land\nNA,NA,NA\n,,None\n")
    (first, second) = map(json.loads, from_csv("--csv", source, described(tmp_path, "JSON", columns))["record"])
    assert first == {"city": None, "mood": "NA", "land": "NA"}, "a value that is listed is one"
    assert second == {"city": None, "mood": None, "land": None}
    specs = [Spec(name, "BYTES", (-1, 1)) for name in ("city", "mood", "land")]
    assert from_csv("--csv", source, described(tmp_path, "TENSORS", columns, *specs)) == {
        "city": [b"", b""],
        "mood": [b"NA", b""],
        "land": [b"NA", b""],
    }


@pytest.mark.parametrize("form", ["JSON", "CSV", "ARROW", "TENSORS"])
def test_a_blank_line_is_no_record(tmp_path: Path, form: str) -> None:
    """As pandas has it: of spaces, too, and of one column that may be missing, where an empty cell in quotes is one."""
    specs = [Spec("city", "BYTES", (-1, 1))] if form == "TENSORS" else []
    description = described(tmp_path, form, '{ name = "city", datatype = "BYTES", missing = "none" }', *specs)

    def records(text: str) -> list[object]:
        (values,) = from_csv("--csv", write(tmp_path, text), description).values()
        return values

    assert records("\n \t\ncity\nBern\n\n  \nOslo\n\n") == records("city\nBern\nOslo\n")
    assert len(records("city\nBern\nOslo\n")) == 2
    assert len(records('city\n""\n"  "\nNA\n')) == 3
    assert len(records("city,age\nBern,1\n  \nOslo,2\n\n")) == 2
    with pytest.raises(ConfigError, match="expected a header with the columns' names and at least one line below it"):
        records("city\n\n  \n")


def test_a_missing_whole_number_is_what_stands_in_for_it(tmp_path: Path) -> None:
    specs = (Spec("age", "FP32", (-1, 1)), Spec("count", "INT64", (-1, 1)), Spec("member", "BOOL", (-1, 1)))
    found = tensors(tmp_path, "age,count,member\n1,2,0\n,,\n", described(tmp_path, "TENSORS", COLUMNS, *specs))
    assert found["count"].tolist() == [[2], [7]]
    assert found["member"].tolist() == [[False], [True]]
    np.testing.assert_array_equal(found["age"], [[1], [np.nan]])


@pytest.mark.parametrize(
    ("datatype", "cell", "said"),
    [
        ("INT64", "", "line 2: column 'a': a tensor of INT64 cannot say that a value is missing; give one"),
        ("INT64", "nan", "line 2: column 'a': a tensor of INT64 cannot say that a value is missing; give one"),
        ("INT64", "1.5", "line 2: column 'a': expected a whole number, got '1.5'"),
        ("INT64", "inf", "line 2: column 'a': expected a whole number, got 'inf'"),
        ("INT64", "1e16", "line 2: column 'a': expected a whole number, got '1e16'"),
        ("BOOL", "yes", "line 2: column 'a': expected true or false, got 'yes'"),
        ("FP32", "1_000", "line 2: column 'a': expected a number, got '1_000'"),
    ],
)
def test_a_cell_that_its_tensor_cannot_hold(tmp_path: Path, datatype: str, cell: str, said: str) -> None:
    assert rejection(tmp_path, f"a,b\n{cell},\n", Description("model", "1", (Spec("a", datatype, (-1, 1)),), ())).endswith(said)


@pytest.mark.parametrize(("datatype", "cell"), [("UINT8", "300"), ("INT8", "-129"), ("FP32", "1e39")])
def test_no_number_becomes_another(tmp_path: Path, datatype: str, cell: str) -> None:
    with pytest.raises(ConfigError, match=f"the input 'a' is {datatype}"):
        tensors(tmp_path, f"a\n{cell}\n", Description("model", "1", (Spec("a", datatype, (-1, 1)),), ()))


def test_a_date_in_a_tensor_of_numbers_is_seconds(tmp_path: Path) -> None:
    spec = Spec("at", "INT64", (-1, 1))
    description = described(tmp_path, "TENSORS", '{ name = "at", datatype = "INT64", date_time = { parts = ["YEAR"] } }', spec)
    assert tensors(tmp_path, "at\n1714521600\n", description)["at"].tolist() == [[1714521600]]
    assert "expected seconds since 1970, which the model takes as INT64, got '20240501'" in rejection(
        tmp_path, "at\n20240501\n", description
    )


@pytest.mark.parametrize("form", ["JSON", "CSV", "ARROW", "TENSORS"])
def test_a_column_that_the_file_lacks_is_no_missing_value(tmp_path: Path, form: str) -> None:
    specs = (Spec("age", "FP32", (-1, 1)), Spec("city", "BYTES", (-1, 1))) if form == "TENSORS" else ()
    description = described(tmp_path, form, only("age", "city"), *specs)
    missing = "--csv FILE: column 'age' is missing"
    assert rejection(tmp_path, "city,Age\nBern,3\n", description) == missing + ", and 'Age' is none of the model's; it has 'city', 'Age'"
    assert rejection(tmp_path, "city, age\nBern,3\n", description) == missing + ", and ' age' is none of the model's; it has 'city', ' age'"
    assert rejection(tmp_path, "job\nclerk\n", description) == missing + "; it has 'job'"
    assert from_csv("--csv", write(tmp_path, "job,city,age\nclerk,Bern,3\n"), description)


@pytest.mark.parametrize("form", ["JSON", "ARROW"])
def test_unless_it_may_be_absent(tmp_path: Path, form: str) -> None:
    columns = '{ name = "age", missing = "-1", allow_absent = true }, { name = "city", datatype = "BYTES" }'
    description = described(tmp_path, form, columns)
    assert len(from_csv("--csv", write(tmp_path, "city\nBern\n"), description)["record"]) == 1
    assert rejection(tmp_path, "age\n3\n", description) == "--csv FILE: column 'city' is missing; it has 'age'"


def test_a_whole_number_that_was_rounded_is_rejected(tmp_path: Path) -> None:
    description = Description("model", "1", (Spec("a", "INT64", (-1, 1)),), ())
    assert tensors(tmp_path, "a\n9007199254740991.0\n9007199254740993\n", description)["a"].tolist() == [[2**53 - 1], [2**53 + 1]]
    assert "expected a whole number, got '9007199254740993.0'" in rejection(tmp_path, "a\n9007199254740993.0\n", description)


@pytest.mark.parametrize("form", ["JSON", "CSV", "ARROW", "TENSORS"])
def test_a_name_in_another_normal_form(tmp_path: Path, form: str) -> None:
    specs = (Spec("café", "FP32", (-1, 1)), Spec("x", "FP32", (-1, 1))) if form == "TENSORS" else ()
    description = described(tmp_path, form, "{ name = 'caf\u00e9' }, { name = 'x' }", *specs)
    said = rejection(tmp_path, "x,cafe\u0301\n1,2\n", description)
    assert said.startswith("--csv FILE: column 'café': its name came in another Unicode normal form, ")
    assert said.endswith("'cafe\\u0301' and not 'caf\\xe9': write it as the model does")
    assert from_csv("--csv", write(tmp_path, "x,caf\u00e9\n1,2\n"), description)


def test_a_file_that_no_request_holds_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_FILE_BYTES", 1 << 20)
    (tmp_path / "rows.csv").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ConfigError, match="expected 1 MiB at most, got 1,048,577 bytes; a request holds no more"):
        from_csv("--csv", str(tmp_path / "rows.csv"), Description("model", "1", (RECORD,), ()))
