"""Outputs as text, JSON and .npz: every value arrives, whatever its datatype."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from inferd.cli.outputs import as_json, as_text, save_npz


def data(array: np.ndarray, word: str = "") -> object:
    document = json.loads(as_json("m", "1", {"y": array}, {"y": word} if word else {}), parse_constant=pytest.fail)
    assert document["outputs"][0]["shape"] == list(array.shape)
    return document["outputs"][0]["data"]


def test_text_names_datatype_and_shape_and_shortens() -> None:
    text = as_text({"label": np.array([7]), "p": np.zeros((1, 5000), np.float32)}, {})
    lines = text.splitlines()
    assert lines[:3] == ["label  INT64 [1]", "  [7]", "p  FP32 [1, 5000]"]
    assert "..." in lines[3]
    assert len(lines) == 4


def test_json_holds_every_value() -> None:
    document = json.loads(as_json("digits", "3", {"y": np.arange(2000).reshape(2, 1000)}, {}))
    assert (document["model_name"], document["model_version"]) == ("digits", "3")
    assert document["outputs"][0]["datatype"] == "INT64"
    assert document["outputs"][0]["data"] == np.arange(2000).reshape(2, 1000).tolist()


def test_what_json_has_no_number_for() -> None:
    assert data(np.float32([1.5, np.nan, np.inf, -np.inf])) == [1.5, "NaN", "Infinity", "-Infinity"]
    assert data(np.array([b"a", "é".encode(), b"\xff"], dtype=object)) == ["a", "é", "base64:/w=="]
    assert data(np.array([True, False])) == [True, False]
    assert data(np.array(3.0)) == 3.0


def test_what_a_terminal_would_obey_is_escaped() -> None:
    texts = ["\x1b[2J", "\x9b31m", "\x7f", "\u202e", "\U000e0041", "é\u00a0\n"]
    array = np.array([text.encode() for text in texts], dtype=object)
    assert as_json("m", "1", {"\x9b": array}, {}).isprintable()
    assert data(array) == texts


def test_bfloat16_is_shown_as_numbers() -> None:
    assert data(np.uint16([0x3F80, 0x4000]), "BF16") == [1.0, 2.0]
    assert data(np.array([1, 2], ml_dtypes.bfloat16)) == [1.0, 2.0]
    assert "[1. 2.]" in as_text({"y": np.uint16([0x3F80, 0x4000])}, {"y": "BF16"})


def test_npz_is_read_without_pickle(tmp_path: Path) -> None:
    outputs = {"a/b": np.float32([[1, 2]]), "file": np.int8([3]), "text": np.array([b"x", b"longer"], dtype=object)}
    save_npz(str(tmp_path / "answer"), outputs, {})
    with np.load(tmp_path / "answer", allow_pickle=False) as loaded:
        assert np.array_equal(loaded["a/b"], outputs["a/b"])
        assert np.array_equal(loaded["file"], outputs["file"])
        assert loaded["text"].tolist() == [b"x", b"longer"]


def test_saved_texts_are_utf_8_whether_a_server_or_a_graph_gives_them(tmp_path: Path) -> None:
    outputs = {"label": np.array([["Zürich"], ["東京"]], dtype=object), "none": np.empty((0, 1), dtype=object)}
    outputs["sent"] = np.array([[text.encode()] for (text,) in outputs["label"]], dtype=object)
    save_npz(str(tmp_path / "answer.npz"), outputs, {})
    with np.load(tmp_path / "answer.npz", allow_pickle=False) as loaded:
        assert loaded["label"].tolist() == loaded["sent"].tolist() == [["Zürich".encode()], ["東京".encode()]]
        assert loaded["none"].shape == (0, 1)


def test_the_best_with_their_labels_are_a_table_with_bars() -> None:
    outputs = {
        "kind": np.array([[0.75, 0.25]], np.float32),
        "kind_index": np.array([[1, 0]], np.int64),
        "kind_label": np.array([[b"cat", b"dog"]], object),
        "other": np.array([1.0], np.float32),
    }
    lines = as_text(outputs, {}).splitlines()
    assert lines[:3] == ["kind", "   1  cat    0.7500  " + "█" * 30, "   2  dog    0.2500  " + "█" * 10]
    assert lines[3].startswith("other")


def test_several_rows_of_a_ranking_without_labels_show_places() -> None:
    scores = np.array([[2.0, -1.0], [np.nan, 0.0]], np.float32)
    text = as_text({"s": scores, "s_index": np.array([[7, 3], [0, 1]])}, {})
    assert text.splitlines() == [
        "s, row 0",
        "   1  7    2.0000  " + "█" * 30,
        "   2  3   -1.0000",
        "s, row 1",
        "   1  0       nan",
        "   2  1    0.0000",
    ]


def test_values_of_known_classes_are_a_table_of_the_best() -> None:
    outputs = {"p": np.array([[0.25, 0.75, 0.0], [0.5, np.nan, 0.5]]), "flat": np.array([0.5, 0.5])}
    lines = as_text(outputs, {"p": "FP64"}, {"p": ["no", "yes", "\x1b["], "flat": ["a", "b"], "gone": ["a"]}).splitlines()
    assert lines == [
        "p  FP64 [2, 3]",
        "p, row 0",
        "   1  yes        0.7500  " + "█" * 30,
        "   2  no         0.2500  " + "█" * 10,
        "   3  '\\x1b['    0.0000",
        "p, row 1",
        "   1  no         0.5000  " + "█" * 30,
        "   2  '\\x1b['    0.5000  " + "█" * 30,
        "   3  yes           nan",
        "flat  FP64 [2]",
        "  [0.5 0.5]",
    ]
    assert "row" not in as_text(outputs, {}, {"p": ["no", "yes"]}), "it has a class that has no name"
    assert "row" not in as_text({"p": np.array([[1, 2]])}, {}, {"p": ["no", "yes"]}), "places are no scores"


def test_of_many_rows_and_classes_the_ends_and_the_best_are_shown() -> None:
    scores = np.arange(70 * 30, dtype=np.float32).reshape(70, 30)
    lines = as_text({"p": scores}, {}, {"p": [f"class {place}" for place in range(30)]}).splitlines()
    rows = [line for line in lines if line.startswith("p, row")]
    assert rows == [f"p, row {row}" for row in (0, 1, 2, 3, 66, 67, 68, 69)]
    assert lines[25] == "..."
    assert lines[2].split() == ["1", "class", "29", "29.0000", "█" * 30]
    assert len(lines) == 1 + 8 * 6 + 1
