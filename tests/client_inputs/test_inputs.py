"""Inputs from the command line: files, JSON, random values; nothing changes a value silently."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from zipfile import ZipFile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.client_inputs import arrays
from inferd.client_inputs import inputs as ask_inputs
from inferd.client_inputs.inputs import Literal, Spec, from_arguments, from_json, from_npz, parse_shapes, random_inputs, suit
from inferd.errors import ConfigError
from inferd.tensors import DTYPES

X = Spec("x", "FP32", (-1, 2))
Y = Spec("y", "INT64", (-1, 3, 3))


def usage_error(call, *arguments, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def one(spec: Spec, value: object, **options: bool) -> np.ndarray:
    return suit({spec.name: value}, [spec], **options)[0][spec.name]


def test_npy_with_and_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "a=b.npy"
    np.save(file, np.float32([[1, 2]]))
    for argument in (str(file), f"x={file}"):
        assert np.array_equal(from_arguments([argument], [X])["x"], [[1, 2]])
    assert "expected NAME=FILE.npy" in usage_error(from_arguments, [str(file)], [X, Y])
    assert "'x' is given twice" in usage_error(from_arguments, [str(file), f"x={file}"], [X])


def test_a_name_that_no_input_has_and_nothing_is_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("there.npy", np.float32([[1, 2]]))
    monkeypatch.setattr(ask_inputs, "read_arrays", None)
    for argument in ("z=there.npy", "z=absent.npy", "z=[1]", 'true="x"'):
        told = usage_error(from_arguments, ["x=there.npy", argument], [X])
        assert f"--input {argument}: the model has no input '{argument.partition('=')[0]}'; it has: x (FP32 [?, 2])" in told
    assert from_arguments(['["a=b"]'], [X]) == {"x": Literal(["a=b"])}, "JSON has a = in texts"


def test_json_on_the_command_line() -> None:
    found = from_arguments(["x=[[1, 2.5]]", 'y="text"'], [X, Y])
    assert found == {"x": Literal([[1, 2.5]]), "y": Literal("text")}
    assert "nested too deep" in usage_error(from_arguments, ["x=" + "[" * 100_000], [X])
    assert "expected a .npy file that exists, or JSON" in usage_error(from_arguments, ["x=[1,"], [X])
    assert "--input x: " in (told := usage_error(from_arguments, ["x=[[1, -1e400]]"], [X]))
    assert "-1e400 is more than FP64 can hold" in told


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no numpy here")
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "many.npz", x=np.zeros(1))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    assert "there is no such file" in usage_error(from_arguments, ["x=absent.npy"], [X])
    for name in ("text.npy", "empty.npy", "objects.npy"):
        assert f"--input {tmp_path / name}" in usage_error(from_arguments, [f"x={tmp_path / name}"], [X])
    assert "use --npz" in usage_error(from_arguments, [f"x={tmp_path / 'many.npz'}"], [X])
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04" + b"junk" * 50)
    assert "expected an archive that numpy.savez wrote" in usage_error(from_npz, str(tmp_path / "junk.npz"))
    with ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("words", "no array")
    assert "'words': expected what numpy.save" in usage_error(from_npz, str(tmp_path / "text.npz"), "--verify")
    damaged = bytearray((tmp_path / "many.npz").read_bytes())
    damaged[-200:-150] = bytes(50)
    (tmp_path / "many.npz").write_bytes(damaged)
    assert str(tmp_path / "many.npz") in usage_error(from_npz, str(tmp_path / "many.npz"))
    np.save(tmp_path / "one.npy", np.zeros(1))
    assert "use --input" in usage_error(from_npz, str(tmp_path / "one.npy"))
    assert "Python objects" in usage_error(from_npz, str(tmp_path / "objects.npz"))
    assert "cannot be read" in usage_error(from_arguments, [f"x={tmp_path}"], [X])


def test_the_files_of_a_command_have_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 100)
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.float32))
    np.save(tmp_path / "y.npy", np.zeros((1, 3, 3), np.int64))
    both = [f"x={tmp_path / 'x.npy'}", f"y={tmp_path / 'y.npy'}"]
    assert from_arguments(both, [X, Y]).keys() == {"x", "y"}
    monkeypatch.setattr(arrays, "MAX_BYTES", 79)
    assert f"--input {tmp_path / 'y.npy'}: expected arrays of" in usage_error(from_arguments, both, [X, Y])


def test_no_array_is_cast_to_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_inputs, "MAX_BYTES", 15)
    assert "cast to it, the array would take more" in usage_error(one, Spec("x", "FP64", (2,)), np.int8([1, 2]), cast=True)
    assert one(Spec("x", "FP32", (2,)), np.int8([1, 2]), cast=True).tolist() == [1, 2]


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", x=np.float32([[1, 2]]), y=np.arange(9).reshape(1, 3, 3))
    arrays, notices = suit(from_npz(str(tmp_path / "both.npz")), [X, Y])
    assert {name: array.shape for name, array in arrays.items()} == {"x": (1, 2), "y": (1, 3, 3)}
    assert notices == []


def test_json_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"x": [[1, 2]], "inputs": [3]}')
    assert from_json(str(file)) == {"x": Literal([[1, 2]]), "inputs": Literal([3])}
    file.write_text('{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}')
    assert np.array_equal(one(X, from_json(str(file))["x"]), [[1, 2]])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"x": 1}')))
    assert from_json("-") == {"x": Literal(1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ('{"x": [[1, 1e400]]}', "1e400 is more than FP64 can hold"),
        ("[1]", "expected an object, name -> values, got list"),
        ('{"inputs": [{"name": "x"}]}', "expected 'data' in the input 'x'"),
        ('{"inputs": [{"name": "x", "shape": [-1], "data": []}]}', "expected a list of sizes"),
    ],
)
def test_json_documents_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "request.json"
    file.write_text(text)
    assert message in usage_error(from_json, str(file))
    assert "cannot be read" in usage_error(from_json, str(tmp_path / "absent.json"))


def test_the_batch_axis_is_added_and_said() -> None:
    arrays, notices = suit({"x": np.float32([1, 2])}, [X])
    assert arrays["x"].shape == (1, 2)
    assert notices == ["x: the batch axis is added: [2] -> [1, 2]"]
    assert suit({"x": np.zeros(2, np.float32)}, [Spec("x", "FP32", (1, 2))])[0]["x"].shape == (2,)
    assert suit({"x": np.zeros((), np.float32)}, [Spec("x", "FP32", ())])[0]["x"].shape == ()


def test_missing_and_unknown_inputs() -> None:
    assert "no input 'z'; it has: x (FP32 [?, 2]), y (INT64 [?, 3, 3])" in usage_error(suit, {"z": np.zeros(1)}, [X, Y])
    assert "the input 'y' (INT64 [?, 3, 3]) is missing" in usage_error(suit, {"x": np.zeros((1, 2), np.float32)}, [X, Y])


@pytest.mark.parametrize("word", ["FOO", "fp32", ""])
def test_a_datatype_that_is_none(word: str) -> None:
    """A server may say anything."""
    spec = Spec("x", word, (1,))
    said = f"the input 'x' is {word} [1]: expected one of the datatypes BOOL, UINT8, UINT16, "
    for call in (lambda: one(spec, np.float32([1])), lambda: one(spec, Literal([1])), lambda: random_inputs([spec], {})):
        assert said in (told := usage_error(call))
        assert told.endswith(f"BF16, got {word!r}")


def test_another_datatype_is_converted_where_no_value_changes_or_by_cast() -> None:
    assert one(X, np.float64([[1.5, 2]])).dtype == np.float32
    told = usage_error(one, X, np.float64([[1.5, 0.1]]))
    assert told.startswith("the input 'x' is FP32 [?, 2]: expected FP32, got float64, and 0.1 would be rounded; ")
    assert told.endswith("convert it by .astype('float32'), or give --cast")
    assert one(X, np.float64([[1.5, 0.1]]), cast=True).tolist() == np.float32([[1.5, 0.1]]).tolist()
    big_endian = np.array([[1, 2]], dtype=">f4")
    assert one(X, big_endian).dtype == np.dtype("<f4")
    assert np.array_equal(one(X, big_endian), [[1, 2]])
    assert one(Spec("x", "INT8", (1,)), np.float32([1.7]), cast=True).tolist() == [1]
    assert "expected its bits as uint16, got float32; --cast" in usage_error(one, Spec("x", "BF16", (1,)), np.float32([1]))
    assert "got <U1" in usage_error(one, X, np.array([["a", "b"]]), cast=True)


@pytest.mark.parametrize("word", DTYPES)
def test_every_datatype_from_json(word: str) -> None:
    values = {"BYTES": ["a", "é"], "BOOL": [True, False]}.get(word, [1, 2])
    array = one(Spec("x", word, (2,)), Literal(values))
    assert array.dtype == DTYPES[word]
    expected = {"BYTES": [b"a", "é".encode()], "BF16": [0x3F80, 0x4000]}.get(word, values)
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        ("INT8", [128], "expected whole numbers from -128 to 127, got 128 to 128"),
        ("UINT8", [-1], "expected whole numbers from 0 to 255"),
        ("INT64", [1.0], "expected whole numbers"),
        ("INT64", [2**63], "expected whole numbers from"),
        ("UINT64", [2**64], "expected whole numbers"),
        ("INT64", [True], "expected whole numbers"),
        ("FP32", ["1"], "expected numbers"),
        ("FP32", [None], "expected numbers"),
        ("FP32", {"a": 1}, "expected numbers"),
        ("FP32", [[1], [1, 2]], "expected nested lists of equal lengths"),
        ("FP16", [1e5], "expected numbers that FP16 can hold, got 100000 to 100000"),
        ("FP32", [1, 1e39], "expected numbers that FP32 can hold, got 1 to 1e+39"),
        ("BF16", [3.4e38, 3.4e39], "expected numbers that BF16 can hold"),
        ("BOOL", [1], "expected true and false"),
        ("BYTES", [1], "expected texts"),
        ("BYTES", ["a", 1], "expected texts"),
    ],
)
def test_json_values_that_do_not_fit(word: str, value: object, message: str) -> None:
    assert message in usage_error(one, Spec("x", word, (1,)), Literal(value))


def test_shape_of_the_rest_form_must_fit() -> None:
    assert "expected 6 values for the shape [2, 3], got 2" in usage_error(one, X, Literal([1, 2], (2, 3)))


def test_texts_from_numpy() -> None:
    spec = Spec("x", "BYTES", (2,))
    for array in (np.array(["a", "é"]), np.array([b"a", "é".encode()])):
        assert one(spec, array).tolist() == [b"a", "é".encode()]


@given(st.lists(st.floats(width=32), min_size=1))
def test_bfloat16_is_rounded_as_ml_dtypes_does(values: list[float]) -> None:
    ours = one(Spec("x", "BF16", (len(values),)), np.float32(values), cast=True)
    with np.errstate(over="ignore"):
        theirs = np.array(values, np.float32).astype(ml_dtypes.bfloat16)
    assert np.array_equal(ours.view(ml_dtypes.bfloat16).astype(np.float32), theirs.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("word", DTYPES)
def test_random_values_repeat_and_have_the_shape(word: str) -> None:
    spec = Spec("x", word, (-1, 2, -1))
    first, notices = random_inputs([spec], {})
    again, silent = random_inputs([spec], {"x": (1, 2, 1)})
    assert first["x"].shape == (1, 2, 1)
    assert first["x"].dtype == DTYPES[word]
    assert np.array_equal(first["x"], again["x"])
    assert notices == ["x: random values of shape [1, 2, 1]; --shape x:... chooses another"]
    assert silent == []
    other, _ = random_inputs([spec], {"x": (40, 2, 5)}, seed=1)
    assert other["x"].shape == (40, 2, 5)
    suit(other, [spec])


def test_shapes() -> None:
    specs = [Spec("x", "FP32", (-1, -1)), Spec("layer:0", "FP32", (2,)), Spec("scalar", "FP32", ())]
    assert parse_shapes(["x:1,16", "layer:0:2", "scalar:"], specs) == {"x": (1, 16), "layer:0": (2,), "scalar": ()}
    for wrong in ("x", "x:1,-2", ":1", "x:1,,2", "x:a"):
        assert "expected NAME:SIZE,SIZE" in usage_error(parse_shapes, [wrong], specs)


def test_a_shape_that_no_random_input_has() -> None:
    specs = [Spec("tokens", "INT64", (-1, -1)), Spec("image", "FP32", (-1, 3, 8))]
    said = usage_error(parse_shapes, ["token:1,16"], specs)
    assert said == "--shape token:1,16: no input of that name is random; these are: tokens (INT64 [?, ?]), image (FP32 [?, 3, 8])"
    assert "no input of that name is random; all are given" in usage_error(parse_shapes, ["tokens:1,16"], [])
    assert "'tokens' has a shape already" in usage_error(parse_shapes, ["tokens:1,16", "tokens:1,32"], specs)
    assert "--shape image:1,3,9: the input 'image' is FP32 [?, 3, 8]" in usage_error(parse_shapes, ["image:1,3,9"], specs)
    assert "the input 'image' is" in usage_error(parse_shapes, ["image:1,3"], specs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@given(JSON, st.sampled_from(sorted(DTYPES)))
def test_any_json_becomes_the_datatype_or_is_rejected(value: object, word: str) -> None:
    spec = Spec("x", word, (-1, 2))
    with contextlib.suppress(ConfigError):
        array = one(spec, Literal(json.loads(json.dumps(value))))
        assert array.dtype == DTYPES[word]


def test_texts_behind_their_lengths_and_what_is_none() -> None:
    """As `inferd record export` writes those that end with NUL."""
    spec = Spec("t", "BYTES", (-1,))
    assert one(spec, np.frombuffer(b"\2\0\0\0a\0?" + bytes(7), "V7")).tolist() == [b"a\0", b""]
    for array in (np.frombuffer(b"\4\0\0\0abc", "V7"), np.zeros(2, ml_dtypes.bfloat16)):
        assert "expected texts, or elements each behind its length of 4 bytes, got " in usage_error(one, spec, array)
