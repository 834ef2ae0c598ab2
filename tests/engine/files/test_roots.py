"""Whether a path is a file, a model's folder or a repository, and that it stays so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inferd.engine.files.places import find_place, survey
from inferd.engine.files.roots import Layout, Root
from tests import models

IDENTITY = models.identity()


def lay_out(folder: Path, *files: str) -> Path:
    """Files of a repository; a name that ends with a slash is an empty folder."""
    for name in files:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(IDENTITY if path.suffix == ".onnx" else b"")
    return folder


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        ((), Layout.UNKNOWN),
        ((".git/",), Layout.UNKNOWN),
        (("model.onnx",), Layout.MODEL),
        (("1/model.onnx",), Layout.MODEL),
        (("1/net.onnx", "config.toml"), Layout.MODEL),
        (("1/",), Layout.MODEL),
        (("config.pbtxt",), Layout.MODEL),
        (("config.pbtxt", "v1/model.onnx"), Layout.MODEL),
        (("1/model.onnx", "backup/1/model.onnx", "config.toml"), Layout.MODEL),
        (("1/model.onnx", "backup/1/model.onnx"), Layout.REPOSITORY),
        (("1/model.onnx", "a.onnx"), Layout.REPOSITORY),
        (("1/model.onnx", "a/model.onnx"), Layout.REPOSITORY),
        (("1/model.onnx", "model.onnx", "notes/readme.md"), Layout.MODEL),
        (("a/1/model.onnx",), Layout.REPOSITORY),
        (("a/model.onnx",), Layout.REPOSITORY),
        (("a.onnx",), Layout.REPOSITORY),
        (("1001/1/model.onnx",), Layout.REPOSITORY),
        (("1001/config.pbtxt", "1001/1/model.onnx", "1002/2/model.onnx"), Layout.REPOSITORY),
        (("a/1/model.onnx", "2024/"), Layout.REPOSITORY),
        (("a/1/model.onnx", "model.onnx"), Layout.REPOSITORY),
        (("a/1/model.onnx", "config.toml"), Layout.REPOSITORY),
        (("a/model.onnx", "2024/"), Layout.REPOSITORY),
        (("a.onnx", "2024/"), Layout.REPOSITORY),
    ],
    ids=str,
)
def test_the_layout_is_told_by_what_lies_below(tmp_path: Path, files: tuple[str, ...], layout: Layout) -> None:
    assert Root(lay_out(tmp_path, *files)).decide() is layout


def test_a_file(tmp_path: Path) -> None:
    assert Root(models.write(tmp_path, "m", IDENTITY)).decide() is Layout.FILE


@pytest.mark.parametrize(
    ("entry", "cure"),
    [
        ("2024/", "it is empty: put a model at 2024/1/model.onnx"),
        ("2024/model.onnx", "move it to NAME/2024, or its files to 2024/1"),
        ("model.onnx", "move it to NAME/1/model.onnx"),
        ("config.toml", "move it to NAME/config.toml"),
        ("config.pbtxt", "move it to NAME/config.pbtxt"),
    ],
)
def test_a_repository_stays_one(tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: str, cure: str) -> None:
    root = Root(lay_out(tmp_path, "a/model.onnx", "1001/1/model.onnx", "b.onnx"))
    before = survey([root])
    assert set(before[0]) == {"a", "1001", "b"}
    assert not before[1]
    lay_out(tmp_path, entry)
    assert [survey([root]), survey([root])] == [before, before]
    assert [find_place([root], name) for name in before[0]] == list(before[0].values())
    (record,) = caplog.records
    assert cure in record.message
    assert ascii(entry.split("/")[0]) in record.message


def test_a_model_stays_one(tmp_path: Path) -> None:
    root = Root(lay_out(tmp_path / "m", "1/model.onnx"))
    assert set(survey([root])[0]) == {"m"}
    (tmp_path / "m" / "1").rename(tmp_path / "m" / "away")
    lay_out(tmp_path / "m", "other/1/model.onnx", "2/model.onnx")
    assert {name: set(place.files) for name, place in survey([root])[0].items()} == {"m": {2}}


def test_an_empty_folder_is_decided_by_what_comes(tmp_path: Path) -> None:
    root = Root(tmp_path)
    assert find_place([root], "a") is None
    lay_out(tmp_path, "a/1/model.onnx")
    assert find_place([root], "a") is not None
    assert root.layout is Layout.REPOSITORY


def test_entries_that_cannot_be_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = Root(lay_out(tmp_path, "a/1/model.onnx", "readme.md", ".git/config", "a.onnx~", "scripts/run.py"))
    before = survey([root])
    assert not caplog.records
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert [survey([root]), survey([root])] == [before, before]
    told = "\n".join(record.message for record in caplog.records)
    assert "'pipe.onnx'" in told
    assert "neither a file nor a folder" in told
    assert "'dangling'" in told
    assert "mend the link" in told
    assert "'loop'" in told
    assert len(caplog.records) == 3
    (tmp_path / ("e" * 220)).mkdir()
    lay_out(tmp_path, f"{'n' * 220}/1/model.onnx")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    places, failures = survey([root])
    assert places == before[0]
    assert {name: str(error).rpartition(": ")[2] for name, error in failures.items()} == {
        "n" * 220: "give it a shorter one",
        "\\udcff\\udcfe": "rename it",
    }
