"""Files, texts and tables as the BYTES inputs of a model that makes its own tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inferd.ask import raw
from inferd.ask.inputs import Spec
from inferd.ask.raw import from_csv, from_files, from_texts
from inferd.errors import ConfigError

IMAGE = Spec("image", "BYTES", (-1, 1))
TEXT = Spec("text", "BYTES", (-1, 1))
SCALE = Spec("scale", "FP32", (-1, 1))


def elements(array: np.ndarray) -> list[bytes]:
    assert array.shape == (array.size, 1)
    return array[:, 0].tolist()


def write(folder: Path, text: str) -> str:
    path = folder / "rows.csv"
    path.write_text(text, "utf-8")
    return str(path)


def test_each_file_is_a_row_of_the_only_input_that_takes_bytes(tmp_path: Path) -> None:
    for name, content in (("a.jpg", b"\xff\xd8a"), ("b.jpg", b"\xff\xd8b")):
        (tmp_path / name).write_bytes(content)
    found = from_files("--image", [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")], [IMAGE, SCALE])
    assert list(found) == ["image"]
    assert elements(found["image"]) == [b"\xff\xd8a", b"\xff\xd8b"]


def test_a_name_in_front_chooses_between_inputs(tmp_path: Path) -> None:
    (tmp_path / "a=b.jpg").write_bytes(b"x")
    assert elements(from_files("--image", [f"image={tmp_path / 'a=b.jpg'}"], [IMAGE, TEXT])["image"]) == [b"x"]
    assert elements(from_files("--image", [str(tmp_path / "a=b.jpg")], [IMAGE])["image"]) == [b"x"]
    with pytest.raises(ConfigError, match="expected NAME="):
        from_files("--image", [str(tmp_path / "a=b.jpg")], [IMAGE, TEXT])


def test_a_model_of_tensors_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"takes tensors: scale .*preprocessing"):
        from_files("--image", [str(tmp_path / "a.jpg")], [SCALE])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--audio .*none\.wav: cannot be read: No such file"):
        from_files("--audio", [str(tmp_path / "none.wav")], [IMAGE])


def test_texts_are_rows() -> None:
    assert elements(from_texts(["one = two", "Grüße"], [TEXT])["text"]) == [b"one = two", "Grüße".encode()]


def test_csv_becomes_json_records(tmp_path: Path) -> None:
    source = write(tmp_path, "age,job,member,score\n39,clerk,true,1.5\n,,false,-2e3\n")
    found = from_csv(source, [Spec("record", "BYTES", (-1, 1))], {"record": ("JSON", ("age", "job"))})
    assert [json.loads(element) for element in elements(found["record"])] == [
        {"age": 39, "job": "clerk", "member": True, "score": 1.5},
        {"age": None, "job": None, "member": False, "score": -2000.0},
    ]


def test_csv_lines_are_put_into_the_models_order_and_quoted(tmp_path: Path) -> None:
    source = write(tmp_path, 'b,a\n"x, ""y""",1\n')
    found = from_csv(source, [Spec("record", "BYTES", (-1, 1))], {"record": ("CSV", ("a", "b"))})
    assert elements(found["record"]) == [b'1,"x, ""y"""']


def test_csv_columns_are_inputs_of_their_names(tmp_path: Path) -> None:
    source = write(tmp_path, "age,job,extra\n39,clerk,9\nNaN,cook,9\n")
    found = from_csv(source, [Spec("age", "FP32", (-1, 1)), Spec("job", "BYTES", (-1, 1))], {})
    assert found["age"].dtype == np.float32
    np.testing.assert_array_equal(found["age"], [[39], [np.nan]])
    assert elements(found["job"]) == [b"clerk", b"cook"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age\n", "at least one line"),
        ("age,job\n1\n", "line 2: expected 2 values, as the header has, got 1"),
        ("job\nclerk\n", "input 'age' is none of its columns: job"),
        ("age\nold\n", "column 'age': expected values of FP32"),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_csv(write(tmp_path, text), [Spec("age", "FP32", (-1, 1))], {})


def test_a_record_that_lacks_a_column_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="column 'b' is missing; it has a"):
        from_csv(write(tmp_path, "a\n1\n"), [Spec("record", "BYTES", (-1, 1))], {"record": ("CSV", ("a", "b"))})


@pytest.mark.parametrize("read", [lambda name: from_files("--image", [name], [IMAGE]), lambda name: from_csv(name, [SCALE], {})])
def test_a_file_that_no_request_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[str], object]) -> None:
    monkeypatch.setattr(raw, "MAX_FILE_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ConfigError, match="large: expected 1 MiB at most, got 1,048,577 bytes; a request holds no more"):
        read(str(tmp_path / "large"))
