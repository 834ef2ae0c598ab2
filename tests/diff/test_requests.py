"""Requests out of a folder, a row each, with names that lead back to a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description
from inferd.diff.requests import random_requests, requests_in
from inferd.errors import ConfigError

TWO = Description("m", "", (Spec("a", "FP32", (-1, 2)), Spec("b", "INT64", (-1,))), ())
A, B = np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(3)


def test_files_become_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", a=A, b=B)
    (tmp_path / "2.json").write_text(json.dumps({"a": [[7, 8]], "b": [9]}))
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "b.npy", B)
    (tmp_path / "README").write_text("")
    notices: list[str] = []
    found = requests_in(tmp_path, TWO, 1, False, notices)
    assert [each.name for each in found] == [
        *("arrays row 0", "arrays row 1", "arrays row 2", "1.npz row 0", "1.npz row 1", "1.npz row 2"),
        "2.json",
    ]
    np.testing.assert_array_equal(found[1].inputs["a"], A[1:2])
    assert found[-1].inputs["b"].tolist() == [9]
    assert notices == ["not read, being of no known kind: README"]
    assert [len(each.inputs["b"]) for each in requests_in(tmp_path, TWO, 2, False, [])] == [2, 1, 2, 1, 1]
    assert len(requests_in(tmp_path, TWO, 0, False, [])) == 3
    assert [each.name for each in requests_in(tmp_path, TWO, 1, False, [], most=4)] == [each.name for each in found[:4]]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "expected files of requests"),
        ({"a.npy": A}, "expected b.npy"),
        ({"1.npz": {"a": A}}, "the input 'b'"),
        ({"1.npz": {"a": A.astype("U"), "b": B}}, "the input 'a' is FP32"),
    ],
)
def test_a_folder_that_does_not_fit_is_rejected(tmp_path: Path, files, words) -> None:
    for name, content in files.items():
        np.save(tmp_path / name, content) if name.endswith("npy") else np.savez(tmp_path / name, **content)
    with pytest.raises(ConfigError, match=words):
        requests_in(tmp_path, TWO, 1, False, [])


def test_random_requests_differ_and_repeat() -> None:
    first, again = (random_requests(TWO, 3, (), 7, []) for _ in range(2))
    assert [each.inputs["a"].tolist() for each in first] == [each.inputs["a"].tolist() for each in again]
    assert len({each.inputs["a"].tobytes() for each in first}) == 3
