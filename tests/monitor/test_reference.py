"""Reference profiles as files: what is written is read, and what is none is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from inferd._core.monitor.feature_counts import Reading
from inferd._core.tensor.signature import Signature
from inferd.engine.files.content import files_of
from inferd.engine.files.places import find_places
from inferd.errors import ConfigError
from inferd.monitor.feature import Kind
from inferd.monitor.reference import FORMAT_KEY, PROFILE_KEY, Reference, path_of, read, write
from tests import models
from tests.monitor.profiles import learned, write_beside

SPECS = (("x", "FP32", (-1, 2)),)


def reference(**changes: object) -> Reference:
    features = (learned(np.arange(100.0)), learned(np.array([0.0, 1.0]), texts=["a", "\udcff"], kind=Kind.TEXTS))
    given = {"model": "m", "rows": 100, "made_unix_ns": 5, "inputs": SPECS, "outputs": SPECS, "outlier_score": 1.5, "features": features}
    return Reference(**(given | changes))  # type: ignore[arg-type]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    features = (learned(np.arange(100.0)), learned(np.array([0.0, 1, 1]), texts=["a", "é"]))
    write(reference(features=features), path)
    assert read(path) == reference(features=features)
    assert list(tmp_path.iterdir()) == [path]
    table = pyarrow.parquet.read_table(path)
    assert table.column("name").to_pylist() == ["x", "x"]
    assert table.column("reading").to_pylist() == ["ELEMENT", "ELEMENT"]


def test_its_key_tells_features_apart() -> None:
    assert reference().key == reference(rows=7).key != reference(features=()).key


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "expected a reference profile, got another Parquet file"),
        ({FORMAT_KEY: "x", PROFILE_KEY: "{}"}, "got another Parquet file"),
        ({FORMAT_KEY: "9", PROFILE_KEY: "{}"}, "expected format 1 or older, got 9: upgrade inferd"),
        ({FORMAT_KEY: "1", PROFILE_KEY: "{}"}, "cannot be read as a reference profile"),
        ({FORMAT_KEY: "1"}, "cannot be read as a reference profile"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, metadata: dict[bytes, str], why: str) -> None:
    path = tmp_path / "reference.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}).replace_schema_metadata(metadata), path)
    with pytest.raises(ConfigError, match=why):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 1000])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "reference.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as a reference profile"):
        read(path)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([("x", "FP64", (-1, 2))], r"expected the input 'x' FP64\[-1, 2\], got 'x' FP32\[-1, 2\]: learn it anew"),
        ([*SPECS, ("z", "FP32", (-1, 1))], "expected 2 inputs, got 1"),
    ],
)
def test_one_of_another_signature_is_refused(inputs: list[tuple[str, str, tuple[int, ...]]], why: str) -> None:
    reference().check(Signature("m", "1", SPECS, SPECS, 8))
    with pytest.raises(ConfigError, match=why):
        reference().check(Signature("m", "1", inputs, SPECS, 8))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shares": (1.0,)}, "expected 23 shares and 24 scores, got 1 and 24"),
        ({"scores": (1.0,)}, "expected 23 shares and 24 scores, got 23 and 1"),
        ({"at": (), "shares": (1.0,), "scores": ()}, "expected two edges or more, got 0"),
        ({"kind": Kind.TEXTS}, "expected 22 texts, got 0"),
        ({"reading": Reading.WAVES}, "expected 32 means and their covariance"),
        ({"scale": 0.0}, "a scale above 0"),
        ({"missing": 2.0}, "expected shares from 0 to 1"),
        ({"centre": float("nan")}, "expected finite numbers"),
    ],
)
def test_one_that_contradicts_itself_is_refused(changes: dict[str, object], why: str) -> None:
    feature = msgspec.structs.replace(learned(np.random.default_rng(0).normal(size=500)), **changes)
    with pytest.raises(ConfigError, match=f"the feature '.*x': .*{why}"):
        reference(features=(feature,)).check(Signature("m", "1", SPECS, SPECS, 8))


def test_it_belongs_to_the_files_of_its_version(tmp_path: Path) -> None:
    rows = {"x": np.random.default_rng(0).normal(size=(128, 16)).astype(np.float32)}
    folder = models.repository(tmp_path / "models", {"m": {3: models.identity()}})
    single = models.write(tmp_path, "one", models.identity())
    assert write_beside(folder / "m" / "3" / "model.onnx", rows) == folder / "m" / "3" / "reference.parquet"
    assert write_beside(single, rows) == tmp_path / "one.onnx.reference.parquet"
    assert path_of(single) == tmp_path / "one.onnx.reference.parquet"
    for path, version, name in ((folder / "m", 3, "3/reference.parquet"), (single, 1, "one.onnx.reference.parquet")):
        (place,), failures = find_places([path])
        assert not failures
        assert name in files_of(place, version)
